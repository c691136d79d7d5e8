/* A stack of recurrent layers, one step at a time, for sampling: no PyTorch, one thread, any number of streams.
 *
 * Weights are packed once, in blocks of 64 rows, column after column, so that a product reads memory in one
 * direction and needs no sum across a vector; a block serves four streams before the next is fetched. Weights are
 * float32, or 8-bit integers with a scale a row, multiplied with activations that are rounded to 8 bits on the fly
 * (dynamic quantisation): integer sums are exact in any order. In both forms a stream's numbers do not depend on
 * other streams. */

#include "native.h"

#include <math.h>
#include <stdlib.h>

#define BLOCK_ROWS 64 /* rows of a block of weights */
#define STREAM_TILE 4 /* streams that share a block */

/* Rows are padded with zeros to a multiple of 64, columns of int8 to a multiple of 4. */
typedef struct {
    long rows, columns;
    const void *blocks;  /* float [rows / 64][columns][64], or int8 [rows / 64][columns / 4][64][4] */
    const float *scales; /* of the rows of int8; null for float32 */
    const int32_t *sums; /* of each row's int8: to undo the shift that makes the activations unsigned */
} Matrix;

typedef struct {
    Matrix input; /* of layers above the first */
    const float *bias;
    Matrix recurrent;
    const float *recurrent_bias; /* null for cells without one */
} StackLayer;

typedef struct {
    long units, layers, cell; /* 0 LSTM, 1 GRU, 2 RNN, 3 RNN with ReLU */
    const StackLayer *stack;
    Matrix output;
    const float *output_bias;
    long vocabulary;
} Stack;

static const long GATES[] = {4, 3, 1, 1}, STATES[] = {2, 1, 1, 1};

typedef float Vec16f __attribute__((vector_size(64), aligned(4)));

/* --- products ----------------------------------------------------------------------------------------------------- */

static ALWAYS_INLINE void float_block(const float *w, long columns, const float *x, long width, float *out, long stride,
                               const int streams) {
    Vec16f sums[STREAM_TILE][4] = {{{0}}};
    for (long c = 0; c < columns; c++, w += BLOCK_ROWS) {
        const Vec16f *row = (const Vec16f *)w;
#pragma GCC unroll 4
        for (int s = 0; s < streams; s++) {
            const float by = x[s * width + c];
#pragma GCC unroll 4
            for (int part = 0; part < 4; part++) sums[s][part] += row[part] * by;
        }
    }
    for (int s = 0; s < streams; s++) memcpy(out + s * stride, sums[s], sizeof sums[s]);
}

TARGET_CLONES static void float_product(const Matrix *m, const float *x, long width, long streams, float *out,
                                        long stride) {
    for (long block = 0; block < m->rows / BLOCK_ROWS; block++) {
        const float *w = (const float *)m->blocks + block * BLOCK_ROWS * m->columns;
        long s = 0;
        for (; s + STREAM_TILE <= streams; s += STREAM_TILE)
            float_block(w, m->columns, x + s * width, width, out + s * stride + block * BLOCK_ROWS, stride,
                        STREAM_TILE);
        for (; s < streams; s++)
            float_block(w, m->columns, x + s * width, width, out + s * stride + block * BLOCK_ROWS, stride, 1);
    }
}

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#include <immintrin.h>
#define VNNI __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,fma")))

static ALWAYS_INLINE VNNI void int8_block(const int8_t *w, long groups, const uint8_t *x, long width, int32_t *out,
                                    long stride, const int streams) {
    __m512i sums[STREAM_TILE][4];
    for (int s = 0; s < streams; s++)
        for (int part = 0; part < 4; part++) sums[s][part] = _mm512_setzero_si512();
    for (long g = 0; g < groups; g++, w += 4 * BLOCK_ROWS) {
        const __m512i w0 = _mm512_loadu_si512(w), w1 = _mm512_loadu_si512(w + 64), w2 = _mm512_loadu_si512(w + 128),
                      w3 = _mm512_loadu_si512(w + 192);
#pragma GCC unroll 4
        for (int s = 0; s < streams; s++) {
            int32_t four;
            memcpy(&four, x + s * width + 4 * g, 4);
            const __m512i by = _mm512_set1_epi32(four);
            sums[s][0] = _mm512_dpbusd_epi32(sums[s][0], by, w0);
            sums[s][1] = _mm512_dpbusd_epi32(sums[s][1], by, w1);
            sums[s][2] = _mm512_dpbusd_epi32(sums[s][2], by, w2);
            sums[s][3] = _mm512_dpbusd_epi32(sums[s][3], by, w3);
        }
    }
    for (int s = 0; s < streams; s++)
        for (int part = 0; part < 4; part++) _mm512_storeu_si512(out + s * stride + 16 * part, sums[s][part]);
}

