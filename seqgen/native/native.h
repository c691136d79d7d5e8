/* What the kernels share: numbers of either dtype, activation functions, the calls' structures, and the table of one
 * instruction set's functions.
 *
 * The build compiles `kernels.c` and `products.c` once for each instruction set, with ISA (its name) and VECTOR (bytes of
 * a register) defined; `dispatch.c` chooses one of the tables when the library is loaded. */

#ifndef SEQGEN_NATIVE_H
#define SEQGEN_NATIVE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define ALWAYS_INLINE inline __attribute__((always_inline))
#ifdef _WIN32
#define EXPORT __declspec(dllexport)
#else
#define EXPORT __attribute__((visibility("default")))
#endif
#define PASTE_(a, b) seqgen_##a##_##b
#define PASTE(a, b) PASTE_(a, b)
#define NAME(function) PASTE(function, ISA)

#define PANEL 64      /* outputs of a panel of `row_product`, for every instruction set */
#define BLOCK_ROWS 64 /* rows of a block of a `Matrix`, for every instruction set */

/* --- calls --------------------------------------------------------------------------------------------------------- */

/* A whole sequence of one layer. Row-major; G gates: 4 (LSTM), 3 (GRU), 1 (RNN). `rows` is the batch size; units are a
 * multiple of 16. Numbers are float32, or bfloat16 (`bf16`), where no dtype is named. */
typedef struct {
    int cell, bf16, relu, save_for_backward; /* cell: 0 LSTM, 1 GRU, 2 RNN */
    long steps, rows, units;
    const void *x;        /* (steps, rows, G · units): the input's part of the gates */
    const void *weight;   /* (G · units, units) */
    const float *bias;    /* float32 (G · units,): the GRU's recurrent bias, or null */
    void *history;        /* (steps + 1, rows, units): outputs; the one before the first step is given */
    float *state_f32;     /* float32 (steps + 1 or 1, rows, units): c (LSTM), h (GRU), h of the last step (RNN) */
    void *saved;          /* (steps, rows, 4 · units): i, f, g, o (LSTM); r, z, n and the state's part of n (GRU) */
    const void *grad_out; /* (steps, rows, units) */
    void *grad_x;         /* (steps, rows, G · units) */
    void *grad_h;         /* the same: grad_x itself but for GRU */
    float *grad_hidden;   /* float32 (rows, units): gradient of the last h in, of the first h out */
    float *grad_carry;    /* float32 (rows, units): of c (LSTM); zeros in and what bypasses the gates out (GRU) */
    const int64_t *ids;   /* (steps, rows), or null: x is (vocabulary, G · units), and this is the row of it */
    const int64_t *lengths; /* (rows,), or null: steps of each row that count, for pooling */
    float *pooled;        /* float32 (rows, 3, units): last, largest, sum. `history` then has room for two steps */
} SequenceCall;

/* Two threads that share products so short that waking a thread would take longer. The second one waits for blocks of
 * rows in a loop (`seqgen_help`), so it sees them within a microsecond. All zeros at first. */
typedef struct {
    int busy;    /* whether a thread has products of this team in hand */
    int present; /* whether the second thread is waiting for blocks */
    void (*run)(const void *, long);
    const void *job;
    uint64_t blocks; /* those that are not taken yet: the first, and 2^32 times the end */
    long done;       /* blocks that the second thread has finished */
} Team;

/* A weight matrix laid out for single steps. Rows are padded with zeros to a multiple of BLOCK_ROWS, columns of 8-bit
 * integers to a multiple of 4. */
typedef struct {
    long rows, columns;
    const void *blocks;  /* float [rows / 64][columns][64], or int8 [rows / 64][columns / 4][64][4] */
    const float *scales; /* of the rows, where the weights are 8-bit integers; otherwise null */
    const int32_t *sums; /* of each row's 8-bit integers */
} Matrix;

typedef struct {
    Matrix input; /* of layers above the first */
    const float *bias;
    Matrix recurrent;
    const float *recurrent_bias; /* null where the cell has none */
} StackLayer;

