/* Whole sequences of each cell, forward and backward, with the recurrent product, for processors with AVX-512: in
 * float32, or in bfloat16 if the processor multiplies it (vdpbf16ps).
 *
 * Rows are independent, so a thread takes its rows through all the steps and never waits for another thread. Within
 * a step the product is computed a tile at a time, up to six rows by 64 outputs, whose sums stay in registers; the
 * cell's arithmetic (as in `cells.c`) follows at once. The weights are packed once a call: panels of the outputs of
 * a tile, column after column. A row's result depends neither on the number of threads nor on the other rows.
 *
 * In inference, the input's terms may be a table that is indexed by ids, and the outputs may be pooled as a
 * classifier does (`pooled`) instead of stored: then everything that a thread writes stays in the cache.
 *
 * Processors with matrix tiles (AMX) multiply bfloat16 several times faster with those; there PyTorch's products and
 * the kernels of `cells.c` are better. */

#include "native.h"

#include <stdlib.h>

/* One call. Row-major; G gates: 4 (LSTM), 3 (GRU), 1 (RNN). `rows` is the batch size; units are a multiple of 16.
 * Arrays without a dtype are float32, or bfloat16 if `bf16`. */
typedef struct {
    int cell, bf16, relu, save_for_backward; /* cell: 0 LSTM, 1 GRU, 2 RNN */
    long steps, rows, units;
    const void *x;          /* (steps, rows, G · units): the input's terms of the gates */
    const void *weight;     /* (G · units, units) */
    const float *bias;      /* float32 (units · 3,): GRU's recurrent bias, or null */
    void *history;          /* (steps + 1, rows, units): h_0, given, then the outputs */
    float *state_f32;       /* float32 (steps + 1 or 1, rows, units): c (LSTM), h (GRU), h of the last step (RNN) */
    void *saved;            /* (steps, rows, 4 · units): i, f, g, o (LSTM); r, z, n and the state's term of n (GRU) */
    const void *grad_out;   /* (steps, rows, units) */
    void *grad_x;           /* (steps, rows, G · units) */
    void *grad_h;           /* the same shape; grad_x itself except for GRU */
    float *grad_hidden;     /* float32 (rows, units): gradient of the last h in, of the first h out */
    float *grad_carry;      /* float32 (rows, units): gradient of c (LSTM); 0 in, the one past the gates out (GRU) */
    const int64_t *ids;     /* (steps, rows), or null: rows of x, which then is (vocabulary, G · units) */
    const int64_t *lengths; /* (rows,), or null: the steps of each row that are pooled; then only */
    float *pooled;          /* this is written: float32 (rows, 3, units): last, maximum, sum; `history` has two steps */
} SequenceCall;

#if defined(__x86_64__) && defined(__GNUC__) && (__GNUC__ >= 11 || defined(__clang__))
#include <cpuid.h>
#include <immintrin.h>

#define TARGET_AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512cd,fma,prefer-vector-width=512")))
#define TARGET_BF16                                                                                                    \
    __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512cd,avx512bf16,fma,prefer-vector-width=512")))
#define VECTOR_WIDTH 16 /* elements of a vector */
#define TILE_ROWS 6     /* rows of a tile: 6 × 4 sums and 5 operands fill 32 registers */
#define TILE_VECTORS 4  /* vectors of a tile */

static const int GATES[] = {4, 3, 1};

/* --- weights --------------------------------------------------------------------------------------------------------
 *
 * A panel has, for each column of float32 or pair of columns of bfloat16, the vectors of the tile, one after
 * another. */

/* Pack a panel of `vectors` vectors of 16 outputs; vector v is the rows from `first + v · stride` of `weight`. */
static ALWAYS_INLINE void pack_rows(const void *weight, long depth, long first, long stride, int vectors, int bf16,
                                    void *to) {
    const long columns = bf16 ? depth / 2 : depth; /* a pair of bfloat16 is moved as 32 bits */
    uint32_t *out = to;
    for (int v = 0; v < vectors; v++)
        for (long block = 0; block < columns; block += VECTOR_WIDTH)
            for (long k = 0; k < VECTOR_WIDTH; k++) {
                const uint32_t *row = (const uint32_t *)weight + (first + v * stride + k) * columns + block;
                const long width = columns - block < VECTOR_WIDTH ? columns - block : VECTOR_WIDTH;
                for (long c = 0; c < width; c++) out[((block + c) * vectors + v) * VECTOR_WIDTH + k] = row[c];
            }
}

