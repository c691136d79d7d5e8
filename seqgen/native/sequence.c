/* Whole sequences of each cell, forward and back, the recurrent product included: for training on processors with
 * AVX-512, in float32, or in bfloat16 where the processor multiplies that itself (vdpbf16ps).
 *
 * Rows do not know of each other, so a thread takes its rows through all the steps, and no step waits for another
 * thread. Within a step the product is done a tile at a time, up to six rows by 64 outputs, whose sums stay in
 * registers; the cell's arithmetic (of `cells.c`) follows while they are at hand. For that the weights are laid out
 * once a call: panels of the outputs that a tile makes, column after column. A row's result depends neither on the
 * threads nor on the other rows.
 *
 * Where nothing is to be learnt the input's share may be a table, looked up by ids, and of the outputs only what a
 * classifier pools may be kept (`pooled`): then all that a thread writes stays in the cache.
 *
 * Processors with matrix tiles (AMX) multiply bfloat16 several times faster by those; there PyTorch's products and the
 * kernels of `cells.c` are better. */

#include "native.h"

#include <stdlib.h>

/* One call. Row-major; G gates: 4 (LSTM), 3 (GRU), 1 (RNN). `rows` is the batch; units are a multiple of 16. Numbers are
 * float32, or bfloat16 (`low`) where no type is told. */
typedef struct {
    int cell, low, relu, keep; /* cell: 0 LSTM, 1 GRU, 2 RNN; keep: what the way back needs */
    long steps, rows, units;
    const void *x;      /* (steps, rows, G · units): the input's share of the gates */
    const void *weight; /* (G · units, units) */
    const float *bias;  /* float32 (units · 3,): GRU's recurrent bias, or null */
    void *history;      /* (steps + 1, rows, units): outputs, the one before the first step in place */
    float *exact;       /* float32 (steps + 1 or 1, rows, units): c (LSTM), h (GRU), h of the last step (RNN) */
    void *kept;         /* (steps, rows, 4 · units): i, f, g, o (LSTM); r, z, n and the state's share of n (GRU) */
    const void *grad_out; /* (steps, rows, units) */
    void *grad_x;         /* (steps, rows, G · units) */
    void *grad_h;         /* the same: grad_x itself but for GRU */
    float *through;       /* float32 (rows, units): gradient of the last h, and in the end of the first */
    float *carry;         /* float32 (rows, units): of c (LSTM); zeros (GRU), and in the end what bypasses the gates */
    const int64_t *ids;     /* (steps, rows), or null: x is (vocabulary, G · units), and this says which row of it */
    const int64_t *lengths; /* (rows,), or null; else so many steps of each row count, and of them only */
    float *pooled;          /* is made: float32 (rows, 3, units), last, largest, sum. `history` has room for two steps */
} Sequence;

#if defined(__x86_64__) && defined(__GNUC__) && (__GNUC__ >= 11 || defined(__clang__))
#include <cpuid.h>
#include <immintrin.h>

#define FULL __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512cd,fma,prefer-vector-width=512")))
#define LOW __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512cd,avx512bf16,fma,prefer-vector-width=512")))
#define WIDE 16  /* numbers of a vector */
#define TALL 6   /* rows of a tile: 6 × 4 sums and 5 operands fill 32 registers */
#define MOST 4   /* vectors of a tile */

static const int GATES[] = {4, 3, 1};

/* --- weights -------------------------------------------------------------------------------------------------------
 *
 * A panel: for each column (of float32) or pair of columns (of bfloat16) the vectors of the tile, one after another. */

/* The panel of `vectors` vectors of 16 outputs; vector v is the rows from `first + v · stride` of `weight`. */
static ALWAYS void pack_rows(const void *weight, long depth, long first, long stride, int vectors, int low, void *to) {
    const long columns = low ? depth / 2 : depth; /* a pair of bfloat16 moves as one number of 32 bits */
    uint32_t *out = to;
    for (int v = 0; v < vectors; v++)
        for (long block = 0; block < columns; block += WIDE)
            for (long k = 0; k < WIDE; k++) {
                const uint32_t *row = (const uint32_t *)weight + (first + v * stride + k) * columns + block;
                const long width = columns - block < WIDE ? columns - block : WIDE;
                for (long c = 0; c < width; c++) out[((block + c) * vectors + v) * WIDE + k] = row[c];
            }
}