typedef struct {
    long units, layers, cell; /* 0 LSTM, 1 GRU, 2 RNN, 3 RNN with ReLU */
    const StackLayer *stack;
    Matrix output;
    const float *output_bias;
    long vocabulary;
    Team *team; /* that helps with products of few streams, or null */
} Stack;

/* --- filters and the draw: settings, and the state of the streams ---------------------------------------------------- */

/* Tokens from `first` up to but not including `last`, with their own temperature. */
typedef struct {
    double temperature;
    long first, last;
} TokenRange;

typedef struct {
    double penalty;                           /* 1: off */
    double dry_multiplier, dry_base;          /* 0: off */
    double temperature;                       /* 0: the most likely token */
    double dynatemp_range, dynatemp_exponent; /* 0: off */
    double top_p, typical_p;                  /* 1: off */
    double min_p;                             /* 0: off */
    double xtc_probability, xtc_threshold;    /* 0: off */
    double tau, eta;                          /* of mirostat; 0: off */
    long top_k;                               /* 0: off */
    long window, dry_window, dry_allowed;     /* tokens */
    long forbidden_count, bias_count, range_count;
    const int32_t *forbidden;
    const int32_t *biased; /* tokens, and the bias of each */
    const double *bias;
    const TokenRange *token_ranges;
    const int32_t *breaks; /* (states, vocabulary) of `filters.SequenceBreakers`, or null */
} Filters;

/* The state of the streams, a row each. */
typedef struct {
    long capacity;           /* ids of the history: twice the longest window, or 0 if no filter reads it */
    int32_t *history;        /* (rows, capacity) */
    uint8_t *breaker_ended;  /* the same shape: whether a breaker ended there */
    int64_t *counts;         /* (rows,): ids in the history */
    int32_t *breaker_states; /* (rows, 2): state of the breakers' automaton, and the one before it */
    double *limits;          /* (rows,): of mirostat, in bits */
} Streams;

/* --- constraints: an automaton over the bytes of ids (`constraints.py`) ------------------------------------------------ */

/* The transitions of one state. Arrays have the shape (vocabulary,). */
typedef struct {
    const uint8_t *mask;          /* ids that may come if the length doesn't matter */
    const uint8_t *writes;        /* ids that write something */
    const int32_t *characters;    /* that each id begins */
    const int32_t *min_remaining; /* these, and those that must follow at least */
    const int32_t *next;          /* number of the row of the state after each id; −1 while it isn't known */
    int32_t most;                 /* the largest `min_remaining` of ids in `mask` */
    int32_t continues;            /* whether any id that writes something may come */
} Transitions;

/* The constraint of one text. Past its end, ids are free: they are dropped. */
typedef struct {
    const Transitions *const *rows; /* of the automaton, by number */
    int64_t left;                    /* characters to the length */
    int32_t row;                     /* number of that of the state, or before the last id if the constraint waits */
    int32_t taken;                   /* ids taken, counted by the kernels */
    int32_t over;                    /* whether the text is complete and nothing may follow */
    int32_t waits;                   /* whether the row of the state isn't known, so that nothing can be drawn */
} Constraint;

/* --- one instruction set ------------------------------------------------------------------------------------------- */

