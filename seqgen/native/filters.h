/* Settings of the filters, the state of each stream, and the row that the filters work on. */

#ifndef SEQGEN_FILTERS_H
#define SEQGEN_FILTERS_H

#include "native.h"

/* Tokens from `first` up to but not including `last`, with their own temperature. */
typedef struct {
    double temperature;
    long first, last;
} TokenRange;

typedef struct {
    double penalty;                           /* 1: off */
    double dry_multiplier, dry_base;          /* 0: off */
    double temperature;                       /* 0: the most likely token */
    double dynatemp_range, dynatemp_exponent; /* 0: off */
    double top_p, typical_p;                  /* 1: off */
    double min_p;                             /* 0: off */
    double xtc_probability, xtc_threshold;    /* 0: off */
    double tau, eta;                          /* of mirostat; 0: off */
    long top_k;                               /* 0: off */
    long window, dry_window, dry_allowed;     /* tokens */
    long forbidden_count, bias_count, range_count;
    const int32_t *forbidden;
    const int32_t *biased; /* tokens, and the bias of each */
    const double *bias;
    const TokenRange *token_ranges;
    const int32_t *breaks; /* (states, vocabulary) of `penalties.Breaks`, or null */
} Filters;

/* The state of the streams, a row each. */
typedef struct {
    long capacity;           /* ids of the history: twice the longest window, or 0 if no filter reads it */
    int32_t *history;        /* (rows, capacity) */
    uint8_t *breaker_ended;  /* the same shape: whether a breaker ended there */
    int64_t *counts;         /* (rows,): ids in the history */
    int32_t *breaker_states; /* (rows, 2): state of the breakers' automaton, and the one before it */
    double *limits;          /* (rows,): of mirostat, in bits */
} Streams;

/* A row in work. At first `x` contains all tokens; once filters remove some, `ids` and `values` contain the rest. */
typedef struct {
    long vocabulary, left;
    int sorted; /* whether the rest is sorted by falling probability; otherwise by id */
    double *x, *values, *keys, *exps;
    int32_t *ids, *heap, *lengths;
    uint8_t *kept;
    int32_t *prefixes; /* (longest window,) */
} Row;

double max_of(const double *x, long n);

/* Write exps = e^(x − most); return their sum. */
double exp_and_sum(const double *x, long n, double most, double *exps);

/* Apply bias, penalties and temperature to `row->x`. */
void process_logits(const Filters *f, const Streams *s, long stream, Row *row);

/* Apply the filters that remove tokens, except mirostat, to `row->ids` and `row->values`. */
void apply_filters(const Filters *f, double coin, Row *row);

/* Mirostat: remove tokens more surprising than `limit` bits; return log Σ e^value of the row before. */
double mirostat_filter(double limit, Row *row);

#endif
