/* Draw an id for each stream: masks, filters (`filters.c`), the draw, and the history that later filters read. */

#include "filters.h"

#include <math.h>
#include <stdlib.h>

/* Index of the remaining id at which the cumulative sum of the exps, by ascending id, passes the fraction `uniform`. */
static long draw(Row *row, double uniform) {
    const double most = max_of(row->values, row->left);
    const double total = exp_and_sum(row->values, row->left, most, row->exps);
    double running = 0;
    long last = 0;
    if (!row->sorted) {
        for (long i = 0; i < row->left; i++) {
            running += row->exps[i];
            if (row->exps[i] > 0) {
                last = i;
                if (running > uniform * total) return i;
            }
        }
        return last; /* rounding at the very end */
    }
    int32_t *position_of = row->lengths; /* of each id, plus 1; 0 for ids that were filtered out */
    memset(position_of, 0, sizeof(int32_t) * row->vocabulary);
    for (long i = 0; i < row->left; i++) position_of[row->ids[i]] = (int32_t)i + 1;
    for (long id = 0; id < row->vocabulary; id++) {
        if (!position_of[id]) continue;
        const long i = position_of[id] - 1;
        running += row->exps[i];
        if (row->exps[i] > 0) {
            last = i;
            if (running > uniform * total) return i;
        }
    }
    return last;
}

static void push_history(const Filters *f, Streams *s, long stream, long vocabulary, int32_t id) {
    const long begin = stream * s->capacity, half = s->capacity / 2;
    if (s->counts[stream] == s->capacity) { /* filters read only the last half */
        memmove(s->history + begin, s->history + begin + half, sizeof(int32_t) * half);
        memmove(s->breaker_ended + begin, s->breaker_ended + begin + half, half);
        s->counts[stream] = half;
    }
    const long at = begin + s->counts[stream]++;
    s->history[at] = id;
    s->breaker_ended[at] = 0;
    if (f->breaks) {
        int32_t *state = s->breaker_states + 2 * stream;
        const int32_t next = f->breaks[state[0] * vocabulary + id];
        state[1] = state[0];
        state[0] = next < 0 ? -1 - next : next;
        s->breaker_ended[at] = next < 0;
    }
}

/* Memory for a row of `vocabulary` logits, whose filters read the last `window` ids; row->x is null if there is none. */
static void allocate_row(Row *row, long vocabulary, long window) {
    char *memory = malloc(vocabulary * (4 * sizeof(double) + 3 * sizeof(int32_t) + 1) + sizeof(int32_t) * window);
    *row = (Row){.vocabulary = vocabulary, .x = (double *)memory};
    if (!memory) return;
    row->values = row->x + vocabulary;
    row->keys = row->values + vocabulary;
    row->exps = row->keys + vocabulary;
    row->ids = (int32_t *)(row->exps + vocabulary);
    row->heap = row->ids + vocabulary;
    row->lengths = row->heap + vocabulary;
    row->prefixes = row->lengths + vocabulary;
    row->kept = (uint8_t *)(row->prefixes + window);
}

/* Ids that the filters of any of these rows read at most. */
static long longest_window(const Filters *const *f, long rows) {
    long longest = 0;
    for (long i = 0; i < rows; i++) {
        if (f[i]->window > longest) longest = f[i]->window;
        if (f[i]->dry_window > longest) longest = f[i]->dry_window;
    }
    return longest;
}

/* Whether masks leave a single id. */
static int is_alone(const double *x, long count) {
    long left = 0;
    for (long i = 0; i < count && left < 2; i++) left += x[i] > -INFINITY;
    return left < 2;
}

/* The limit of mirostat after a token of a surprise in bits. */
static double next_limit(const Filters *f, double limit, double bits) {
    limit -= f->eta * (bits - f->tau);
    return limit > MAX_LIMIT ? MAX_LIMIT : limit < -MAX_LIMIT ? -MAX_LIMIT : limit;
}

/* Draw an id for stream `stream` of `s`. may, wanted: masks as in `draw`. Returns the id; its logarithm goes to `log`. */
static int32_t draw_row(const Filters *f, Streams *s, long stream, Row *row, const float *logits, const uint8_t *may,
                        const uint8_t *wanted, const double *numbers, double *log) {
    const long vocabulary = row->vocabulary;
    if (may && wanted) {
        long both = 0;
        for (long i = 0; i < vocabulary; i++) both += wanted[i] & may[i];
        if (!both) may = NULL;
    }
    for (long i = 0; i < vocabulary; i++) row->x[i] = !may || may[i] ? (double)logits[i] : -INFINITY;
    const double most = max_of(row->x, vocabulary);
    const double normaliser = most + log_(exp_and_sum(row->x, vocabulary, most, row->exps));
    if (wanted)
        for (long i = 0; i < vocabulary; i++) row->x[i] = wanted[i] ? row->x[i] : -INFINITY;
    const int alone = f->tau > 0 && is_alone(row->x, vocabulary); /* no surprise: it teaches mirostat nothing */
    process_logits(f, s, stream, row);
    apply_filters(f, numbers[1], row);
    const double before = f->tau > 0 ? mirostat_filter(s->limits[stream], row) : 0;
    const long drawn = draw(row, numbers[0]);
    const int32_t id = row->ids[drawn];
    if (f->tau > 0 && !alone)
        s->limits[stream] = next_limit(f, s->limits[stream], (before - row->values[drawn]) / LN_2);
    if (s->capacity) push_history(f, s, stream, vocabulary, id);
    *log = (double)logits[id] - normaliser;
    return id;
}

/* Draw one id a row, with its log-probability before the filters. Returns 0, or 1 when out of memory.
 *
 * logits: shape (rows, vocabulary). possible, allowed: masks of the same shape, or null. Ids that are not possible
 * get no probability; ids that are not allowed are only not drawn. If no id is both, all are possible. numbers:
 * shape (rows, 2), uniform in [0, 1): for the draw and for XTC. */
int NAME(draw)(const Filters *f, Streams *s, long rows, long vocabulary, const float *logits, const uint8_t *possible,
                const uint8_t *allowed, const double *numbers, int32_t *ids, double *logs) {
    Row row;
    allocate_row(&row, vocabulary, longest_window(&f, 1));
    if (!row.x) return 1;
    for (long stream = 0; stream < rows; stream++)
        ids[stream] = draw_row(f, s, stream, &row, logits + stream * vocabulary,
                               possible ? possible + stream * vocabulary : NULL,
                               allowed ? allowed + stream * vocabulary : NULL, numbers + 2 * stream, logs + stream);
    free(row.x);
    return 0;
}