/* The same for the transposed weight: vector v is the columns from `first + 16 v`. */
static ALWAYS_INLINE void pack_columns(const void *weight, long depth, long width, long first, int vectors, int bf16,
                                void *to) {
    if (!bf16) {
        float *out = to;
        for (long j = 0; j < depth; j++, out += vectors * VECTOR_WIDTH)
            memcpy(out, (const float *)weight + j * width + first, vectors * VECTOR_WIDTH * sizeof(float));
        return;
    }
    uint16_t *out = to;
    for (long j = 0; j < depth; j += 2, out += 2 * vectors * VECTOR_WIDTH) {
        const uint16_t *even = (const uint16_t *)weight + j * width + first, *odd = even + width;
        for (long k = 0; k < vectors * VECTOR_WIDTH; k++) {
            out[2 * k] = even[k];
            out[2 * k + 1] = odd[k];
        }
    }
}

/* --- the product of a tile ---------------------------------------------------------------------------------------- */

static ALWAYS_INLINE TARGET_AVX512 void f32_tile(const float *a, long stride, const float *w, long depth, float *sums,
                                                 const int rows, const int vectors) {
    __m512 s[TILE_ROWS][TILE_VECTORS];
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vectors; v++) s[r][v] = _mm512_setzero_ps();
    for (long j = 0; j < depth; j++, w += vectors * VECTOR_WIDTH) {
        __m512 by[TILE_VECTORS];
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) by[v] = _mm512_loadu_ps(w + v * VECTOR_WIDTH);
#pragma GCC unroll 6
        for (int r = 0; r < rows; r++) {
            const __m512 number = _mm512_set1_ps(a[r * stride + j]);
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++) s[r][v] = _mm512_fmadd_ps(number, by[v], s[r][v]);
        }
    }
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vectors; v++) _mm512_storeu_ps(sums + (r * TILE_VECTORS + v) * VECTOR_WIDTH, s[r][v]);
}

static ALWAYS_INLINE TARGET_BF16 void bf16_tile(const uint16_t *a, long stride, const uint16_t *w, long depth,
                                                float *sums, const int rows, const int vectors) {
    __m512 s[TILE_ROWS][TILE_VECTORS];
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vectors; v++) s[r][v] = _mm512_setzero_ps();
    for (long j = 0; j < depth; j += 2, w += 2 * vectors * VECTOR_WIDTH) {
        __m512bh by[TILE_VECTORS];
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) by[v] = (__m512bh)_mm512_loadu_si512(w + 2 * v * VECTOR_WIDTH);
#pragma GCC unroll 6
        for (int r = 0; r < rows; r++) {
            int32_t pair;
            memcpy(&pair, a + r * stride + j, 4);
            const __m512bh numbers = (__m512bh)_mm512_set1_epi32(pair);
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++) s[r][v] = _mm512_dpbf16_ps(s[r][v], numbers, by[v]);
        }
    }
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vectors; v++) _mm512_storeu_ps(sums + (r * TILE_VECTORS + v) * VECTOR_WIDTH, s[r][v]);
}

/* sums, shape (rows, 4, 16) = a, shape (rows, depth), times a panel */
#define PRODUCT(dtype, number, target)                                                                                 \
    static target void dtype##_product(const number *a, long stride, const number *w, long depth, float *sums,         \
                                       int rows, int vectors) {                                                        \
        switch (vectors * 8 + rows) {                                                                                  \
            EACH_HEIGHT(dtype, 1) EACH_HEIGHT(dtype, 2) EACH_HEIGHT(dtype, 3) EACH_HEIGHT(dtype, 4)                    \
        }                                                                                                              \
    }
#define EACH_HEIGHT(dtype, v)                                                                                          \
    ONE(dtype, v, 1) ONE(dtype, v, 2) ONE(dtype, v, 3) ONE(dtype, v, 4) ONE(dtype, v, 5) ONE(dtype, v, 6)
#define ONE(dtype, v, r)                                                                                               \
    case v * 8 + r: dtype##_tile(a, stride, w, depth, sums, r, v); return;
PRODUCT(f32, float, TARGET_AVX512)
PRODUCT(bf16, uint16_t, TARGET_BF16)