/* The same of the transposed weight: vector v is the columns from `first + 16 v`. */
static ALWAYS void pack_columns(const void *weight, long depth, long width, long first, int vectors, int low,
                                void *to) {
    if (!low) {
        float *out = to;
        for (long j = 0; j < depth; j++, out += vectors * WIDE)
            memcpy(out, (const float *)weight + j * width + first, vectors * WIDE * sizeof(float));
        return;
    }
    uint16_t *out = to;
    for (long j = 0; j < depth; j += 2, out += 2 * vectors * WIDE) {
        const uint16_t *even = (const uint16_t *)weight + j * width + first, *odd = even + width;
        for (long k = 0; k < vectors * WIDE; k++) {
            out[2 * k] = even[k];
            out[2 * k + 1] = odd[k];
        }
    }
}

/* --- the product of a tile ----------------------------------------------------------------------------------------- */

static ALWAYS FULL void full_tile(const float *a, long stride, const float *w, long depth, float *sums, const int rows,
                                  const int vectors) {
    __m512 s[TALL][MOST];
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vectors; v++) s[r][v] = _mm512_setzero_ps();
    for (long j = 0; j < depth; j++, w += vectors * WIDE) {
        __m512 by[MOST];
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) by[v] = _mm512_loadu_ps(w + v * WIDE);
#pragma GCC unroll 6
        for (int r = 0; r < rows; r++) {
            const __m512 number = _mm512_set1_ps(a[r * stride + j]);
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++) s[r][v] = _mm512_fmadd_ps(number, by[v], s[r][v]);
        }
    }
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vectors; v++) _mm512_storeu_ps(sums + (r * MOST + v) * WIDE, s[r][v]);
}

static ALWAYS LOW void low_tile(const uint16_t *a, long stride, const uint16_t *w, long depth, float *sums,
                                const int rows, const int vectors) {
    __m512 s[TALL][MOST];
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vectors; v++) s[r][v] = _mm512_setzero_ps();
    for (long j = 0; j < depth; j += 2, w += 2 * vectors * WIDE) {
        __m512bh by[MOST];
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) by[v] = (__m512bh)_mm512_loadu_si512(w + 2 * v * WIDE);
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
        for (int v = 0; v < vectors; v++) _mm512_storeu_ps(sums + (r * MOST + v) * WIDE, s[r][v]);
}

/* sums, shape (rows, 4, 16) = a, shape (rows, depth), by a panel */
#define PRODUCT(kind, number, target)                                                                                  \
    static target void kind##_product(const number *a, long stride, const number *w, long depth, float *sums,          \
                                      int rows, int vectors) {                                                         \
        switch (vectors * 8 + rows) {                                                                                  \
            EACH_HEIGHT(kind, 1) EACH_HEIGHT(kind, 2) EACH_HEIGHT(kind, 3) EACH_HEIGHT(kind, 4)                        \
        }                                                                                                              \
    }
#define EACH_HEIGHT(kind, v)                                                                                           \
    ONE(kind, v, 1) ONE(kind, v, 2) ONE(kind, v, 3) ONE(kind, v, 4) ONE(kind, v, 5) ONE(kind, v, 6)
#define ONE(kind, v, r)                                                                                                \
    case v * 8 + r: kind##_tile(a, stride, w, depth, sums, r, v); return;
PRODUCT(full, float, FULL)
PRODUCT(low, uint16_t, LOW)

/* --- the cells, for one row and 16 units --------------------------------------------------------------------------- */

#define PLACE(pointer, number) ((void *)((char *)(pointer) + (size_t)(number) * (low ? 2 : 4)))
#define EACH_UNIT _Pragma("omp simd") for (long k = 0; k < WIDE; k++)

/* h: where the output goes; x and kept (null where it is not wanted) point to the row's first gate at these units. */
static ALWAYS void lstm_ahead(const Sequence *s, const float *p, const void *x, const float *old, float *c, void *h,
                              void *kept, const int low) {
    const long n = s->units;
    EACH_UNIT {
        const float i = sigmoid(p[k] + AT(x, k)), f = sigmoid(p[WIDE + k] + AT(x, n + k));
        const float g = tangent(p[2 * WIDE + k] + AT(x, 2 * n + k)), o = sigmoid(p[3 * WIDE + k] + AT(x, 3 * n + k));
        const float now = f * old[k] + i * g;
        c[k] = now;
        PUT(h, k, o * tangent(now));
        if (kept) {
            PUT(kept, k, i);
            PUT(kept, n + k, f);
            PUT(kept, 2 * n + k, g);
            PUT(kept, 3 * n + k, o);
        }
    }
}