/* The functions of one instruction set. */
typedef struct {
    const char *name;
    int bf16; /* whether whole sequences can be in bfloat16 */
    int (*sequence_forward)(const SequenceCall *s, int threads);
    int (*sequence_backward)(const SequenceCall *s, int threads);
    void (*row_product)(const float *a, const float *w, const float *bias, long rows, long inputs, long outputs, float *out);
    int (*stack_run)(const Stack *m, long steps, long streams, const float *x, const float *old, float *new, float *logits,
                     float *outputs);
    void (*exact_product)(const float *a, const float *w, const float *bias, long rows, long inputs, long outputs,
                          float *out);
    void (*lstm_forward)(int bf16, long rows, long units, int threads, void *gates, const float *old, float *state,
                         void *out);
    void (*lstm_backward)(int bf16, long rows, long units, int threads, void *gates, const float *old,
                          const float *current, const void *grad_out, const void *grad_hidden, float *state,
                          void *grad_x);
    void (*gru_forward)(int bf16, long rows, long units, int threads, const void *x, const void *product,
                        const float *old, float *state, void *out, void *saved);
    void (*gru_backward)(int bf16, long rows, long units, int threads, void *saved, const float *old,
                         const void *grad_out, const void *grad_hidden, float *state, void *grad_x, void *grad_h);
    void (*rnn_forward)(int relu, int bf16, long rows, long units, int threads, void *out, float *state);
    void (*rnn_backward)(int relu, int bf16, long rows, long units, int threads, void *out, const void *grad_out,
                         const void *grad_hidden, void *grad_x);
    int (*draw)(const Filters *f, Streams *s, long rows, long vocabulary, const float *logits, const uint8_t *possible,
                const uint8_t *allowed, const double *numbers, int32_t *ids, double *logs);
    int (*generate)(const Stack *m, const Filters *const *f, Streams *const *streams, Constraint *const *constraints,
                    long steps, long rows, const float *table, const uint8_t *in_table, const double *numbers,
                    long stride, int32_t *ids, double *logs, const float *old, float *new);
} Kernels;

/* Runs `rows` of a job in pieces, on the threads of PyTorch's OpenMP runtime (see `seqgen_use_threads`). `width` is the
 * work of a row, in multiplications. */
void parallel_rows(void (*run)(const void *, long, long), const void *job, long rows, long width, int threads);

/* Runs blocks 0 to `count` - 1 of a job, some of them on the second thread if it is present. The caller holds the team. */
void team_run(Team *team, void (*run)(const void *, long), const void *job, long count);
int team_take(Team *team); /* whether it was free, and the second thread is present */
void team_release(Team *team);

/* --- numbers ------------------------------------------------------------------------------------------------------- */

/* bfloat16 is the upper half of a float32, rounded to nearest even. A NaN that arithmetic produced stays NaN: its lower
 * half is zero, so rounding can't overflow. */
static ALWAYS_INLINE float bf16_to_f32(uint16_t bf16) {
    const uint32_t bits = (uint32_t)bf16 << 16;
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

static ALWAYS_INLINE uint16_t f32_to_bf16(float value) {
    uint32_t bits;
    memcpy(&bits, &value, 4);
    return (uint16_t)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

/* Element i of an array of float32, or of bfloat16 if `bf16`. */
#define LOAD(pointer, i) (bf16 ? bf16_to_f32(((const uint16_t *)(pointer))[i]) : ((const float *)(pointer))[i])
#define STORE(pointer, i, value)                                                                                       \
    do {                                                                                                               \
        if (bf16)                                                                                                      \
            ((uint16_t *)(pointer))[i] = f32_to_bf16(value);                                                           \
        else                                                                                                           \
            ((float *)(pointer))[i] = (value);                                                                         \
    } while (0)

/* e^x with a relative error of about 1e-7: 2^k e^r with |r| ≤ ln 2 / 2, by the Taylor polynomial of degree 6. Never
 * infinite; NaN stays NaN. In plain operations, never fused: every instruction set gives the same bits. */
static ALWAYS_INLINE float fast_exp(float x) {
    const float bounded = x > 87.0f ? 87.0f : (x < -87.0f ? -87.0f : x);
    const float shift = 12582912.0f; /* 1.5 · 2^23: adding it rounds to an integer */
    const float k = (bounded * 1.44269504f + shift) - shift;
    const float r = (bounded - k * 0.693359375f) + k * 2.12194440e-4f;
    float p = 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    const uint32_t bits = (uint32_t)((int32_t)k + 127) << 23; /* of NaN any number: p is NaN */
    float power;
    memcpy(&power, &bits, 4);
    return p * power;
}

static ALWAYS_INLINE float sigmoid(float x) { return 1.0f / (1.0f + fast_exp(-x)); }
static ALWAYS_INLINE float tanh_(float x) { return 2.0f / (1.0f + fast_exp(-2.0f * x)) - 1.0f; }

#endif