/* --- the cells, for one row and 16 units -------------------------------------------------------------------------- */

#define POINTER_TO(pointer, number) ((void *)((char *)(pointer) + (size_t)(number) * (bf16 ? 2 : 4)))
#define EACH_UNIT _Pragma("omp simd") for (long k = 0; k < VECTOR_WIDTH; k++)

/* h: the output; x and saved (may be null) point to the row's first gate at these units. */
static ALWAYS_INLINE void lstm_forward(const SequenceCall *s, const float *p, const void *x, const float *old, float *c,
                                       void *h, void *saved, const int bf16) {
    const long n = s->units;
    EACH_UNIT {
        const float i = sigmoid(p[k] + LOAD(x, k)), f = sigmoid(p[VECTOR_WIDTH + k] + LOAD(x, n + k));
        const float g = tanh_(p[2 * VECTOR_WIDTH + k] + LOAD(x, 2 * n + k)),
                    o = sigmoid(p[3 * VECTOR_WIDTH + k] + LOAD(x, 3 * n + k));
        const float now = f * old[k] + i * g;
        c[k] = now;
        STORE(h, k, o * tanh_(now));
        if (saved) {
            STORE(saved, k, i);
            STORE(saved, n + k, f);
            STORE(saved, 2 * n + k, g);
            STORE(saved, 3 * n + k, o);
        }
    }
}

static ALWAYS_INLINE void gru_forward(const SequenceCall *s, const float *p, const float *b, const void *x,
                                      const float *old, float *state_f32, void *h, void *saved, const int bf16) {
    const long n = s->units;
    EACH_UNIT {
        const float r = sigmoid(LOAD(x, k) + (p[k] + b[k]));
        const float z = sigmoid(LOAD(x, n + k) + (p[VECTOR_WIDTH + k] + b[n + k]));
        const float inner = p[2 * VECTOR_WIDTH + k] + b[2 * n + k], c = tanh_(LOAD(x, 2 * n + k) + r * inner);
        const float now = c + z * (old[k] - c);
        state_f32[k] = now;
        STORE(h, k, now);
        if (saved) {
            STORE(saved, k, r);
            STORE(saved, n + k, z);
            STORE(saved, 2 * n + k, c);
            STORE(saved, 3 * n + k, inner);
        }
    }
}

static ALWAYS_INLINE void rnn_forward(const SequenceCall *s, const float *p, const void *x, float *state_f32, void *h,
                                      const int bf16) {
    if (s->relu)
        EACH_UNIT {
            const float sum = p[k] + LOAD(x, k), now = sum < 0 ? 0 : sum; /* NaN stays NaN */
            state_f32[k] = now;
            STORE(h, k, now);
        }
    else
        EACH_UNIT {
            const float now = tanh_(p[k] + LOAD(x, k));
            state_f32[k] = now;
            STORE(h, k, now);
        }
}

/* p: the gradient of h that comes through the recurrent product of the next step. */
static ALWAYS_INLINE void lstm_backward(const SequenceCall *s, const float *p, const void *a, const float *old,
                                        const float *now, const void *grad, float *dc, void *d, const int bf16) {
    const long n = s->units;
    EACH_UNIT {
        const float i = LOAD(a, k), f = LOAD(a, n + k), g = LOAD(a, 2 * n + k), o = LOAD(a, 3 * n + k);
        const float t = tanh_(now[k]), dh = LOAD(grad, k) + p[k], dt = dc[k] + dh * o * (1 - t * t);
        STORE(d, k, dt * g * i * (1 - i));
        STORE(d, n + k, dt * old[k] * f * (1 - f));
        STORE(d, 2 * n + k, dt * i * (1 - g * g));
        STORE(d, 3 * n + k, dh * t * o * (1 - o));
        dc[k] = dt * f;
    }
}

