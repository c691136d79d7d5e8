/* A stack of recurrent layers, one step at a time, for generating: no PyTorch, any number of streams, one thread, which a
 * second one may help with large products (`Team`).
 *
 * Weights are laid out once, in blocks of BLOCK_ROWS rows, column after column, so that a product walks through memory in
 * one direction and needs no sum across a register. They are float32, or 8-bit integers with a scale a row, multiplied
 * with activations rounded to 8 bits (dynamic quantisation). Integer sums are exact in any order, and everything else is
 * done in one fixed order without fused operations, so 8-bit results are the same on every processor. In either form a
 * stream's results don't depend on the streams beside it. */

#include "products.h"

#include <math.h>
#include <stdlib.h>

static const long STACK_GATES[] = {4, 3, 1, 1}, STATES[] = {2, 1, 1, 1};

/* x, shape (streams, columns), rounded to 8 bits within ±127 and padded with zeros to `width`; the step of each row. */
static void quantise(const float *x, long columns, long width, long streams, int8_t *out, float *steps) {
    for (long s = 0; s < streams; s++) {
        const float *from = x + s * columns;
        int8_t *to = out + s * width;
        float most = 0;
#pragma omp simd reduction(max : most)
        for (long c = 0; c < columns; c++) most = fabsf(from[c]) > most ? fabsf(from[c]) : most;
        const float scale = most > 0 ? 127 / most : 0;
#pragma omp simd
        for (long c = 0; c < columns; c++) {
            const float shifted = from[c] * scale + 12582912.0f; /* rounds, as in `fast_exp` */
            int32_t bits;
            memcpy(&bits, &shifted, 4);
            to[c] = (int8_t)bits;
        }
        for (long c = columns; c < width; c++) to[c] = 0;
        steps[s] = most / 127;
    }
}

static void dequantise(const Matrix *m, long streams, const float *steps, void *out, long stride) {
    for (long s = 0; s < streams; s++) {
        const int32_t *integers = (const int32_t *)out + s * stride;
        float *to = (float *)out + s * stride;
#pragma omp simd
        for (long r = 0; r < m->rows; r++) to[r] = (float)integers[r] * (m->scales[r] * steps[s]);
    }
}

/* out = m x for each stream, in blocks of rows: x of shape (streams, columns), float32 or rounded. */
typedef struct {
    const Matrix *m;
    const void *x;
    long columns, streams;
    float *out; /* (streams, stride) with stride ≥ rows; 8-bit products are integers there */
    long stride;
} ProductJob;

static void product_block(const void *data, long block) {
    const ProductJob *job = data;
    const Matrix *m = job->m;
    const long first = block * BLOCK_ROWS;
    if (m->scales)
        product_int8((const int8_t *)m->blocks + first * m->columns, m->sums + first, BLOCK_ROWS, m->columns, job->x,
                     job->streams, (int32_t *)job->out + first, job->stride);
    else
        product_f32(job->x, job->columns, (const float *)m->blocks + first * job->columns, BLOCK_ROWS, job->columns,
                    job->out + first, job->stride, job->streams, BLOCK_ROWS / LANES);
}

/* Of a product's weights, about what the cache of one core holds: above, a second thread helps. As in the engine. */
#define TEAM_BYTES (3L << 19)

/* Steps that this thread has made: every second one takes the blocks of each product from the last to the first, so that
 * the weights that were read last, and are still in the core's cache, are read first. */
static _Thread_local unsigned steps_made;

/* out = m x: `team` is null, or held by the caller. */
static void matrix_product(const Matrix *m, const float *x, long columns, long streams, float *out, long stride,
                           void *scratch, Team *team) {
    float *steps = scratch;
    int8_t *rounded = (int8_t *)(steps + streams);
    if (m->scales) quantise(x, columns, m->columns, streams, rounded, steps);
    const ProductJob job = {m, m->scales ? (const void *)rounded : x, columns, streams, out, stride};
    const long blocks = m->rows / BLOCK_ROWS;
    if (team && m->rows * m->columns * (m->scales ? 1 : 4) >= TEAM_BYTES)
        team_run(team, product_block, &job, blocks);
    else
        for (long block = 0; block < blocks; block++) product_block(&job, steps_made & 1 ? blocks - 1 - block : block);
    if (m->scales) dequantise(m, streams, steps, out, stride);
}

/* --- cells, as in `cells.c`, in float32; `old` and `new` may be the same memory ------------------------------------- */

static void lstm_step(long n, const float *x, const float *p, const float *old, float *new) {
#pragma omp simd
    for (long k = 0; k < n; k++) {
        const float i = sigmoid(x[k] + p[k]), f = sigmoid(x[n + k] + p[n + k]);
        const float g = tanh_(x[2 * n + k] + p[2 * n + k]), o = sigmoid(x[3 * n + k] + p[3 * n + k]);
        const float c = f * old[n + k] + i * g;
        new[n + k] = c;
        new[k] = o * tanh_(c);
    }
}

static void gru_step(long n, const float *x, const float *p, const float *b, const float *old, float *new) {
#pragma omp simd
    for (long k = 0; k < n; k++) {
        const float r = sigmoid(x[k] + p[k] + b[k]), z = sigmoid(x[n + k] + p[n + k] + b[n + k]);
        const float c = tanh_(x[2 * n + k] + r * (p[2 * n + k] + b[2 * n + k]));
        new[k] = c + z * (old[k] - c);
    }
}

