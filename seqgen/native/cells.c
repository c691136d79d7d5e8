/* One time step of each recurrent cell, forward and back, for a batch of rows: the arithmetic of `model/cells.py` in
 * one pass over memory. Numbers are float32, or bfloat16 (`low`) with float32 inside. Rows are independent of each
 * other and are shared out among threads; a row's result depends neither on the threads nor on the other rows.
 *
 * Plain loops, compiled for several processors at once where the compiler can: the program loader picks. */

#include "native.h"

/* A step's memory. Shapes: gates (rows, gates · units), everything else (rows, units); row-major. */
typedef struct {
    long rows, units;
    int low, threads, relu;
    const void *x, *product, *grad_out, *through;
    const float *old;
    const float *current;
    void *gates, *out, *grad_x, *grad_h;
    float *state;
} Step;

#define EACH_UNIT _Pragma("omp simd") for (long k = 0; k < n; k++)
#define ROW(pointer, width) ((void *)((char *)(pointer) + (size_t)row * (width) * (low ? 2 : 4)))

/* --- LSTM: sums of gates in, activated gates out, in one place (i, f, g, o) ---------------------------------------- */

static ALWAYS void lstm_forward_rows(const Step *s, long first, long last, const int low) {
    const long n = s->units;
    for (long row = first; row < last; row++) {
        void *restrict a = ROW(s->gates, 4 * n);
        void *restrict out = ROW(s->out, n);
        const float *restrict old = s->old + row * n;
        float *restrict c = s->state + row * n;
        EACH_UNIT {
            const float i = sigmoid(AT(a, k)), f = sigmoid(AT(a, n + k));
            const float g = tangent(AT(a, 2 * n + k)), o = sigmoid(AT(a, 3 * n + k));
            const float now = f * old[k] + i * g;
            c[k] = now;
            PUT(out, k, o * tangent(now));
            PUT(a, k, i);
            PUT(a, n + k, f);
            PUT(a, 2 * n + k, g);
            PUT(a, 3 * n + k, o);
        }
    }
}

/* `state` holds the gradient of c, and is brought one step back. */
static ALWAYS void lstm_backward_rows(const Step *s, long first, long last, const int low) {
    const long n = s->units;
    for (long row = first; row < last; row++) {
        const void *restrict a = ROW(s->gates, 4 * n);
        const void *restrict grad = ROW(s->grad_out, n);
        const void *restrict through = ROW(s->through, n);
        void *restrict d = ROW(s->grad_x, 4 * n);
        const float *restrict old = s->old + row * n, *restrict now = s->current + row * n;
        float *restrict dc = s->state + row * n;
        EACH_UNIT {
            const float i = AT(a, k), f = AT(a, n + k), g = AT(a, 2 * n + k), o = AT(a, 3 * n + k);
            const float t = tangent(now[k]), dh = AT(grad, k) + AT(through, k);
            const float dt = dc[k] + dh * o * (1 - t * t);
            PUT(d, k, dt * g * i * (1 - i));
            PUT(d, n + k, dt * old[k] * f * (1 - f));
            PUT(d, 2 * n + k, dt * i * (1 - g * g));
            PUT(d, 3 * n + k, dh * t * o * (1 - o));
            dc[k] = dt * f;
        }
    }
}

/* --- GRU: kept are r, z, n and the state's share of n, side by side ------------------------------------------------ */

static ALWAYS void gru_forward_rows(const Step *s, long first, long last, const int low) {
    const long n = s->units;
    for (long row = first; row < last; row++) {
        const void *restrict x = ROW(s->x, 3 * n);
        const void *restrict p = ROW(s->product, 3 * n);
        void *restrict kept = ROW(s->gates, 4 * n);
        void *restrict out = ROW(s->out, n);
        const float *restrict old = s->old + row * n;
        float *restrict h = s->state + row * n;
        EACH_UNIT {
            const float r = sigmoid(AT(x, k) + AT(p, k)), z = sigmoid(AT(x, n + k) + AT(p, n + k));
            const float inner = AT(p, 2 * n + k), c = tangent(AT(x, 2 * n + k) + r * inner);
            const float now = c + z * (old[k] - c);
            h[k] = now;
            PUT(out, k, now);
            PUT(kept, k, r);
            PUT(kept, n + k, z);
            PUT(kept, 2 * n + k, c);
            PUT(kept, 3 * n + k, inner);
        }
    }
}