static ALWAYS_INLINE void gru_backward(const SequenceCall *s, const float *p, const void *a, const float *old,
                                       const void *grad, float *direct, void *dx, void *dp, const int bf16) {
    const long n = s->units;
    EACH_UNIT {
        const float r = LOAD(a, k), z = LOAD(a, n + k), c = LOAD(a, 2 * n + k), inner = LOAD(a, 3 * n + k);
        const float dh = LOAD(grad, k) + p[k] + direct[k], dc = dh * (1 - z) * (1 - c * c);
        const float dz = dh * (old[k] - c) * z * (1 - z), dr = dc * inner * r * (1 - r);
        direct[k] = dh * z;
        STORE(dx, k, dr);
        STORE(dx, n + k, dz);
        STORE(dx, 2 * n + k, dc);
        STORE(dp, k, dr);
        STORE(dp, n + k, dz);
        STORE(dp, 2 * n + k, dc * r);
    }
}

static ALWAYS_INLINE void rnn_backward(const SequenceCall *s, const float *p, const void *out, const void *grad,
                                       void *d, const int bf16) {
    EACH_UNIT {
        const float h = LOAD(out, k), dh = LOAD(grad, k) + p[k];
        STORE(d, k, s->relu ? (h > 0 ? dh : 0) : dh * (1 - h * h));
    }
}

/* --- a thread's rows through all the steps ------------------------------------------------------------------------ */

typedef struct {
    const SequenceCall *sequence;
    const void *panels;
} Job;

/* Rows of the tile that begins at `row`: the rows up to `last` are split evenly, into at most TILE_ROWS each. */
static ALWAYS_INLINE int tile_height(long row, long last) {
    const long left = last - row, tiles = (left + TILE_ROWS - 1) / TILE_ROWS;
    return (int)((left + tiles - 1) / tiles);
}

static ALWAYS_INLINE void tile_product(const void *a, long stride, const void *w, long depth, float *sums, int rows,
                                       int vectors, const int bf16) {
    if (bf16)
        bf16_product(a, stride, w, depth, sums, rows, vectors);
    else
        f32_product(a, stride, w, depth, sums, rows, vectors);
}

/* Pool 16 outputs of a row at step t. */
static ALWAYS_INLINE void pool(const SequenceCall *s, long t, long row, long unit, const void *h, const int bf16) {
    const long n = s->units;
    float *last = s->pooled + row * 3 * n + unit, *largest = last + n, *total = largest + n;
    const int ends = t == s->lengths[row] - 1;
    EACH_UNIT {
        const float now = LOAD(h, k);
        if (ends) last[k] = now;
        largest[k] = t == 0 || now > largest[k] ? now : largest[k];
        total[k] = t == 0 ? now : total[k] + now;
    }
}

/* A panel of the forward pass contains all gates of 16 units, or, for an RNN, 64 units. */
static ALWAYS_INLINE void forward(const Job *job, long first, long last, const int cell, const int bf16) {
    const SequenceCall *s = job->sequence;
    const long n = s->units, width = GATES[cell] * n, side = cell == 2 ? TILE_VECTORS * VECTOR_WIDTH : VECTOR_WIDTH;
    const long exact_step = s->save_for_backward && cell != 2 ? s->rows * n : 0;
    const int pools = s->lengths != NULL;
    float sums[TILE_ROWS * TILE_VECTORS * VECTOR_WIDTH];
    for (long t = 0; t < s->steps; t++) {
        const long from = pools ? t & 1 : t, to = pools ? ~t & 1 : t + 1; /* steps of the history */
        for (long unit = 0; unit < n; unit += side) {
            const int vectors =
                cell == 2 ? (int)(n - unit < side ? (n - unit) / VECTOR_WIDTH : TILE_VECTORS) : GATES[cell];
            const void *panel = POINTER_TO(job->panels, (cell == 2 ? unit : unit * GATES[cell]) * n);
            for (long row = first, rows; row < last; row += rows) {
                rows = tile_height(row, last);
                if (s->ids) /* scattered in the table: loaded while the product is computed */
                    for (long r = 0; r < rows; r++) {
                        const void *x = POINTER_TO(s->x, s->ids[t * s->rows + row + r] * width + unit);
                        for (int v = 0; v < vectors; v++)
                            __builtin_prefetch(POINTER_TO(x, v * (cell == 2 ? VECTOR_WIDTH : n)));
                    }
                tile_product(POINTER_TO(s->history, (from * s->rows + row) * n), n, panel, n, sums, (int)rows, vectors,
                             bf16);
                for (long r = 0; r < rows; r++) {
                    const long at = t * s->rows + row + r;
                    const float *p = sums + r * TILE_VECTORS * VECTOR_WIDTH;
                    const void *x = POINTER_TO(s->x, (s->ids ? s->ids[at] : at) * width + unit);
                    void *h = POINTER_TO(s->history, (to * s->rows + row + r) * n + unit);
                    void *saved = s->save_for_backward ? POINTER_TO(s->saved, at * 4 * n + unit) : NULL;
                    const float *old = s->state_f32 + t * exact_step + (row + r) * n + unit;
                    float *now = s->state_f32 + (t + 1) * exact_step + (row + r) * n + unit;
                    if (cell == 0) lstm_forward(s, p, x, old, now, h, saved, bf16);
                    if (cell == 1) gru_forward(s, p, s->bias + unit, x, old, now, h, saved, bf16);
                    if (cell == 2)
                        for (int v = 0; v < vectors; v++)
                            rnn_forward(s, p + v * VECTOR_WIDTH, POINTER_TO(x, v * VECTOR_WIDTH),
                                        now + v * VECTOR_WIDTH, POINTER_TO(h, v * VECTOR_WIDTH), bf16);
                    if (pools && t < s->lengths[row + r])
                        for (int v = 0; v < (cell == 2 ? vectors : 1); v++)
                            pool(s, t, row + r, unit + v * VECTOR_WIDTH, POINTER_TO(h, v * VECTOR_WIDTH), bf16);
                }
            }
        }
    }
}