VNNI static void int8_product(const Matrix *m, const uint8_t *x, long width, long streams, int32_t *out, long stride) {
    for (long block = 0; block < m->rows / BLOCK_ROWS; block++) {
        const int8_t *w = (const int8_t *)m->blocks + block * BLOCK_ROWS * m->columns;
        long s = 0;
        for (; s + STREAM_TILE <= streams; s += STREAM_TILE)
            int8_block(w, m->columns / 4, x + s * width, width, out + s * stride + block * BLOCK_ROWS, stride,
                       STREAM_TILE);
        for (; s < streams; s++)
            int8_block(w, m->columns / 4, x + s * width, width, out + s * stride + block * BLOCK_ROWS, stride, 1);
    }
}

/* Whether the processor has fast int8 products; without them there are none at all. */
int seqgen_has_int8_products(void) {
    return __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bw");
}
#else
static void int8_product(const Matrix *m, const uint8_t *x, long width, long streams, int32_t *out, long stride) {
    (void)m, (void)x, (void)width, (void)streams, (void)out, (void)stride;
}
int seqgen_has_int8_products(void) { return 0; }
#endif

/* Round x, shape (streams, columns), to 8 bits, 128 for zero, padded with 128; `steps`: the quantisation step of each
 * stream. */
TARGET_CLONES static void quantise(const float *x, long columns, long width, long streams, uint8_t *out, float *steps) {
    for (long s = 0; s < streams; s++) {
        const float *from = x + s * columns;
        uint8_t *to = out + s * width;
        float most = 0;
#pragma omp simd reduction(max : most)
        for (long c = 0; c < columns; c++) most = fabsf(from[c]) > most ? fabsf(from[c]) : most;
        const float scale = most > 0 ? 127 / most : 0;
#pragma omp simd
        for (long c = 0; c < columns; c++) {
            const float shifted = from[c] * scale + 12582912.0f; /* rounds, as in `fast_exp` */
            int32_t bits;
            memcpy(&bits, &shifted, 4);
            to[c] = (uint8_t)(bits + 128);
        }
        for (long c = columns; c < width; c++) to[c] = 128;
        steps[s] = most / 127;
    }
}

TARGET_CLONES static void dequantise(const Matrix *m, long streams, const float *steps, void *out, long stride) {
    for (long s = 0; s < streams; s++) {
        const int32_t *whole = (const int32_t *)out + s * stride;
        float *to = (float *)out + s * stride;
#pragma omp simd
        for (long r = 0; r < m->rows; r++) to[r] = (float)(whole[r] - 128 * m->sums[r]) * (m->scales[r] * steps[s]);
    }
}

/* out = m x for each stream: x of shape (streams, columns), out (streams, stride) with stride ≥ rows. */
static void product(const Matrix *m, const float *x, long columns, long streams, float *out, long stride,
                    void *scratch) {
    if (!m->scales) {
        float_product(m, x, columns, streams, out, stride);
        return;
    }
    float *steps = scratch;
    uint8_t *rounded = (uint8_t *)(steps + streams);
    quantise(x, columns, m->columns, streams, rounded, steps);
    int8_product(m, rounded, m->columns, streams, (int32_t *)out, stride);
    dequantise(m, streams, steps, out, stride);
}

/* --- cells, as in `cells.c`, in float32; `old` and `new` may be the same array ------------------------------------ */

TARGET_CLONES static void lstm(long n, const float *x, const float *p, const float *old, float *new) {
#pragma omp simd
    for (long k = 0; k < n; k++) {
        const float i = sigmoid(x[k] + p[k]), f = sigmoid(x[n + k] + p[n + k]);
        const float g = tanh_(x[2 * n + k] + p[2 * n + k]), o = sigmoid(x[3 * n + k] + p[3 * n + k]);
        const float c = f * old[n + k] + i * g;
        new[n + k] = c;
        new[k] = o * tanh_(c);
    }
}

TARGET_CLONES static void gru(long n, const float *x, const float *p, const float *b, const float *old, float *new) {
#pragma omp simd
    for (long k = 0; k < n; k++) {
        const float r = sigmoid(x[k] + p[k] + b[k]), z = sigmoid(x[n + k] + p[n + k] + b[n + k]);
        const float c = tanh_(x[2 * n + k] + r * (p[2 * n + k] + b[2 * n + k]));
        new[k] = c + z * (old[k] - c);
    }
}

