/* An id for each stream: the filters of `generation/filters.py`, which define them, and the draw, in one pass a row.
 * Everything is in double precision; the same ids are kept, but for what rounding decides. */

#include "native.h"

#include <math.h>
#include <stdlib.h>

typedef struct {
    double penalty;      /* 1 for none */
    double temperature;  /* 0 for the likeliest */
    double top_p, typical_p; /* 1 for all */
    double min_p;        /* 0 for all */
    long top_k;          /* 0 for all */
    long window;         /* of ids that the penalty looks back, at `recent`: −1 where there is none yet */
    const int32_t *forbidden;
    long forbidden_count;
} Filters;

/* e^x for x ≤ 0, as `exponential`, to the last places of a double; 0 below −700. */
static ALWAYS double falling(double x) {
    const double bounded = x < -700 ? -700 : x, shift = 6755399441055744.0;
    const double shifted = bounded * 1.4426950408889634 + shift, k = shifted - shift;
    const double r = (bounded - k * 0.693147180369123816490) - k * 1.90821492927058770002e-10;
    double p = 1.0 / 6227020800;
    p = p * r + 1.0 / 479001600;
    p = p * r + 1.0 / 39916800;
    p = p * r + 1.0 / 3628800;
    p = p * r + 1.0 / 362880;
    p = p * r + 1.0 / 40320;
    p = p * r + 1.0 / 5040;
    p = p * r + 1.0 / 720;
    p = p * r + 1.0 / 120;
    p = p * r + 1.0 / 24;
    p = p * r + 1.0 / 6;
    p = p * r + 0.5;
    p = p * r + 1.0;
    p = p * r + 1.0;
    int64_t bits;
    memcpy(&bits, &shifted, 8); /* its lowest bits are k */
    bits = (int64_t)((uint64_t)bits << 52) + ((int64_t)1023 << 52);
    double power;
    memcpy(&power, &bits, 8);
    return x < -700 ? 0 : p * power;
}

static double largest(const double *x, long n) {
    double most = -INFINITY;
    for (long i = 0; i < n; i++) most = x[i] > most ? x[i] : most;
    return most;
}

/* shares = e^(x − most), and their sum */
CLONES static double exponentials(const double *x, long n, double most, double *shares) {
#pragma omp simd
    for (long i = 0; i < n; i++) shares[i] = falling(x[i] - most);
    double sum = 0;
    for (long i = 0; i < n; i++) sum += shares[i];
    return sum;
}

/* Leaves in x those with the smallest keys, ties by id, until `count` are kept or what is kept holds `mass` of the
 * shares; at least one. A heap gives them up in order, and no more than are wanted. */
static void keep_first(double *x, long n, const double *keys, const double *shares, long count, double mass,
                       int32_t *heap, uint8_t *kept) {
#define BEFORE(a, b) (keys[a] < keys[b] || (keys[a] == keys[b] && (a) < (b)))
    long size = 0;
    for (int32_t i = 0; i < n; i++) {
        kept[i] = 0;
        if (x[i] > -INFINITY) heap[size++] = i;
    }
    for (long start = size / 2; start-- > 0;)
        for (long at = start, child; (child = 2 * at + 1) < size; at = child) {
            if (child + 1 < size && BEFORE(heap[child + 1], heap[child])) child++;
            if (!BEFORE(heap[child], heap[at])) break;
            const int32_t swapped = heap[at];
            heap[at] = heap[child];
            heap[child] = swapped;
        }
    double held = 0;
    for (long taken = 0; size > 0 && taken < count && (taken == 0 || held < mass); taken++) {
        const int32_t best = heap[0], last = heap[--size];
        kept[best] = 1;
        held += shares ? shares[best] : 0;
        long at = 0, child;
        for (; (child = 2 * at + 1) < size; at = child) {
            if (child + 1 < size && BEFORE(heap[child + 1], heap[child])) child++;
            if (!BEFORE(heap[child], last)) break;
            heap[at] = heap[child];
        }
        heap[at] = last;
    }
    for (long i = 0; i < n; i++)
        if (!kept[i]) x[i] = -INFINITY;
#undef BEFORE
}

