/* Threads are borrowed, not made: a second team of them on the same cores would stand in the way of the first. The
 * program that has an OpenMP runtime loaded (PyTorch's) hands over its entry points; without one all is done in place. */

#include "native.h"

typedef struct {
    void (*run)(const void *, long, long);
    const void *job;
    long rows;
} Shared;

static void (*parallel)(void (*)(void *), void *, unsigned, unsigned);
static int (*number)(void);
static int (*count)(void);

/* GOMP_parallel, omp_get_thread_num and omp_get_num_threads of one runtime, or nulls. */
void seqgen_use_threads(void *start, void *which, void *many) {
    parallel = (void (*)(void (*)(void *), void *, unsigned, unsigned))start;
    number = (int (*)(void))which;
    count = (int (*)(void))many;
}

static void part(void *data) {
    const Shared *shared = data;
    const long mine = number(), all = count();
    shared->run(shared->job, shared->rows * mine / all, shared->rows * (mine + 1) / all);
}

void share(void (*run)(const void *, long, long), const void *job, long rows, long width, int threads) {
    if (!parallel || threads < 2 || rows * width < 8192) { /* sooner done than shared out */
        run(job, 0, rows);
        return;
    }
    Shared shared = {run, job, rows};
    parallel(part, &shared, (unsigned)threads, 0);
}

/* See VERSION in __init__.py. */
int seqgen_version(void) { return 5; }