/* `state` comes in as what reaches h directly, and goes out as what reaches the old h past the gates. */
static ALWAYS void gru_backward_rows(const Step *s, long first, long last, const int low) {
    const long n = s->units;
    for (long row = first; row < last; row++) {
        const void *restrict kept = ROW(s->gates, 4 * n);
        const void *restrict grad = ROW(s->grad_out, n);
        const void *restrict through = ROW(s->through, n);
        void *restrict dx = ROW(s->grad_x, 3 * n);
        void *restrict dp = ROW(s->grad_h, 3 * n);
        const float *restrict old = s->old + row * n;
        float *restrict direct = s->state + row * n;
        EACH_UNIT {
            const float r = AT(kept, k), z = AT(kept, n + k), c = AT(kept, 2 * n + k), inner = AT(kept, 3 * n + k);
            const float dh = AT(grad, k) + AT(through, k) + direct[k];
            const float dc = dh * (1 - z) * (1 - c * c);
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
}

/* --- RNN: sums in, outputs out; nothing else need be kept ---------------------------------------------------------- */

static ALWAYS void rnn_forward_rows(const Step *s, long first, long last, const int low) {
    const long n = s->units;
    for (long row = first; row < last; row++) {
        void *restrict a = ROW(s->gates, n);
        float *restrict h = s->state + row * n;
        if (s->relu)
            EACH_UNIT {
                const float sum = AT(a, k), now = sum > 0 ? sum : 0;
                h[k] = now;
                PUT(a, k, now);
            }
        else
            EACH_UNIT {
                const float now = tangent(AT(a, k));
                h[k] = now;
                PUT(a, k, now);
            }
    }
}

static ALWAYS void rnn_backward_rows(const Step *s, long first, long last, const int low) {
    const long n = s->units;
    for (long row = first; row < last; row++) {
        const void *restrict out = ROW(s->gates, n);
        const void *restrict grad = ROW(s->grad_out, n);
        const void *restrict through = ROW(s->through, n);
        void *restrict d = ROW(s->grad_x, n);
        if (s->relu)
            EACH_UNIT {
                const float dh = AT(grad, k) + AT(through, k);
                PUT(d, k, AT(out, k) > 0 ? dh : 0);
            }
        else
            EACH_UNIT {
                const float h = AT(out, k);
                PUT(d, k, (AT(grad, k) + AT(through, k)) * (1 - h * h));
            }
    }
}

#define BOTH(name)                                                                                                     \
    CLONES static void name##_low(const void *s, long first, long last) { name##_rows(s, first, last, 1); }            \
    CLONES static void name##_full(const void *s, long first, long last) { name##_rows(s, first, last, 0); }
BOTH(lstm_forward)
BOTH(lstm_backward)
BOTH(gru_forward)
BOTH(gru_backward)
BOTH(rnn_forward)
BOTH(rnn_backward)

#define RUN(name) share(low ? name##_low : name##_full, &step, rows, units, threads)

/* gates: sums, replaced by their activations; old, state: c before and after; out: h. */
void seqgen_lstm_forward(int low, long rows, long units, int threads, void *gates, const float *old, float *state,
                         void *out) {
    const Step step = {.rows = rows, .units = units, .gates = gates, .old = old, .state = state, .out = out};
    RUN(lstm_forward);
}

/* gates: activations; old, current: c before and after; grad_out, through: gradients of h from above and from later. */
void seqgen_lstm_backward(int low, long rows, long units, int threads, void *gates, const float *old,
                          const float *current, const void *grad_out, const void *through, float *state, void *grad_x) {
    const Step step = {.rows = rows, .units = units, .gates = gates, .old = old, .current = current,
                       .grad_out = grad_out, .through = through, .state = state, .grad_x = grad_x};
    RUN(lstm_backward);
}

/* x, product: the shares of input and state; old, state: h before and after in float32; out: h; kept: for the way back. */
void seqgen_gru_forward(int low, long rows, long units, int threads, const void *x, const void *product,
                        const float *old, float *state, void *out, void *kept) {
    const Step step = {.rows = rows, .units = units, .x = x, .product = product, .old = old, .state = state,
                       .out = out, .gates = kept};
    RUN(gru_forward);
}

void seqgen_gru_backward(int low, long rows, long units, int threads, void *kept, const float *old,
                         const void *grad_out, const void *through, float *state, void *grad_x, void *grad_h) {
    const Step step = {.rows = rows, .units = units, .gates = kept, .old = old, .grad_out = grad_out,
                       .through = through, .state = state, .grad_x = grad_x, .grad_h = grad_h};
    RUN(gru_backward);
}

/* out: sums, replaced by h; state: h in float32. */
void seqgen_rnn_forward(int relu, int low, long rows, long units, int threads, void *out, float *state) {
    const Step step = {.rows = rows, .units = units, .relu = relu, .gates = out, .state = state};
    RUN(rnn_forward);
}

void seqgen_rnn_backward(int relu, int low, long rows, long units, int threads, void *out, const void *grad_out,
                         const void *through, void *grad_x) {
    const Step step = {.rows = rows, .units = units, .relu = relu, .gates = out, .grad_out = grad_out,
                       .through = through, .grad_x = grad_x};
    RUN(rnn_backward);
}
