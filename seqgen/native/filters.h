/* The settings of the filters, what is known of each stream, and what the filters work on. */

#ifndef SEQGEN_FILTERS_H
#define SEQGEN_FILTERS_H

#include "native.h"

/* Tokens from `first` to `last`, without it, with a temperature among them. */
typedef struct {
    double temperature;
    long first, last;
} TokenRange;

typedef struct {
    double penalty;                            /* 1 for none */
    double dry_multiplier, dry_base;           /* 0 for none */
    double temperature;                        /* 0 for the likeliest */
    double dynatemp_range, dynatemp_exponent;  /* 0 for one temperature */
    double top_p, typical_p;                   /* 1 for all */
    double min_p;                              /* 0 for all */
    double xtc_probability, xtc_threshold;     /* 0 for never */
    double tau, eta;                           /* 0 for no mirostat */
    long top_k;                                /* 0 for all */
    long window, dry_window, dry_allowed;      /* tokens */
    long forbidden_count, bias_count, range_count;
    const int32_t *forbidden;
    const int32_t *biased; /* tokens, and what is added to each */
    const double *bias;
    const TokenRange *token_ranges;
    const int32_t *breaks; /* (states, vocabulary) of `penalties.Breaks`, or null */
} Filters;

/* What is kept of the streams, a row each. */
typedef struct {
    long capacity;    /* ids that there is room for: twice the longest window, or 0 where nothing looks back */
    int32_t *history; /* (rows, capacity) */
    uint8_t *breaker_ended;  /* the same shape: whether a breaker ended there */
    int64_t *counts;  /* (rows,): ids in the history */
    int32_t *breaker_states;  /* (rows, 2): state of the breakers' automaton, and the one before it */
    double *limits;   /* (rows,): of mirostat, in bits */
} Streams;

/* A row under way. First `x` holds all tokens; from the cuts on, `ids` and `values` hold those that are left. */
typedef struct {
    long vocabulary, left;
    int sorted; /* whether what is left stands in the order of likelihood; otherwise it stands in that of the ids */
    double *x, *values, *keys, *exps;
    int32_t *ids, *heap, *lengths;
    uint8_t *kept;
    int32_t *prefixes; /* (longest window,) */
} Row;

double max_of(const double *x, long n);

/* exps = e^(x − most), and their sum */
double exp_and_sum(const double *x, long n, double most, double *exps);

/* What changes logits: `row->x` after bias, penalties and temperature. */
void process_logits(const Filters *f, const Streams *s, long stream, Row *row);

/* What cuts: `row->ids` and `row->values`, of which some are left; all but mirostat. */
void apply_filters(const Filters *f, double coin, Row *row);

/* Mirostat: leaves what is no more surprising than `limit`, and returns log Σ e^value of what there was before. */
double mirostat_filter(double limit, Row *row);

#endif