static ALWAYS void gru_ahead(const Sequence *s, const float *p, const float *b, const void *x, const float *old,
                             float *exact, void *h, void *kept, const int low) {
    const long n = s->units;
    EACH_UNIT {
        const float r = sigmoid(AT(x, k) + (p[k] + b[k]));
        const float z = sigmoid(AT(x, n + k) + (p[WIDE + k] + b[n + k]));
        const float inner = p[2 * WIDE + k] + b[2 * n + k], c = tangent(AT(x, 2 * n + k) + r * inner);
        const float now = c + z * (old[k] - c);
        exact[k] = now;
        PUT(h, k, now);
        if (kept) {
            PUT(kept, k, r);
            PUT(kept, n + k, z);
            PUT(kept, 2 * n + k, c);
            PUT(kept, 3 * n + k, inner);
        }
    }
}

static ALWAYS void rnn_ahead(const Sequence *s, const float *p, const void *x, float *exact, void *h, const int low) {
    if (s->relu)
        EACH_UNIT {
            const float sum = p[k] + AT(x, k), now = sum < 0 ? 0 : sum; /* NaN stays NaN */
            exact[k] = now;
            PUT(h, k, now);
        }
    else
        EACH_UNIT {
            const float now = tangent(p[k] + AT(x, k));
            exact[k] = now;
            PUT(h, k, now);
        }
}

/* p: what comes back through the recurrent product from the step after. */
static ALWAYS void lstm_back(const Sequence *s, const float *p, const void *a, const float *old, const float *now,
                             const void *grad, float *dc, void *d, const int low) {
    const long n = s->units;
    EACH_UNIT {
        const float i = AT(a, k), f = AT(a, n + k), g = AT(a, 2 * n + k), o = AT(a, 3 * n + k);
        const float t = tangent(now[k]), dh = AT(grad, k) + p[k], dt = dc[k] + dh * o * (1 - t * t);
        PUT(d, k, dt * g * i * (1 - i));
        PUT(d, n + k, dt * old[k] * f * (1 - f));
        PUT(d, 2 * n + k, dt * i * (1 - g * g));
        PUT(d, 3 * n + k, dh * t * o * (1 - o));
        dc[k] = dt * f;
    }
}

static ALWAYS void gru_back(const Sequence *s, const float *p, const void *a, const float *old, const void *grad,
                            float *direct, void *dx, void *dp, const int low) {
    const long n = s->units;
    EACH_UNIT {
        const float r = AT(a, k), z = AT(a, n + k), c = AT(a, 2 * n + k), inner = AT(a, 3 * n + k);
        const float dh = AT(grad, k) + p[k] + direct[k], dc = dh * (1 - z) * (1 - c * c);
        const float dz = dh * (old[k] - c) * z * (1 - z), dr = dc * inner * r * (1 - r);
        direct[k] = dh * z;
        PUT(dx, k, dr);
        PUT(dx, n + k, dz);
        PUT(dx, 2 * n + k, dc);
        PUT(dp, k, dr);
        PUT(dp, n + k, dz);
        PUT(dp, 2 * n + k, dc * r);
    }
}

static ALWAYS void rnn_back(const Sequence *s, const float *p, const void *out, const void *grad, void *d,
                            const int low) {
    EACH_UNIT {
        const float h = AT(out, k), dh = AT(grad, k) + p[k];
        PUT(d, k, s->relu ? (h > 0 ? dh : 0) : dh * (1 - h * h));
    }
}

/* --- a thread's rows through all the steps ------------------------------------------------------------------------- */

typedef struct {
    const Sequence *sequence;
    const void *panels;
} Job;

/* Rows of the tile that begins at `row`, of those up to `last`: as even as can be, none above TALL. */
static ALWAYS int height(long row, long last) {
    const long left = last - row, tiles = (left + TALL - 1) / TALL;
    return (int)((left + tiles - 1) / tiles);
}

static ALWAYS void multiply(const void *a, long stride, const void *w, long depth, float *sums, int rows, int vectors,
                            const int low) {
    if (low)
        low_product(a, stride, w, depth, sums, rows, vectors);
    else
        full_product(a, stride, w, depth, sums, rows, vectors);
}