TARGET_CLONES static void rnn(long n, const float *x, const float *p, int relu, float *new) {
    if (relu)
#pragma omp simd
        for (long k = 0; k < n; k++) new[k] = x[k] + p[k] < 0 ? 0 : x[k] + p[k]; /* NaN stays NaN */
    else
#pragma omp simd
        for (long k = 0; k < n; k++) new[k] = tanh_(x[k] + p[k]);
}

TARGET_CLONES static void add(long n, const float *restrict a, float *restrict to) {
#pragma omp simd
    for (long k = 0; k < n; k++) to[k] += a[k];
}

static long padded_rows(long rows) { return (rows + BLOCK_ROWS - 1) / BLOCK_ROWS * BLOCK_ROWS; }

/* Streams that pass through all layers and steps together: their intermediate results, 16 bytes for each row of a gate,
 * stay in a core's own cache while the weights stream through it. */
#define STREAM_BATCH 32

/* Some of the `all` streams of `seqgen_stack_run`. */
static void run_streams(const Stack *m, long steps, long streams, long all, const float *x, const float *old,
                        float *new, float *logits, float *outputs, float *memory) {
    const long n = m->units, width = GATES[m->cell] * n, padded = padded_rows(width), own = STATES[m->cell] * n;
    const long size = m->layers * own, wide_output = padded_rows(m->vocabulary);
    float *below = memory, *recurrent = below + streams * padded, *h = recurrent + streams * padded;
    float *wide = h + streams * n;
    void *scratch = wide + streams * wide_output;
    const float *from = old;
    for (long t = 0; t < steps; t++, x += all * width, from = new) {
        for (long layer = 0; layer < m->layers; layer++) {
            const StackLayer *l = m->stack + layer;
            if (layer) { /* h contains the outputs of the layer below */
                product(&l->input, h, n, streams, below, padded, scratch);
                for (long s = 0; s < streams; s++) add(width, l->bias, below + s * padded);
            }
            for (long s = 0; s < streams; s++) memcpy(h + s * n, from + s * size + layer * own, sizeof(float) * n);
            product(&l->recurrent, h, n, streams, recurrent, padded, scratch);
            for (long s = 0; s < streams; s++) {
                const float *input = layer ? below + s * padded : x + s * width, *p = recurrent + s * padded;
                const float *before = from + s * size + layer * own;
                float *after = new + s * size + layer * own;
                if (m->cell == 0)
                    lstm(n, input, p, before, after);
                else if (m->cell == 1)
                    gru(n, input, p, l->recurrent_bias, before, after);
                else
                    rnn(n, input, p, m->cell == 3, after);
                memcpy(h + s * n, after, sizeof(float) * n);
            }
        }
        if (outputs) memcpy(outputs + t * all * n, h, sizeof(float) * streams * n);
    }
    if (logits) {
        for (long s = 0; s < streams; s++) memcpy(h + s * n, new + s * size + size - own, sizeof(float) * n);
        product(&m->output, h, n, streams, wide, wide_output, scratch);
        for (long s = 0; s < streams; s++) {
            memcpy(logits + s * m->vocabulary, wide + s * wide_output, sizeof(float) * m->vocabulary);
            add(m->vocabulary, m->output_bias, logits + s * m->vocabulary);
        }
    }
}

/* Run one or more steps of every stream. Returns 0, or 1 when out of memory.
 *
 * x: the terms of the first layer's gates, shape (steps, streams, gates · units); old, new: states, shape (streams,
 * layers, states, units); logits: of the last step, shape (streams, vocabulary), or null; outputs: the top layer's
 * outputs at every step, shape (steps, streams, units), or null. */
int seqgen_stack_run(const Stack *m, long steps, long streams, const float *x, const float *old, float *new,
                     float *logits, float *outputs) {
    const long n = m->units, width = GATES[m->cell] * n, size = m->layers * STATES[m->cell] * n;
    const long most = streams < STREAM_BATCH ? streams : STREAM_BATCH;
    float *memory =
        malloc(most * (sizeof(float) * (2 * padded_rows(width) + padded_rows(m->vocabulary) + n + 1) + n + 4));
    if (!memory) return 1;
    for (long s = 0; s < streams; s += STREAM_BATCH)
        run_streams(m, steps, streams - s < STREAM_BATCH ? streams - s : STREAM_BATCH, streams, x + s * width,
                    old + s * size, new + s * size, logits ? logits + s * m->vocabulary : NULL,
                    outputs ? outputs + s * n : NULL, memory);
    free(memory);
    return 0;
}
