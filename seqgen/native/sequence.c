/* Whole sequences of each cell, forward and backward, recurrent product included: for training, and for classifying and
 * forecasting without PyTorch; and the other products of these. float32, or bfloat16 where the processor multiplies
 * bfloat16 itself.
 *
 * Rows of a batch are independent, so a thread takes its rows through all the steps, and no step waits for another thread.
 * The weights are laid out once a call in panels of the outputs that a tile of the product makes, column after column. A
 * row's result depends neither on the threads nor on the other rows.
 *
 * In inference the input's part of the gates may be a table that is looked up by ids, and of the outputs only what a
 * classifier pools may be kept (`pooled`): then all that a thread writes stays in the cache. */

#include "products.h"

#include <stdlib.h>

#ifdef __AVX512BF16__
#define HAS_BF16 1
#else
#define HAS_BF16 0
#endif

#define GROUP LANES          /* units of a panel of the forward pass, all gates of each; of an RNN, up to SIDE units */
#define SIDE (4 * LANES)     /* units of a panel of the backward pass */
#define CHUNK 48             /* rows whose sums are buffered: 48 × 4 vectors are 12 KiB at most */

static const int GATES[] = {4, 3, 1};

/* --- weights -------------------------------------------------------------------------------------------------------
 *
 * A panel: for each column (of float32) or pair of columns (of bfloat16) its vectors, one after another. */

/* The panel of `vectors` vectors of outputs; vector v is the rows from `first + v · stride` of `weight`. */
static ALWAYS_INLINE void pack_rows(const void *weight, long depth, long first, long stride, int vectors, int bf16,
                                    void *to) {
    const long columns = bf16 ? depth / 2 : depth; /* a pair of bfloat16 moves as one number of 32 bits */
    uint32_t *out = to;
    for (int v = 0; v < vectors; v++)
        for (long block = 0; block < columns; block += 16)
            for (long k = 0; k < LANES; k++) {
                const uint32_t *row = (const uint32_t *)weight + (first + v * stride + k) * columns + block;
                const long width = columns - block < 16 ? columns - block : 16;
                for (long c = 0; c < width; c++) out[((block + c) * vectors + v) * LANES + k] = row[c];
            }
}

/* The same of the transposed weight: vector v is the columns from `first + v · LANES`. */
static ALWAYS_INLINE void pack_columns(const void *weight, long depth, long width, long first, int vectors, int bf16,
                                       void *to) {
    if (!bf16) {
        float *out = to;
        for (long j = 0; j < depth; j++, out += vectors * LANES)
            memcpy(out, (const float *)weight + j * width + first, vectors * LANES * sizeof(float));
        return;
    }
    uint16_t *out = to;
    for (long j = 0; j < depth; j += 2, out += 2 * vectors * LANES) {
        const uint16_t *even = (const uint16_t *)weight + j * width + first, *odd = even + width;
        for (long k = 0; k < vectors * LANES; k++) {
            out[2 * k] = even[k];
            out[2 * k + 1] = odd[k];
        }
    }
}

static ALWAYS_INLINE void product(const void *a, long stride, const void *panel, long depth, float *sums, long rows,
                                  int vectors, const int bf16) {
#if HAS_BF16
    if (bf16) {
        product_bf16(a, stride, panel, vectors * LANES, depth, sums, SIDE, rows, vectors);
        return;
    }
#endif
    product_f32(a, stride, panel, vectors * LANES, depth, sums, SIDE, rows, vectors);
}

/* --- the cells, for one row and LANES units ------------------------------------------------------------------------ */

#define POINTER_TO(pointer, number) ((void *)((char *)(pointer) + (size_t)(number) * (bf16 ? 2 : 4)))
#define EACH_UNIT _Pragma("omp simd") for (long k = 0; k < LANES; k++)

