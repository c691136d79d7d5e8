/* The instruction sets that this library holds, and which of them is used. */

#include "native.h"

#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>

/* Registers that the operating system saves: 6 for AVX, 0xe6 for AVX-512. */
static unsigned saved_registers(void) {
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c >> 27 & 1)) return 0;
    __asm__ volatile("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
    return a;
}

static unsigned leaf(unsigned number, unsigned sub, int reg) {
    unsigned found[4] = {0};
    if (!__get_cpuid_count(number, sub, found, found + 1, found + 2, found + 3)) return 0;
    return found[reg];
}
#define EAX 0
#define EBX 1
#define ECX 2
#define EDX 3
#define BIT(value, number) ((value) >> (number) & 1)

static int has_sse2(void) { return 1; }
static int has_avx2(void) {
    return (saved_registers() & 6) == 6 && BIT(leaf(1, 0, ECX), 12) /* FMA */ && BIT(leaf(7, 0, EBX), 5);
}
static int has_avxvnni(void) { return has_avx2() && BIT(leaf(7, 1, EAX), 4); }
static int has_avx512(void) {
    const unsigned b = leaf(7, 0, EBX);
    return has_avx2() && (saved_registers() & 0xe6) == 0xe6 && BIT(b, 16) /* F */ && BIT(b, 17) /* DQ */ &&
           BIT(b, 28) /* CD */ && BIT(b, 30) /* BW */ && BIT(b, 31) /* VL */;
}
static int has_avx512vnni(void) { return has_avx512() && BIT(leaf(7, 0, ECX), 11); }
static int has_avx512bf16(void) { return has_avx512vnni() && BIT(leaf(7, 1, EAX), 5); }

/* With matrix tiles (AMX) PyTorch's products of bfloat16 are several times faster than ours. */
static int has_faster_bf16(void) { return BIT(leaf(7, 0, EDX), 22); }
#elif defined(__aarch64__)
#if defined(__linux__)
#include <sys/auxv.h>
static int has_dotprod(void) { return getauxval(AT_HWCAP) >> 20 & 1; }
#elif defined(__APPLE__)
static int has_dotprod(void) { return 1; } /* every one of Apple's 64-bit processors for computers */
#else
static int has_dotprod(void) { return 0; }
#endif
static int has_neon(void) { return 1; }
static int has_faster_bf16(void) { return 0; }
#else
static int has_generic(void) { return 1; }
static int has_faster_bf16(void) { return 0; }
#endif

/* `instruction_sets.h` is written by the build: INSTRUCTION_SET(name) for each that it could compile, the best first. */
#define INSTRUCTION_SET(isa) extern const Kernels seqgen_kernels_##isa;
#include "instruction_sets.h"
#undef INSTRUCTION_SET
#define INSTRUCTION_SET(isa) {&seqgen_kernels_##isa, has_##isa},
static const struct {
    const Kernels *kernels;
    int (*is_supported)(void);
} TABLES[] = {
#include "instruction_sets.h"
};
#define COUNT ((int)(sizeof TABLES / sizeof *TABLES))

static const Kernels *chosen;

/* The name of instruction set number i that this processor has, the best first, or null beyond the last. */
EXPORT const char *seqgen_instruction_set(int i) {
    for (int t = 0; t < COUNT; t++)
        if (TABLES[t].is_supported() && i-- == 0) return TABLES[t].kernels->name;
    return NULL;
}

/* Uses the instruction set of that name, or the best one for null. Returns its name, or null where there is none. */
EXPORT const char *seqgen_use_instruction_set(const char *name) {
    for (int t = 0; t < COUNT; t++)
        if (TABLES[t].is_supported() && (!name || !strcmp(name, TABLES[t].kernels->name))) {
            chosen = TABLES[t].kernels;
            return chosen->name;
        }
    return NULL;
}

/* Dtypes that whole sequences take: 1 for float32, 2 for bfloat16 as well. */
EXPORT int seqgen_sequence_dtypes(void) { return chosen->bf16 && !has_faster_bf16() ? 2 : 1; }

EXPORT int seqgen_sequence_forward(const SequenceCall *s, int threads) { return chosen->sequence_forward(s, threads); }
EXPORT int seqgen_sequence_backward(const SequenceCall *s, int threads) { return chosen->sequence_backward(s, threads); }
EXPORT void seqgen_row_product(const float *a, const float *w, const float *bias, long rows, long inputs, long outputs,
                        float *out) {
    chosen->row_product(a, w, bias, rows, inputs, outputs, out);
}
EXPORT int seqgen_stack_run(const Stack *m, long steps, long streams, const float *x, const float *old, float *new, float *logits,
                     float *outputs) {
    return chosen->stack_run(m, steps, streams, x, old, new, logits, outputs);
}
EXPORT void seqgen_exact_product(const float *a, const float *w, const float *bias, long rows, long inputs, long outputs,
                          float *out) {
    chosen->exact_product(a, w, bias, rows, inputs, outputs, out);
}

EXPORT void seqgen_lstm_forward(int bf16, long rows, long units, int threads, void *gates, const float *old, float *state,
                         void *out) {
    chosen->lstm_forward(bf16, rows, units, threads, gates, old, state, out);
}
EXPORT void seqgen_lstm_backward(int bf16, long rows, long units, int threads, void *gates, const float *old,
                          const float *current, const void *grad_out, const void *grad_hidden, float *state,
                          void *grad_x) {
    chosen->lstm_backward(bf16, rows, units, threads, gates, old, current, grad_out, grad_hidden, state, grad_x);
}
EXPORT void seqgen_gru_forward(int bf16, long rows, long units, int threads, const void *x, const void *product,
                        const float *old, float *state, void *out, void *saved) {
    chosen->gru_forward(bf16, rows, units, threads, x, product, old, state, out, saved);
}
EXPORT void seqgen_gru_backward(int bf16, long rows, long units, int threads, void *saved, const float *old,
                         const void *grad_out, const void *grad_hidden, float *state, void *grad_x, void *grad_h) {
    chosen->gru_backward(bf16, rows, units, threads, saved, old, grad_out, grad_hidden, state, grad_x, grad_h);
}
EXPORT void seqgen_rnn_forward(int relu, int bf16, long rows, long units, int threads, void *out, float *state) {
    chosen->rnn_forward(relu, bf16, rows, units, threads, out, state);
}
EXPORT void seqgen_rnn_backward(int relu, int bf16, long rows, long units, int threads, void *out, const void *grad_out,
                         const void *grad_hidden, void *grad_x) {
    chosen->rnn_backward(relu, bf16, rows, units, threads, out, grad_out, grad_hidden, grad_x);
}
EXPORT int seqgen_draw(const Filters *f, Streams *s, long rows, long vocabulary, const float *logits, const uint8_t *possible,
                const uint8_t *allowed, const double *numbers, int32_t *ids, double *logs) {
    return chosen->draw(f, s, rows, vocabulary, logits, possible, allowed, numbers, ids, logs);
}
EXPORT int seqgen_generate(const Stack *m, const Filters *const *f, Streams *const *streams, Constraint *const *constraints,
                    long steps, long rows, const float *table, const uint8_t *in_table, const double *numbers,
                    long stride, int32_t *ids, double *logs, const float *old, float *new) {
    return chosen->generate(m, f, streams, constraints, steps, rows, table, in_table, numbers, stride, ids, logs, old,
                            new);
}