static void filter(const Filters *f, long n, const int32_t *recent, double *x, double *keys, double *shares,
                   int32_t *heap, uint8_t *kept) {
    for (long i = 0; i < f->forbidden_count; i++) x[f->forbidden[i]] = -INFINITY;
    if (f->penalty != 1) {
        memset(kept, 0, n);
        for (long i = 0; i < f->window; i++) {
            const int32_t id = recent[i];
            if (id < 0 || kept[id]) continue;
            kept[id] = 1;
            x[id] = x[id] > 0 ? x[id] / f->penalty : x[id] * f->penalty;
        }
    }
    if (f->temperature == 0) {
        long best = 0;
        for (long i = 1; i < n; i++) best = x[i] > x[best] ? i : best;
        for (long i = 0; i < n; i++) x[i] = i == best ? 0 : -INFINITY;
    } else if (f->temperature != 1) {
        const double most = largest(x, n);
        for (long i = 0; i < n; i++) x[i] = (x[i] - most) / f->temperature;
    }
    if (f->top_k > 0 && f->top_k < n) {
        for (long i = 0; i < n; i++) keys[i] = -x[i];
        keep_first(x, n, keys, NULL, f->top_k, INFINITY, heap, kept);
    }
    if (f->top_p < 1) {
        const double sum = exponentials(x, n, largest(x, n), shares);
        for (long i = 0; i < n; i++) keys[i] = -x[i];
        keep_first(x, n, keys, shares, n, f->top_p * sum, heap, kept);
    }
    if (f->min_p > 0) {
        const double floor = largest(x, n) + log(f->min_p);
        for (long i = 0; i < n; i++)
            if (!(x[i] >= floor)) x[i] = -INFINITY;
    }
    if (f->typical_p < 1) {
        const double most = largest(x, n), sum = exponentials(x, n, most, shares), normaliser = most + log(sum);
        double entropy = 0;
        for (long i = 0; i < n; i++) entropy -= shares[i] > 0 ? shares[i] / sum * (x[i] - normaliser) : 0;
        for (long i = 0; i < n; i++) keys[i] = x[i] > -INFINITY ? fabs(normaliser - x[i] - entropy) : INFINITY;
        keep_first(x, n, keys, shares, n, f->typical_p * sum, heap, kept);
    }
}

/* The id at which the running sum of the shares passes `uniform` of it. */
static long draw(const double *shares, long n, double sum, double uniform) {
    double running = 0;
    long last = 0;
    for (long i = 0; i < n; i++) {
        running += shares[i];
        if (shares[i] > 0) {
            last = i;
            if (running > uniform * sum) return i;
        }
    }
    return last; /* rounding at the very end */
}

/* One id a row, and its log-probability before the filters. Returns 0, or 1 where there is no memory.
 *
 * logits, shape (rows, vocabulary); masks of the same shape, what may come at all, or null; recent, shape (rows,
 * window), or null; uniforms in [0, 1). */
int seqgen_draw(const Filters *f, long rows, long vocabulary, const float *logits, const uint8_t *masks,
                const int32_t *recent, const double *uniforms, int32_t *ids, double *logs) {
    double *memory = malloc(vocabulary * (3 * sizeof(double) + sizeof(int32_t) + 1));
    if (!memory) return 1;
    double *x = memory, *keys = x + vocabulary, *shares = keys + vocabulary;
    int32_t *heap = (int32_t *)(shares + vocabulary);
    uint8_t *kept = (uint8_t *)(heap + vocabulary);
    for (long row = 0; row < rows; row++, logits += vocabulary) {
        for (long i = 0; i < vocabulary; i++)
            x[i] = masks && !masks[row * vocabulary + i] ? -INFINITY : (double)logits[i];
        const double most = largest(x, vocabulary), normaliser = most + log(exponentials(x, vocabulary, most, shares));
        filter(f, vocabulary, recent ? recent + row * f->window : NULL, x, keys, shares, heap, kept);
        const double sum = exponentials(x, vocabulary, largest(x, vocabulary), shares);
        const long id = draw(shares, vocabulary, sum, uniforms[row]);
        ids[row] = (int32_t)id;
        logs[row] = (double)logits[id] - normaliser;
    }
    free(memory);
    return 0;
}