/* Takes 16 outputs of a row at step t into what is kept of it. */
static ALWAYS void pool(const Sequence *s, long t, long row, long unit, const void *h, const int low) {
    const long n = s->units;
    float *last = s->pooled + row * 3 * n + unit, *largest = last + n, *total = largest + n;
    const int ends = t == s->lengths[row] - 1;
    EACH_UNIT {
        const float now = AT(h, k);
        if (ends) last[k] = now;
        largest[k] = t == 0 || now > largest[k] ? now : largest[k];
        total[k] = t == 0 ? now : total[k] + now;
    }
}

/* A panel of the way ahead holds all the gates of 16 units; of an RNN, 64 units. */
static ALWAYS void ahead(const Job *job, long first, long last, const int cell, const int low) {
    const Sequence *s = job->sequence;
    const long n = s->units, width = GATES[cell] * n, side = cell == 2 ? MOST * WIDE : WIDE;
    const long exact_step = s->keep && cell != 2 ? s->rows * n : 0;
    const int pools = s->lengths != NULL;
    float sums[TALL * MOST * WIDE];
    for (long t = 0; t < s->steps; t++) {
        const long from = pools ? t & 1 : t, to = pools ? ~t & 1 : t + 1; /* steps of the history */
        for (long unit = 0; unit < n; unit += side) {
            const int vectors = cell == 2 ? (int)(n - unit < side ? (n - unit) / WIDE : MOST) : GATES[cell];
            const void *panel = PLACE(job->panels, (cell == 2 ? unit : unit * GATES[cell]) * n);
            for (long row = first, rows; row < last; row += rows) {
                rows = height(row, last);
                if (s->ids) /* from anywhere in the table: while the product is done they can come */
                    for (long r = 0; r < rows; r++) {
                        const void *x = PLACE(s->x, s->ids[t * s->rows + row + r] * width + unit);
                        for (int v = 0; v < vectors; v++) __builtin_prefetch(PLACE(x, v * (cell == 2 ? WIDE : n)));
                    }
                multiply(PLACE(s->history, (from * s->rows + row) * n), n, panel, n, sums, (int)rows, vectors, low);
                for (long r = 0; r < rows; r++) {
                    const long at = t * s->rows + row + r;
                    const float *p = sums + r * MOST * WIDE;
                    const void *x = PLACE(s->x, (s->ids ? s->ids[at] : at) * width + unit);
                    void *h = PLACE(s->history, (to * s->rows + row + r) * n + unit);
                    void *kept = s->keep ? PLACE(s->kept, at * 4 * n + unit) : NULL;
                    const float *old = s->exact + t * exact_step + (row + r) * n + unit;
                    float *now = s->exact + (t + 1) * exact_step + (row + r) * n + unit;
                    if (cell == 0) lstm_ahead(s, p, x, old, now, h, kept, low);
                    if (cell == 1) gru_ahead(s, p, s->bias + unit, x, old, now, h, kept, low);
                    if (cell == 2)
                        for (int v = 0; v < vectors; v++)
                            rnn_ahead(s, p + v * WIDE, PLACE(x, v * WIDE), now + v * WIDE, PLACE(h, v * WIDE), low);
                    if (pools && t < s->lengths[row + r])
                        for (int v = 0; v < (cell == 2 ? vectors : 1); v++)
                            pool(s, t, row + r, unit + v * WIDE, PLACE(h, v * WIDE), low);
                }
            }
        }
    }
}

