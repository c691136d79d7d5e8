/* One time step of each recurrent cell, forward and backward, for a batch of rows: the arithmetic of
 * `model/recurrent/cells.py` in one pass over memory. Arrays are float32, or bfloat16 (`bf16`) with float32 arithmetic.
 * Rows run in parallel; a row's result depends neither on the number of threads nor on the other rows.
 */

#include "native.h"

/* The arrays of a step, row-major. Shapes: gates (rows, gates · units), all others (rows, units). */
typedef struct {
    long rows, units;
    int bf16, threads, relu;
    const void *x, *product, *grad_out, *grad_hidden;
    const float *old;
    const float *current;
    void *gates, *out, *grad_x, *grad_h;
    float *state;
} Step;

#define EACH_UNIT _Pragma("omp simd") for (long k = 0; k < n; k++)
#define ROW(pointer, width) ((void *)((char *)(pointer) + (size_t)row * (width) * (bf16 ? 2 : 4)))

/* --- LSTM: pre-activations in, activated gates out, in place (i, f, g, o) ----------------------------------------- */

static ALWAYS_INLINE void lstm_forward_rows(const Step *s, long first, long last, const int bf16) {
    const long n = s->units;
    for (long row = first; row < last; row++) {
        void *restrict a = ROW(s->gates, 4 * n);
        void *restrict out = ROW(s->out, n);
        const float *restrict old = s->old + row * n;
        float *restrict c = s->state + row * n;
        EACH_UNIT {
            const float i = sigmoid(LOAD(a, k)), f = sigmoid(LOAD(a, n + k));
            const float g = tanh_(LOAD(a, 2 * n + k)), o = sigmoid(LOAD(a, 3 * n + k));
            const float now = f * old[k] + i * g;
            c[k] = now;
            STORE(out, k, o * tanh_(now));
            STORE(a, k, i);
            STORE(a, n + k, f);
            STORE(a, 2 * n + k, g);
            STORE(a, 3 * n + k, o);
        }
    }
}

/* `state` is the gradient of c, after and then before the step. */
static ALWAYS_INLINE void lstm_backward_rows(const Step *s, long first, long last, const int bf16) {
    const long n = s->units;
    for (long row = first; row < last; row++) {
        const void *restrict a = ROW(s->gates, 4 * n);
        const void *restrict grad = ROW(s->grad_out, n);
        const void *restrict grad_hidden = ROW(s->grad_hidden, n);
        void *restrict d = ROW(s->grad_x, 4 * n);
        const float *restrict old = s->old + row * n, *restrict now = s->current + row * n;
        float *restrict dc = s->state + row * n;
        EACH_UNIT {
            const float i = LOAD(a, k), f = LOAD(a, n + k), g = LOAD(a, 2 * n + k), o = LOAD(a, 3 * n + k);
            const float t = tanh_(now[k]), dh = LOAD(grad, k) + LOAD(grad_hidden, k);
            const float dt = dc[k] + dh * o * (1 - t * t);
            STORE(d, k, dt * g * i * (1 - i));
            STORE(d, n + k, dt * old[k] * f * (1 - f));
            STORE(d, 2 * n + k, dt * i * (1 - g * g));
            STORE(d, 3 * n + k, dh * t * o * (1 - o));
            dc[k] = dt * f;
        }
    }
}

/* --- GRU: saves r, z, n and the state's term of n, side by side --------------------------------------------------- */

static ALWAYS_INLINE void gru_forward_rows(const Step *s, long first, long last, const int bf16) {
    const long n = s->units;
    for (long row = first; row < last; row++) {
        const void *restrict x = ROW(s->x, 3 * n);
        const void *restrict p = ROW(s->product, 3 * n);
        void *restrict saved = ROW(s->gates, 4 * n);
        void *restrict out = ROW(s->out, n);
        const float *restrict old = s->old + row * n;
        float *restrict h = s->state + row * n;
        EACH_UNIT {
            const float r = sigmoid(LOAD(x, k) + LOAD(p, k)), z = sigmoid(LOAD(x, n + k) + LOAD(p, n + k));
            const float inner = LOAD(p, 2 * n + k), c = tanh_(LOAD(x, 2 * n + k) + r * inner);
            const float now = c + z * (old[k] - c);
            h[k] = now;
            STORE(out, k, now);
            STORE(saved, k, r);
            STORE(saved, n + k, z);
            STORE(saved, 2 * n + k, c);
            STORE(saved, 3 * n + k, inner);
        }
    }
}