static void rnn_step(long n, const float *x, const float *p, int relu, float *new) {
    if (relu)
#pragma omp simd
        for (long k = 0; k < n; k++) new[k] = x[k] + p[k] < 0 ? 0 : x[k] + p[k]; /* NaN stays NaN */
    else
#pragma omp simd
        for (long k = 0; k < n; k++) new[k] = tanh_(x[k] + p[k]);
}

static void add(long n, const float *restrict a, float *restrict to) {
#pragma omp simd
    for (long k = 0; k < n; k++) to[k] += a[k];
}

static long padded_rows(long rows) { return (rows + BLOCK_ROWS - 1) / BLOCK_ROWS * BLOCK_ROWS; }

/* Streams that go through all layers and steps before the next ones begin: their intermediate results, 16 bytes for each
 * row of a gate, stay in a core's own cache beside the weights. */
#define STREAM_BATCH 32

/* See `stack_run`, of which these are some streams: `all` is how many there are. */
static void run_streams(const Stack *m, long steps, long streams, long all, const float *x, const float *old, float *new,
                        float *logits, float *outputs, float *memory, Team *team) {
    const long n = m->units, width = STACK_GATES[m->cell] * n, padded = padded_rows(width), own = STATES[m->cell] * n;
    const long size = m->layers * own, output_width = padded_rows(m->vocabulary);
    float *below = memory, *recurrent = below + streams * padded, *h = recurrent + streams * padded;
    float *wide = h + streams * n;
    void *scratch = wide + streams * output_width;
    const float *from = old;
    for (long t = 0; t < steps; t++, steps_made++, x += all * width, from = new) {
        for (long layer = 0; layer < m->layers; layer++) {
            const StackLayer *l = m->stack + layer;
            if (layer) { /* h still holds the outputs of the layer below */
                matrix_product(&l->input, h, n, streams, below, padded, scratch, team);
                for (long s = 0; s < streams; s++) add(width, l->bias, below + s * padded);
            }
            for (long s = 0; s < streams; s++) memcpy(h + s * n, from + s * size + layer * own, sizeof(float) * n);
            matrix_product(&l->recurrent, h, n, streams, recurrent, padded, scratch, team);
            for (long s = 0; s < streams; s++) {
                const float *input = layer ? below + s * padded : x + s * width, *p = recurrent + s * padded;
                const float *before = from + s * size + layer * own;
                float *after = new + s * size + layer * own;
                if (m->cell == 0)
                    lstm_step(n, input, p, before, after);
                else if (m->cell == 1)
                    gru_step(n, input, p, l->recurrent_bias, before, after);
                else
                    rnn_step(n, input, p, m->cell == 3, after);
                memcpy(h + s * n, after, sizeof(float) * n);
            }
        }
        if (outputs) memcpy(outputs + t * all * n, h, sizeof(float) * streams * n);
    }
    if (logits) {
        for (long s = 0; s < streams; s++) memcpy(h + s * n, new + s * size + size - own, sizeof(float) * n);
        matrix_product(&m->output, h, n, streams, wide, output_width, scratch, team);
        for (long s = 0; s < streams; s++) {
            memcpy(logits + s * m->vocabulary, wide + s * output_width, sizeof(float) * m->vocabulary);
            add(m->vocabulary, m->output_bias, logits + s * m->vocabulary);
        }
    }
}

/* out = a w + bias: a (rows, inputs), w (inputs, outputs), bias (outputs,) or null, out (rows, outputs). Each product of two
 * float32 is exact in double precision and the sums are taken in order, so every processor gives the same bits: what is
 * computed once from the weights must not differ where 8-bit results don't. */
void NAME(exact_product)(const float *a, const float *w, const float *bias, long rows, long inputs, long outputs,
                         float *out) {
    for (long r = 0; r < rows; r++, a += inputs, out += outputs)
        for (long first = 0; first < outputs; first += 32) {
            const long width = outputs - first < 32 ? outputs - first : 32;
            double sums[32] = {0};
            for (long j = 0; j < inputs; j++) {
                const double number = a[j];
                const float *row = w + j * outputs + first;
                if (width == 32)
#pragma omp simd
                    for (long k = 0; k < 32; k++) sums[k] += number * row[k];
                else
                    for (long k = 0; k < width; k++) sums[k] += number * row[k];
            }
            for (long k = 0; k < width; k++) out[first + k] = (float)(sums[k] + (bias ? bias[first + k] : 0));
        }
}

/* One or more steps of every stream. Returns 0, or 1 where there is no memory.
 *
 * x: the first layer's part of the gates, shape (steps, streams, gates · units); old, new: states, shape (streams,
 * layers, states, units); logits of the last step, shape (streams, vocabulary), and the top layer's outputs at every
 * step, shape (steps, streams, units), either of them null where it is not wanted. */
int NAME(stack_run)(const Stack *m, long steps, long streams, const float *x, const float *old, float *new, float *logits,
                    float *outputs) {
    const long n = m->units, width = STACK_GATES[m->cell] * n, size = m->layers * STATES[m->cell] * n;
    const long most = streams < STREAM_BATCH ? streams : STREAM_BATCH;
    float *memory = malloc(most * (sizeof(float) * (2 * padded_rows(width) + padded_rows(m->vocabulary) + n + 1) + n + 4));
    if (!memory) return 1;
    Team *team = team_take(m->team) ? m->team : NULL;
    for (long s = 0; s < streams; s += STREAM_BATCH)
        run_streams(m, steps, streams - s < STREAM_BATCH ? streams - s : STREAM_BATCH, streams, x + s * width,
                    old + s * size, new + s * size, logits ? logits + s * m->vocabulary : NULL,
                    outputs ? outputs + s * n : NULL, memory, team);
    if (team) team_release(team);
    free(memory);
    return 0;
}