/* A panel of the way back: 64 units. After the first step there is only what comes through its product. */
static ALWAYS void back(const Job *job, long first, long last, const int cell, const int low) {
    const Sequence *s = job->sequence;
    const long n = s->units, width = GATES[cell] * n, side = MOST * WIDE;
    float sums[TALL * MOST * WIDE];
    for (long t = s->steps - 1; t >= -1; t--)
        for (long unit = 0; unit < n; unit += side) {
            const int vectors = (int)(n - unit < side ? (n - unit) / WIDE : MOST);
            const void *panel = PLACE(job->panels, unit * width);
            for (long row = first, rows; row < last; row += rows) {
                rows = height(row, last);
                if (t < s->steps - 1)
                    multiply(PLACE(s->grad_h, ((t + 1) * s->rows + row) * width), width, panel, width, sums, (int)rows,
                             vectors, low);
                for (long r = 0; r < rows; r++) {
                    const long at = t * s->rows + row + r;
                    float *through = s->through + (row + r) * n + unit, *carry = s->carry + (row + r) * n + unit;
                    float *p = sums + r * side;
                    if (t == s->steps - 1) memcpy(p, through, vectors * WIDE * sizeof(float));
                    if (t < 0) {
                        memcpy(through, p, vectors * WIDE * sizeof(float));
                        continue;
                    }
                    for (int v = 0; v < vectors; v++) {
                        const long u = unit + v * WIDE;
                        const void *kept = PLACE(s->kept, at * 4 * n + u), *grad = PLACE(s->grad_out, at * n + u);
                        const float *old = s->exact + at * n + u, *now = old + s->rows * n;
                        void *dx = PLACE(s->grad_x, at * width + u), *dh = PLACE(s->grad_h, at * width + u);
                        if (cell == 0) lstm_back(s, p + v * WIDE, kept, old, now, grad, carry + v * WIDE, dx, low);
                        if (cell == 1) gru_back(s, p + v * WIDE, kept, old, grad, carry + v * WIDE, dx, dh, low);
                        if (cell == 2)
                            rnn_back(s, p + v * WIDE, PLACE(s->history, (at + s->rows) * n + u), grad, dx, low);
                    }
                }
            }
        }
}

#define BOTH(way, name, cell)                                                                                          \
    static FULL void way##_##name##_full(const void *job, long first, long last) { way(job, first, last, cell, 0); }   \
    static LOW void way##_##name##_low(const void *job, long first, long last) { way(job, first, last, cell, 1); }
BOTH(ahead, lstm, 0)
BOTH(ahead, gru, 1)
BOTH(ahead, rnn, 2)
BOTH(back, lstm, 0)
BOTH(back, gru, 1)
BOTH(back, rnn, 2)

typedef void (*Run)(const void *, long, long);
static const Run AHEAD[3][2] = {
    {ahead_lstm_full, ahead_lstm_low}, {ahead_gru_full, ahead_gru_low}, {ahead_rnn_full, ahead_rnn_low}};
static const Run BACK[3][2] = {
    {back_lstm_full, back_lstm_low}, {back_gru_full, back_gru_low}, {back_rnn_full, back_rnn_low}};

typedef struct {
    const Sequence *sequence;
    char *panels;
    int back;
} Packing;

/* Panels `first` to `last`. */
static void pack(const void *data, long first, long last) {
    const Packing *job = data;
    const Sequence *s = job->sequence;
    const int low = s->low, gates = GATES[s->cell];
    const long n = s->units, wide = MOST * WIDE;
    for (long panel = first; panel < last; panel++) {
        if (!job->back && s->cell < 2) {
            pack_rows(s->weight, n, panel * WIDE, n, gates, low, PLACE(job->panels, panel * WIDE * gates * n));
            continue;
        }
        const long unit = panel * wide;
        const int vectors = (int)(n - unit < wide ? (n - unit) / WIDE : MOST);
        if (job->back)
            pack_columns(s->weight, gates * n, n, unit, vectors, low, PLACE(job->panels, unit * gates * n));
        else
            pack_rows(s->weight, n, unit, WIDE, vectors, low, PLACE(job->panels, unit * n));
    }
}

static int carry_out(const Sequence *s, int threads, int back) {
    const int low = s->low, gates = GATES[s->cell];
    const long panels = !back && s->cell < 2 ? s->units / WIDE : (s->units + MOST * WIDE - 1) / (MOST * WIDE);
    void *memory;
    if (posix_memalign(&memory, 64, (size_t)gates * s->units * s->units * (low ? 2 : 4))) return 1;
    const Packing packing = {s, memory, back};
    share(pack, &packing, panels, gates * s->units * s->units / panels, threads);
    const Job job = {s, memory};
    const long work = s->steps * s->units * gates; /* of a row */
    share((back ? BACK : AHEAD)[s->cell][low != 0], &job, s->rows, work, threads);
    free(memory);
    return 0;
}

/* 1: float32; 2: bfloat16 as well. */
int seqgen_sequence_kinds(void) {
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
static int carry_out(const Sequence *s, int threads, int back) { return 2; }
int seqgen_sequence_kinds(void) { return 0; }
#endif

/* Both return 0, or 1 where there is no memory for the weights' copy. */
int seqgen_sequence_forward(const Sequence *s, int threads) { return carry_out(s, threads, 0); }
int seqgen_sequence_backward(const Sequence *s, int threads) { return carry_out(s, threads, 1); }
