/* The row that the filters work on. */

#ifndef SEQGEN_FILTERS_H
#define SEQGEN_FILTERS_H

#include "native.h"

#define LN_2 0.6931471805599453
#define MAX_LIMIT 2048.0 /* bits, as in `filters.py` */

/* A row in work. At first `x` contains all tokens; once filters remove some, `ids` and `values` contain the rest. */
typedef struct {
    long vocabulary, left;
    int sorted; /* whether the rest is sorted by falling probability; otherwise by id */
    double *x, *values, *keys, *exps;
    int32_t *ids, *heap, *lengths;
    uint8_t *kept;
    int32_t *prefixes; /* (longest window,) */
} Row;

static double max_of(const double *x, long n);

/* Write exps = e^(x − most); return their sum. */
static double exp_and_sum(const double *x, long n, double most, double *exps);

/* Apply bias, penalties and temperature to `row->x`. */
static void process_logits(const Filters *f, const Streams *s, long stream, Row *row);

/* Apply the filters that remove tokens, except mirostat, to `row->ids` and `row->values`. */
static void apply_filters(const Filters *f, double coin, Row *row);

/* Mirostat: remove tokens more surprising than `limit` bits; return log Σ e^value of the row before. */
static double mirostat_filter(double limit, Row *row);

#endif