/* A panel of the backward pass contains 64 units. Before the first step (t = −1) there is only the product. */
static ALWAYS_INLINE void backward(const Job *job, long first, long last, const int cell, const int bf16) {
    const SequenceCall *s = job->sequence;
    const long n = s->units, width = GATES[cell] * n, side = TILE_VECTORS * VECTOR_WIDTH;
    float sums[TILE_ROWS * TILE_VECTORS * VECTOR_WIDTH];
    for (long t = s->steps - 1; t >= -1; t--)
        for (long unit = 0; unit < n; unit += side) {
            const int vectors = (int)(n - unit < side ? (n - unit) / VECTOR_WIDTH : TILE_VECTORS);
            const void *panel = POINTER_TO(job->panels, unit * width);
            for (long row = first, rows; row < last; row += rows) {
                rows = tile_height(row, last);
                if (t < s->steps - 1)
                    tile_product(POINTER_TO(s->grad_h, ((t + 1) * s->rows + row) * width), width, panel, width, sums,
                                 (int)rows, vectors, bf16);
                for (long r = 0; r < rows; r++) {
                    const long at = t * s->rows + row + r;
                    float *grad_hidden = s->grad_hidden + (row + r) * n + unit,
                          *grad_carry = s->grad_carry + (row + r) * n + unit;
                    float *p = sums + r * side;
                    if (t == s->steps - 1) memcpy(p, grad_hidden, vectors * VECTOR_WIDTH * sizeof(float));
                    if (t < 0) {
                        memcpy(grad_hidden, p, vectors * VECTOR_WIDTH * sizeof(float));
                        continue;
                    }
                    for (int v = 0; v < vectors; v++) {
                        const long u = unit + v * VECTOR_WIDTH;
                        const void *saved = POINTER_TO(s->saved, at * 4 * n + u),
                                   *grad = POINTER_TO(s->grad_out, at * n + u);
                        const float *old = s->state_f32 + at * n + u, *now = old + s->rows * n;
                        void *dx = POINTER_TO(s->grad_x, at * width + u), *dh = POINTER_TO(s->grad_h, at * width + u);
                        if (cell == 0)
                            lstm_backward(s, p + v * VECTOR_WIDTH, saved, old, now, grad, grad_carry + v * VECTOR_WIDTH,
                                          dx, bf16);
                        if (cell == 1)
                            gru_backward(s, p + v * VECTOR_WIDTH, saved, old, grad, grad_carry + v * VECTOR_WIDTH, dx,
                                         dh, bf16);
                        if (cell == 2)
                            rnn_backward(s, p + v * VECTOR_WIDTH, POINTER_TO(s->history, (at + s->rows) * n + u), grad,
                                         dx, bf16);
                    }
                }
            }
        }
}

#define DEFINE_BOTH_DTYPES(way, name, cell)                                                                            \
    static TARGET_AVX512 void way##_##name##_f32(const void *job, long first, long last) {                             \
        way(job, first, last, cell, 0);                                                                                \
    }                                                                                                                  \
    static TARGET_BF16 void way##_##name##_bf16(const void *job, long first, long last) {                              \
        way(job, first, last, cell, 1);                                                                                \
    }