/* `state` is the gradient of h that bypasses the gates, after and then before the step. */
static ALWAYS_INLINE void gru_backward_rows(const Step *s, long first, long last, const int bf16) {
    const long n = s->units;
    for (long row = first; row < last; row++) {
        const void *restrict saved = ROW(s->gates, 4 * n);
        const void *restrict grad = ROW(s->grad_out, n);
        const void *restrict grad_hidden = ROW(s->grad_hidden, n);
        void *restrict dx = ROW(s->grad_x, 3 * n);
        void *restrict dp = ROW(s->grad_h, 3 * n);
        const float *restrict old = s->old + row * n;
        float *restrict direct = s->state + row * n;
        EACH_UNIT {
            const float r = LOAD(saved, k), z = LOAD(saved, n + k), c = LOAD(saved, 2 * n + k),
                        inner = LOAD(saved, 3 * n + k);
            const float dh = LOAD(grad, k) + LOAD(grad_hidden, k) + direct[k];
            const float dc = dh * (1 - z) * (1 - c * c);
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
}

/* --- RNN: pre-activations in, outputs out, in place; nothing else is saved ---------------------------------------- */

static ALWAYS_INLINE void rnn_forward_rows(const Step *s, long first, long last, const int bf16) {
    const long n = s->units;
    for (long row = first; row < last; row++) {
        void *restrict a = ROW(s->gates, n);
        float *restrict h = s->state + row * n;
        if (s->relu)
            EACH_UNIT {
                const float sum = LOAD(a, k), now = sum < 0 ? 0 : sum; /* NaN stays NaN */
                h[k] = now;
                STORE(a, k, now);
            }
        else
            EACH_UNIT {
                const float now = tanh_(LOAD(a, k));
                h[k] = now;
                STORE(a, k, now);
            }
    }
}

static ALWAYS_INLINE void rnn_backward_rows(const Step *s, long first, long last, const int bf16) {
    const long n = s->units;
    for (long row = first; row < last; row++) {
        const void *restrict out = ROW(s->gates, n);
        const void *restrict grad = ROW(s->grad_out, n);
        const void *restrict grad_hidden = ROW(s->grad_hidden, n);
        void *restrict d = ROW(s->grad_x, n);
        if (s->relu)
            EACH_UNIT {
                const float dh = LOAD(grad, k) + LOAD(grad_hidden, k);
                STORE(d, k, LOAD(out, k) > 0 ? dh : 0);
            }
        else
            EACH_UNIT {
                const float h = LOAD(out, k);
                STORE(d, k, (LOAD(grad, k) + LOAD(grad_hidden, k)) * (1 - h * h));
            }
    }
}

#define DEFINE_BOTH_DTYPES(name)                                                                                       \
    static void name##_bf16(const void *s, long first, long last) { name##_rows(s, first, last, 1); }    \
    static void name##_f32(const void *s, long first, long last) { name##_rows(s, first, last, 0); }
DEFINE_BOTH_DTYPES(lstm_forward)
DEFINE_BOTH_DTYPES(lstm_backward)
DEFINE_BOTH_DTYPES(gru_forward)
DEFINE_BOTH_DTYPES(gru_backward)
DEFINE_BOTH_DTYPES(rnn_forward)
DEFINE_BOTH_DTYPES(rnn_backward)

#define RUN_IN_PARALLEL(name) parallel_rows(bf16 ? name##_bf16 : name##_f32, &step, rows, units, threads)

/* gates: pre-activations, replaced by activations; old, state: c before and after; out: h. */
static void step_lstm_forward(int bf16, long rows, long units, int threads, void *gates, const float *old, float *state,
                         void *out) {
    const Step step = {.rows = rows, .units = units, .gates = gates, .old = old, .state = state, .out = out};
    RUN_IN_PARALLEL(lstm_forward);
}

/* gates: activations; old, current: c before and after; grad_out, grad_hidden: gradients of h from the layer above and
 * from the next step. */
static void step_lstm_backward(int bf16, long rows, long units, int threads, void *gates, const float *old,
                          const float *current, const void *grad_out, const void *grad_hidden, float *state,
                          void *grad_x) {
    const Step step = {.rows = rows, .units = units, .gates = gates, .old = old, .current = current,
                       .grad_out = grad_out, .grad_hidden = grad_hidden, .state = state, .grad_x = grad_x};
    RUN_IN_PARALLEL(lstm_backward);
}

/* x, product: the terms of input and state; old, state: h before and after in float32; out: h; saved: for backward. */
static void step_gru_forward(int bf16, long rows, long units, int threads, const void *x, const void *product,
                        const float *old, float *state, void *out, void *saved) {
    const Step step = {.rows = rows, .units = units, .x = x, .product = product, .old = old, .state = state,
                       .out = out, .gates = saved};
    RUN_IN_PARALLEL(gru_forward);
}

static void step_gru_backward(int bf16, long rows, long units, int threads, void *saved, const float *old,
                         const void *grad_out, const void *grad_hidden, float *state, void *grad_x, void *grad_h) {
    const Step step = {.rows = rows, .units = units, .gates = saved, .old = old, .grad_out = grad_out,
                       .grad_hidden = grad_hidden, .state = state, .grad_x = grad_x, .grad_h = grad_h};
    RUN_IN_PARALLEL(gru_backward);
}

/* out: pre-activations, replaced by h; state: h in float32. */
static void step_rnn_forward(int relu, int bf16, long rows, long units, int threads, void *out, float *state) {
    const Step step = {.rows = rows, .units = units, .relu = relu, .gates = out, .state = state};
    RUN_IN_PARALLEL(rnn_forward);
}

static void step_rnn_backward(int relu, int bf16, long rows, long units, int threads, void *out, const void *grad_out,
                         const void *grad_hidden, void *grad_x) {
    const Step step = {.rows = rows, .units = units, .relu = relu, .gates = out, .grad_out = grad_out,
                       .grad_hidden = grad_hidden, .grad_x = grad_x};
    RUN_IN_PARALLEL(rnn_backward);
}