/* h: where the output goes; x and saved (null where it is not wanted) point to the row's first gate at these units. */
static ALWAYS_INLINE void lstm_forward(const SequenceCall *s, const float *p, const void *x, const float *old, float *c,
                                       void *h, void *saved, const int bf16) {
    const long n = s->units;
    EACH_UNIT {
        const float i = sigmoid(p[k] + LOAD(x, k)), f = sigmoid(p[LANES + k] + LOAD(x, n + k));
        const float g = tanh_(p[2 * LANES + k] + LOAD(x, 2 * n + k)), o = sigmoid(p[3 * LANES + k] + LOAD(x, 3 * n + k));
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
                                      const float *old, float *state, void *h, void *saved, const int bf16) {
    const long n = s->units;
    EACH_UNIT {
        const float r = sigmoid(LOAD(x, k) + (p[k] + b[k]));
        const float z = sigmoid(LOAD(x, n + k) + (p[LANES + k] + b[n + k]));
        const float inner = p[2 * LANES + k] + b[2 * n + k], c = tanh_(LOAD(x, 2 * n + k) + r * inner);
        const float now = c + z * (old[k] - c);
        state[k] = now;
        STORE(h, k, now);
        if (saved) {
            STORE(saved, k, r);
            STORE(saved, n + k, z);
            STORE(saved, 2 * n + k, c);
            STORE(saved, 3 * n + k, inner);
        }
    }
}

static ALWAYS_INLINE void rnn_forward(const SequenceCall *s, const float *p, const void *x, float *state, void *h,
                                      const int bf16) {
    if (s->relu)
        EACH_UNIT {
            const float sum = p[k] + LOAD(x, k), now = sum < 0 ? 0 : sum; /* NaN stays NaN */
            state[k] = now;
            STORE(h, k, now);
        }
    else
        EACH_UNIT {
            const float now = tanh_(p[k] + LOAD(x, k));
            state[k] = now;
            STORE(h, k, now);
        }
}

/* p: the gradient that comes through the recurrent product from the following step. */
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

static ALWAYS_INLINE void rnn_backward(const SequenceCall *s, const float *p, const void *out, const void *grad, void *d,
                                       const int bf16) {
    EACH_UNIT {
        const float h = LOAD(out, k), dh = LOAD(grad, k) + p[k];
        STORE(d, k, s->relu ? (h > 0 ? dh : 0) : dh * (1 - h * h));
    }
}

/* --- a thread's rows through all the steps ------------------------------------------------------------------------- */

typedef struct {
    const SequenceCall *sequence;
    const void *panels;
} Job;

/* Adds LANES outputs of a row at step t to its pooled last, largest and sum. */
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

static ALWAYS_INLINE void forward(const Job *job, long first, long last, const int cell, const int bf16) {
    const SequenceCall *s = job->sequence;
    const long n = s->units, width = GATES[cell] * n, side = cell == 2 ? SIDE : GROUP;
    const long state_step = s->save_for_backward && cell != 2 ? s->rows * n : 0;
    const int pools = s->lengths != NULL;
    float sums[CHUNK * SIDE];
    for (long t = 0; t < s->steps; t++) {
        const long from = pools ? t & 1 : t, to = pools ? ~t & 1 : t + 1; /* steps of the history */
        for (long unit = 0; unit < n; unit += side) {
            const int vectors = cell == 2 ? (int)(n - unit < side ? (n - unit) / LANES : 4) : GATES[cell];
            const void *panel = POINTER_TO(job->panels, (cell == 2 ? unit : unit * GATES[cell]) * n);
            for (long row = first, rows; row < last; row += rows) {
                rows = last - row < CHUNK ? last - row : CHUNK;
                if (s->ids) /* from anywhere in the table: fetched while the product is done */
                    for (long r = 0; r < rows; r++) {
                        const void *x = POINTER_TO(s->x, s->ids[t * s->rows + row + r] * width + unit);
                        for (int v = 0; v < vectors; v++) __builtin_prefetch(POINTER_TO(x, v * (cell == 2 ? LANES : n)));
                    }
                product(POINTER_TO(s->history, (from * s->rows + row) * n), n, panel, n, sums, rows, vectors, bf16);
                for (long r = 0; r < rows; r++) {
                    const long at = t * s->rows + row + r;
                    const float *p = sums + r * SIDE;
                    const void *x = POINTER_TO(s->x, (s->ids ? s->ids[at] : at) * width + unit);
                    void *h = POINTER_TO(s->history, (to * s->rows + row + r) * n + unit);
                    void *saved = s->save_for_backward ? POINTER_TO(s->saved, at * 4 * n + unit) : NULL;
                    const float *old = s->state_f32 + t * state_step + (row + r) * n + unit;
                    float *now = s->state_f32 + (t + 1) * state_step + (row + r) * n + unit;
                    if (cell == 0) lstm_forward(s, p, x, old, now, h, saved, bf16);
                    if (cell == 1) gru_forward(s, p, s->bias + unit, x, old, now, h, saved, bf16);
                    if (cell == 2)
                        for (int v = 0; v < vectors; v++)
                            rnn_forward(s, p + v * LANES, POINTER_TO(x, v * LANES), now + v * LANES,
                                        POINTER_TO(h, v * LANES), bf16);
                    if (pools && t < s->lengths[row + r])
                        for (int v = 0; v < (cell == 2 ? vectors : 1); v++)
                            pool(s, t, row + r, unit + v * LANES, POINTER_TO(h, v * LANES), bf16);
                }
            }
        }
    }
}

/* After the pass over the first step there is only the gradient that comes through its product. */
static ALWAYS_INLINE void backward(const Job *job, long first, long last, const int cell, const int bf16) {
    const SequenceCall *s = job->sequence;
    const long n = s->units, width = GATES[cell] * n;
    float sums[CHUNK * SIDE];
    for (long t = s->steps - 1; t >= -1; t--)
        for (long unit = 0; unit < n; unit += SIDE) {
            const int vectors = (int)(n - unit < SIDE ? (n - unit) / LANES : 4);
            const void *panel = POINTER_TO(job->panels, unit * width);
            for (long row = first, rows; row < last; row += rows) {
                rows = last - row < CHUNK ? last - row : CHUNK;
                if (t < s->steps - 1)
                    product(POINTER_TO(s->grad_h, ((t + 1) * s->rows + row) * width), width, panel, width, sums, rows,
                            vectors, bf16);
                for (long r = 0; r < rows; r++) {
                    const long at = t * s->rows + row + r;
                    float *through = s->grad_hidden + (row + r) * n + unit, *carry = s->grad_carry + (row + r) * n + unit;
                    float *p = sums + r * SIDE;
                    if (t == s->steps - 1) memcpy(p, through, vectors * LANES * sizeof(float));
                    if (t < 0) {
                        memcpy(through, p, vectors * LANES * sizeof(float));
                        continue;
                    }
                    for (int v = 0; v < vectors; v++) {
                        const long u = unit + v * LANES;
                        const void *saved = POINTER_TO(s->saved, at * 4 * n + u);
                        const void *grad = POINTER_TO(s->grad_out, at * n + u);
                        const float *old = s->state_f32 + at * n + u, *now = old + s->rows * n;
                        void *dx = POINTER_TO(s->grad_x, at * width + u), *dh = POINTER_TO(s->grad_h, at * width + u);
                        if (cell == 0) lstm_backward(s, p + v * LANES, saved, old, now, grad, carry + v * LANES, dx, bf16);
                        if (cell == 1)
                            gru_backward(s, p + v * LANES, saved, old, grad, carry + v * LANES, dx, dh, bf16);
                        if (cell == 2)
                            rnn_backward(s, p + v * LANES, POINTER_TO(s->history, (at + s->rows) * n + u), grad, dx,
                                         bf16);
                    }
                }
            }
        }
}

#define DEFINE(pass, name, cell)                                                                                       \
    static void pass##_##name##_f32(const void *job, long first, long last) { pass(job, first, last, cell, 0); }       \
    static void pass##_##name##_bf16(const void *job, long first, long last) { pass(job, first, last, cell, HAS_BF16); }
DEFINE(forward, lstm, 0)
DEFINE(forward, gru, 1)
DEFINE(forward, rnn, 2)
DEFINE(backward, lstm, 0)
DEFINE(backward, gru, 1)
DEFINE(backward, rnn, 2)

typedef void (*Run)(const void *, long, long);
static const Run FORWARD[3][2] = {
    {forward_lstm_f32, forward_lstm_bf16}, {forward_gru_f32, forward_gru_bf16}, {forward_rnn_f32, forward_rnn_bf16}};
static const Run BACKWARD[3][2] = {{backward_lstm_f32, backward_lstm_bf16},
                                   {backward_gru_f32, backward_gru_bf16},
                                   {backward_rnn_f32, backward_rnn_bf16}};

typedef struct {
    const SequenceCall *sequence;
    char *panels;
    int is_backward;
} Packing;

/* Panels `first` to `last`. */
static void pack(const void *data, long first, long last) {
    const Packing *job = data;
    const SequenceCall *s = job->sequence;
    const int bf16 = s->bf16, gates = GATES[s->cell];
    const long n = s->units;
    for (long panel = first; panel < last; panel++) {
        if (!job->is_backward && s->cell < 2) {
            pack_rows(s->weight, n, panel * GROUP, n, gates, bf16, POINTER_TO(job->panels, panel * GROUP * gates * n));
            continue;
        }
        const long unit = panel * SIDE;
        const int vectors = (int)(n - unit < SIDE ? (n - unit) / LANES : 4);
        if (job->is_backward)
            pack_columns(s->weight, gates * n, n, unit, vectors, bf16, POINTER_TO(job->panels, unit * gates * n));
        else
            pack_rows(s->weight, n, unit, LANES, vectors, bf16, POINTER_TO(job->panels, unit * n));
    }
}

/* Returns 0, or 1 where there is no memory for the weights' copy. */
static int run_sequence(const SequenceCall *s, int threads, int is_backward) {
    const int bf16 = s->bf16, gates = GATES[s->cell];
    const long panels = !is_backward && s->cell < 2 ? s->units / GROUP : (s->units + SIDE - 1) / SIDE;
    const size_t size = (size_t)gates * s->units * s->units * (bf16 ? 2 : 4);
    void *memory = malloc(size + 63);
    if (!memory) return 1;
    char *aligned = (char *)(((uintptr_t)memory + 63) & ~(uintptr_t)63);
    const Packing packing = {s, aligned, is_backward};
    parallel_rows(pack, &packing, panels, gates * s->units * s->units / panels, threads);
    const Job job = {s, aligned};
    const long work = s->steps * s->units * gates; /* of a row */
    parallel_rows((is_backward ? BACKWARD : FORWARD)[s->cell][bf16 != 0], &job, s->rows, work, threads);
    free(memory);
    return 0;
}

int NAME(sequence_forward)(const SequenceCall *s, int threads) { return run_sequence(s, threads, 0); }
int NAME(sequence_backward)(const SequenceCall *s, int threads) { return run_sequence(s, threads, 1); }

/* out = a w + bias: a (rows, inputs), bias (outputs,) or null, out (rows, outputs); outputs are a multiple of 16. w lies in
 * panels, [outputs / PANEL][inputs][PANEL], the last one as wide as what is left. No row's result depends on another. */
void NAME(row_product)(const float *a, const float *w, const float *bias, long rows, long inputs, long outputs, float *out) {
    for (long row = 0; row < rows; row += CHUNK)
        for (long first = 0; first < outputs; first += PANEL) {
            const long height = rows - row < CHUNK ? rows - row : CHUNK;
            const long width = outputs - first < PANEL ? outputs - first : PANEL;
            float *to = out + row * outputs + first;
            product_f32(a + row * inputs, inputs, w + first * inputs, width, inputs, to, outputs, height, width / LANES);
            if (bias)
                for (long r = 0; r < height; r++)
#pragma omp simd
                    for (long k = 0; k < width; k++) to[r * outputs + k] += bias[first + k];
        }
}