DEFINE_BOTH_DTYPES(forward, lstm, 0)
DEFINE_BOTH_DTYPES(forward, gru, 1)
DEFINE_BOTH_DTYPES(forward, rnn, 2)
DEFINE_BOTH_DTYPES(backward, lstm, 0)
DEFINE_BOTH_DTYPES(backward, gru, 1)
DEFINE_BOTH_DTYPES(backward, rnn, 2)

typedef void (*Run)(const void *, long, long);
static const Run FORWARD[3][2] = {
    {forward_lstm_f32, forward_lstm_bf16}, {forward_gru_f32, forward_gru_bf16}, {forward_rnn_f32, forward_rnn_bf16}};
static const Run BACKWARD[3][2] = {{backward_lstm_f32, backward_lstm_bf16},
                                   {backward_gru_f32, backward_gru_bf16},
                                   {backward_rnn_f32, backward_rnn_bf16}};

typedef struct {
    const SequenceCall *sequence;
    char *panels;
    int backward;
} Packing;

/* Panels `first` to `last`. */
static void pack(const void *data, long first, long last) {
    const Packing *job = data;
    const SequenceCall *s = job->sequence;
    const int bf16 = s->bf16, gates = GATES[s->cell];
    const long n = s->units, wide = TILE_VECTORS * VECTOR_WIDTH;
    for (long panel = first; panel < last; panel++) {
        if (!job->backward && s->cell < 2) {
            pack_rows(s->weight, n, panel * VECTOR_WIDTH, n, gates, bf16,
                      POINTER_TO(job->panels, panel * VECTOR_WIDTH * gates * n));
            continue;
        }
        const long unit = panel * wide;
        const int vectors = (int)(n - unit < wide ? (n - unit) / VECTOR_WIDTH : TILE_VECTORS);
        if (job->backward)
            pack_columns(s->weight, gates * n, n, unit, vectors, bf16, POINTER_TO(job->panels, unit * gates * n));
        else
            pack_rows(s->weight, n, unit, VECTOR_WIDTH, vectors, bf16, POINTER_TO(job->panels, unit * n));
    }
}

static int run_sequence(const SequenceCall *s, int threads, int backward) {
    const int bf16 = s->bf16, gates = GATES[s->cell];
    const long panels = !backward && s->cell < 2
                            ? s->units / VECTOR_WIDTH
                            : (s->units + TILE_VECTORS * VECTOR_WIDTH - 1) / (TILE_VECTORS * VECTOR_WIDTH);
    void *memory;
    if (posix_memalign(&memory, 64, (size_t)gates * s->units * s->units * (bf16 ? 2 : 4))) return 1;
    const Packing packing = {s, memory, backward};
    parallel_rows(pack, &packing, panels, gates * s->units * s->units / panels, threads);
    const Job job = {s, memory};
    const long work = s->steps * s->units * gates; /* per row */
    parallel_rows((backward ? BACKWARD : FORWARD)[s->cell][bf16 != 0], &job, s->rows, work, threads);
    free(memory);
    return 0;
}

/* Dtypes that the processor supports. 0: none; 1: float32; 2: bfloat16 too. */
int seqgen_sequence_dtypes(void) {
    unsigned a, b, c, d = 0;
    if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
        !__builtin_cpu_supports("avx512vl") || !__builtin_cpu_supports("avx512dq") ||
        !__builtin_cpu_supports("avx512cd") || !__builtin_cpu_supports("fma"))
        return 0;
    const int tiles = __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d >> 22 & 1); /* AMX-BF16 */
    const int own = __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 5 & 1);    /* AVX512_BF16 */
    return own && !tiles ? 2 : 1;
}
#else
static int run_sequence(const SequenceCall *s, int threads, int backward) { return 2; }
int seqgen_sequence_dtypes(void) { return 0; }
#endif

/* Both return 0, or 1 when out of memory for the packed weights. */
int seqgen_sequence_forward(const SequenceCall *s, int threads) { return run_sequence(s, threads, 0); }
int seqgen_sequence_backward(const SequenceCall *s, int threads) { return run_sequence(s, threads, 1); }
