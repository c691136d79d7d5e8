/* The filters of `generation/sampling/filters.py`, which defines them. Everything is in double precision; the same ids
 * remain, except where rounding decides. */

#include "filters.h"

#include <math.h>

#define MAX_PENALTY 1e4 /* as in `filters.py` */

/* e^x for x ≤ 0, as in `fast_exp`, to double precision; 0 below −700. */
static ALWAYS_INLINE double exp_nonpositive(double x) {
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

/* log x for x > 0, to the last places of a double, in plain operations: log of 2^k m is k ln 2 + 2 artanh((m − 1)/(m + 1)),
 * with m within √2 of 1 on either side and the series of artanh to the power 21. −∞ for 0; a NaN stays one. */
static double log_(double x) {
    if (!(x > 0)) return x == 0 ? -INFINITY : x;
    if (x > 1.7976931348623157e308) return x;
    int64_t bits;
    double k = 0;
    if (x < 2.2250738585072014e-308) { /* subnormal */
        x *= 18014398509481984.0;      /* 2^54 */
        k = -54;
    }
    memcpy(&bits, &x, 8);
    k += (double)((bits >> 52) - 1023);
    bits = (bits & 0xfffffffffffff) | ((int64_t)1023 << 52);
    double m;
    memcpy(&m, &bits, 8);
    if (m > 1.4142135623730951) {
        m *= 0.5;
        k += 1;
    }
    const double s = (m - 1) / (m + 1), z = s * s;
    double p = 0;
    for (int power = 21; power > 1; power -= 2) p = (p + 1.0 / power) * z;
    return k * 0.693147180369123816490 + (2 * s + (2 * s * p + k * 1.90821492927058770002e-10));
}

/* base^exponent for a base ≥ 1 and a whole exponent ≥ 0, infinite beyond the range of a double. */
static double whole_power(double base, long exponent) {
    double result = 1;
    for (; exponent > 0; exponent >>= 1, base *= base)
        if (exponent & 1) result *= base;
    return result;
}

static double max_of(const double *x, long n) {
    double most = -INFINITY;
#pragma omp simd reduction(max : most)
    for (long i = 0; i < n; i++) most = x[i] > most ? x[i] : most;
    return most;
}

/* Eight partial sums, so that the order of addition is the same on every processor. */
static ALWAYS_INLINE double sum(const double *x, long n) {
    double sums[8] = {0};
    long i = 0;
    for (; i + 8 <= n; i += 8)
        for (int lane = 0; lane < 8; lane++) sums[lane] += x[i + lane];
    for (int lane = 0; i < n; i++, lane++) sums[lane] += x[i];
    return ((sums[0] + sums[4]) + (sums[1] + sums[5])) + ((sums[2] + sums[6]) + (sums[3] + sums[7]));
}

static double exp_and_sum(const double *x, long n, double most, double *exps) {
#pragma omp simd
    for (long i = 0; i < n; i++) exps[i] = exp_nonpositive(x[i] - most);
    return sum(exps, n);
}

/* Entropy in nats of the distribution exps / total, where exps = e^(x − most). */
static double entropy(const double *x, long n, double most, const double *exps, double total) {
    double mean = 0;
    for (long i = 0; i < n; i++) mean += exps[i] > 0 ? exps[i] * (x[i] - most) : 0;
    return log_(total) - mean / total;
}

/* --- penalties ---------------------------------------------------------------------------------------------------- */

static void repetition_penalty(const Filters *f, const int32_t *recent, long count, Row *row) {
    memset(row->kept, 0, row->vocabulary);
    for (long i = 0; i < count; i++) {
        const int32_t id = recent[i];
        if (row->kept[id]) continue;
        row->kept[id] = 1;
        row->x[id] = row->x[id] > 0 ? row->x[id] / f->penalty : row->x[id] * f->penalty;
    }
}

/* See `filters.dry`. Positions count back from the last token, as the Z-algorithm needs it. */
static void dry_penalty(const Filters *f, const int32_t *recent, const uint8_t *breaker_ended, long count, Row *row) {
    const int32_t *last = recent + count - 1;
    const uint8_t *ended = breaker_ended + count - 1;
    int32_t *found = row->prefixes;
    long most = 0, left = 0, right = 0;
    while (most < count && !ended[-most]) most++;
    if (most < f->dry_allowed) return;
    memset(row->lengths, 0, sizeof(int32_t) * row->vocabulary);
    memset(found, 0, sizeof(int32_t) * count);
    for (long at = 1; at < count; at++) {
        while (at >= right && at < count && last[-at] != last[0]) at++; /* most positions */
        if (at == count) break;
        long length = 0;
        if (at < right) length = found[at - left] < right - at ? found[at - left] : right - at;
        while (at + length < count && last[-length] == last[-at - length]) length++;
        if (at + length > right) left = at, right = at + length;
        found[at] = (int32_t)length;
        if (length > most) length = most;
        if (length < f->dry_allowed || ended[1 - at]) continue;
        const int32_t id = last[1 - at];
        if (length > row->lengths[id]) row->lengths[id] = (int32_t)length;
    }
    for (long id = 0; id < row->vocabulary; id++) {
        if (!row->lengths[id]) continue;
        const double taken = f->dry_multiplier * whole_power(f->dry_base, row->lengths[id] - f->dry_allowed);
        row->x[id] -= taken < MAX_PENALTY ? taken : MAX_PENALTY;
    }
}

/* --- temperature -------------------------------------------------------------------------------------------------- */

static void keep_only(double *x, long n, long best) {
    for (long i = 0; i < n; i++) x[i] = i == best ? 0 : -INFINITY;
}

static long argmax(const double *x, long n) {
    long best = 0;
    for (long i = 1; i < n; i++) best = x[i] > x[best] ? i : best;
    return best;
}

static void apply_temperature(double *x, long n, double by) {
    if (by > 0) {
        const double most = max_of(x, n);
        for (long i = 0; i < n; i++) x[i] = (x[i] - most) / by;
    } else
        keep_only(x, n, argmax(x, n));
}

static void temperature_filter(const Filters *f, Row *row) {
    double *x = row->x;
    const long n = row->vocabulary;
    if (f->dynatemp_range > 0) {
        long possible = 0;
        for (long i = 0; i < n; i++) possible += x[i] > -INFINITY;
        if (possible < 2) return;
        const double most = max_of(x, n), total = exp_and_sum(x, n, most, row->exps);
        double fraction = entropy(x, n, most, row->exps, total) / log_((double)possible);
        fraction = fraction < 0 ? 0 : fraction > 1 ? 1 : fraction;
        const double high = f->temperature + f->dynatemp_range;
        const double low = f->temperature > f->dynatemp_range ? f->temperature - f->dynatemp_range : 0;
        apply_temperature(x, n, low + (high - low) * exp_nonpositive(f->dynatemp_exponent * log_(fraction)));
    } else if (f->temperature != 1)
        apply_temperature(x, n, f->temperature);
}

/* Apply a temperature within each range of tokens, which keeps its mass; the logits before any temperature are in
 * `keys`. Tokens outside of the ranges are shifted so that the maximum is 0. */
static void temperature_by_range(const Filters *f, Row *row) {
    double *x = row->x;
    const double most = max_of(x, row->vocabulary);
    exp_and_sum(x, row->vocabulary, most, row->exps);
    for (long i = 0; i < row->vocabulary; i++) x[i] -= most;
    for (long k = 0; k < f->range_count; k++) {
        const TokenRange *range = f->token_ranges + k;
        const long n = range->last - range->first;
        double *own = row->keys + range->first, *to = x + range->first, *room = row->values;
        const double mass = sum(row->exps + range->first, n);
        if (!(mass > 0)) continue; /* no token of this range is possible */
        apply_temperature(own, n, range->temperature);
        const double shift = log_(mass) - log_(exp_and_sum(own, n, 0, room));
        for (long i = 0; i < n; i++) to[i] = own[i] + shift;
    }
}

static void process_logits(const Filters *f, const Streams *s, long stream, Row *row) {
    double *x = row->x;
    for (long i = 0; i < f->forbidden_count; i++) x[f->forbidden[i]] = -INFINITY;
    for (long i = 0; i < f->bias_count; i++) x[f->biased[i]] += f->bias[i];
    if (s->capacity) {
        const long count = s->counts[stream], begin = stream * s->capacity;
        if (f->penalty != 1) {
            const long seen = count < f->window ? count : f->window;
            repetition_penalty(f, s->history + begin + count - seen, seen, row);
        }
        if (f->dry_multiplier > 0) {
            const long seen = count < f->dry_window ? count : f->dry_window;
            dry_penalty(f, s->history + begin + count - seen, s->breaker_ended + begin + count - seen, seen, row);
        }
    }
    if (f->range_count) memcpy(row->keys, x, sizeof(double) * row->vocabulary);
    temperature_filter(f, row);
    if (f->range_count) temperature_by_range(f, row);
}

/* --- filters that remove tokens ----------------------------------------------------------------------------------- */

/* Select the smallest keys of the row, ties by id, until there are `count` of them or their exps sum to `mass`, at
 * least one. Their indices go, in that order, to the end of the heap downwards. Returns their number. */
static long select_smallest(const Row *row, const double *exps, long count, double mass) {
    const double *keys = row->keys;
    const int32_t *ids = row->ids;
    int32_t *heap = row->heap;
#define BEFORE(a, b) (keys[a] < keys[b] || (keys[a] == keys[b] && ids[a] < ids[b]))
    long size = row->left;
    for (int32_t i = 0; i < size; i++) heap[i] = i;
    for (long start = size / 2; start-- > 0;)
        for (long at = start, child; (child = 2 * at + 1) < size; at = child) {
            if (child + 1 < size && BEFORE(heap[child + 1], heap[child])) child++;
            if (!BEFORE(heap[child], heap[at])) break;
            const int32_t swapped = heap[at];
            heap[at] = heap[child];
            heap[child] = swapped;
        }
    double covered = 0;
    long taken = 0;
    for (; size > 0 && taken < count && (taken == 0 || covered < mass); taken++) {
        const int32_t best = heap[0], last = heap[--size];
        covered += exps ? exps[best] : 0;
        long at = 0, child;
        for (; (child = 2 * at + 1) < size; at = child) {
            if (child + 1 < size && BEFORE(heap[child + 1], heap[child])) child++;
            if (!BEFORE(heap[child], last)) break;
            heap[at] = heap[child];
        }
        heap[at] = last;
        heap[size] = best;
    }
#undef BEFORE
    return taken;
}

/* Keep the most likely `count` tokens, or those whose exps sum to `mass`, sorted by falling probability. */
static void keep_first(Row *row, const double *exps, long count, double mass) {
    if (row->sorted) {
        double covered = 0;
        long taken = 0;
        for (; taken < row->left && taken < count && (taken == 0 || covered < mass); taken++)
            covered += exps ? exps[taken] : 0;
        row->left = taken;
        return;
    }
    for (long i = 0; i < row->left; i++) row->keys[i] = -row->values[i];
    const long taken = select_smallest(row, exps, count, mass);
    for (long i = 0; i < taken; i++) row->exps[i] = (double)row->ids[row->heap[row->left - 1 - i]];
    for (long i = 0; i < taken; i++) row->values[i] = -row->keys[row->heap[row->left - 1 - i]];
    for (long i = 0; i < taken; i++) row->ids[i] = (int32_t)row->exps[i];
    row->left = taken;
    row->sorted = 1;
}

/* Keep the tokens that are marked, in their order. */
static void compact(Row *row) {
    long left = 0;
    for (long i = 0; i < row->left; i++) {
        row->ids[left] = row->ids[i];
        row->values[left] = row->values[i];
        left += row->kept[i];
    }
    row->left = left;
}

static double max_remaining(const Row *row) { return row->sorted ? row->values[0] : max_of(row->values, row->left); }

static void typical_filter(double p, Row *row) {
    const double most = max_remaining(row), total = exp_and_sum(row->values, row->left, most, row->exps);
    const double normaliser = most + log_(total), expected = entropy(row->values, row->left, most, row->exps, total);
    for (long i = 0; i < row->left; i++) row->keys[i] = fabs(normaliser - row->values[i] - expected);
    memset(row->kept, 0, row->left);
    const long taken = select_smallest(row, row->exps, row->left, p * total);
    for (long i = 0; i < taken; i++) row->kept[row->heap[row->left - 1 - i]] = 1;
    compact(row);
}

static void xtc_filter(double threshold, Row *row) {
    const double total = exp_and_sum(row->values, row->left, max_remaining(row), row->exps);
    long least = -1;
    for (long i = 0; i < row->left; i++) {
        row->kept[i] = !(row->exps[i] / total >= threshold);
        if (row->kept[i]) continue;
        if (least < 0 || row->values[i] < row->values[least] ||
            (row->values[i] == row->values[least] && row->ids[i] > row->ids[least]))
            least = i;
    }
    if (least < 0) return;
    row->kept[least] = 1;
    compact(row);
}

static void apply_filters(const Filters *f, double coin, Row *row) {
    row->left = row->sorted = 0;
    for (long i = 0; i < row->vocabulary; i++) {
        row->ids[row->left] = (int32_t)i;
        row->values[row->left] = row->x[i];
        row->left += row->x[i] > -INFINITY;
    }
    if (f->top_k > 0 && f->top_k < row->left) keep_first(row, NULL, f->top_k, INFINITY);
    if (f->top_p < 1) {
        const double total = exp_and_sum(row->values, row->left, max_remaining(row), row->exps);
        keep_first(row, row->exps, row->left, f->top_p * total);
    }
    if (f->min_p > 0) {
        const double floor = max_remaining(row) + log_(f->min_p);
        for (long i = 0; i < row->left; i++) row->kept[i] = row->values[i] >= floor;
        compact(row);
    }
    if (f->typical_p < 1) typical_filter(f->typical_p, row);
    if (coin < f->xtc_probability) xtc_filter(f->xtc_threshold, row);
}

static double mirostat_filter(double limit, Row *row) {
    const double most = max_remaining(row), total = exp_and_sum(row->values, row->left, most, row->exps);
    const double normaliser = most + log_(total);
    const long best = row->sorted ? 0 : argmax(row->values, row->left);
    for (long i = 0; i < row->left; i++)
        row->kept[i] = i == best || (normaliser - row->values[i]) / LN_2 <= limit;
    compact(row);
    return normaliser;
}
