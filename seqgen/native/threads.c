/* Threads are borrowed from the OpenMP runtime that the process has loaded (PyTorch's): a second team on the same cores
 * would compete with it. The caller passes its entry points; without them everything runs on the calling thread. */

#include "native.h"

typedef struct {
    void (*run)(const void *, long, long);
    const void *job;
    long rows;
} ParallelJob;

static void (*gomp_parallel)(void (*)(void *), void *, unsigned, unsigned);
static int (*get_thread_num)(void);
static int (*get_num_threads)(void);

/* Set GOMP_parallel, omp_get_thread_num and omp_get_num_threads of one runtime, or nulls. */
void seqgen_use_threads(void *start, void *which, void *many) {
    gomp_parallel = (void (*)(void (*)(void *), void *, unsigned, unsigned))start;
    get_thread_num = (int (*)(void))which;
    get_num_threads = (int (*)(void))many;
}

static void run_chunk(void *data) {
    const ParallelJob *shared = data;
    const long mine = get_thread_num(), all = get_num_threads();
    shared->run(shared->job, shared->rows * mine / all, shared->rows * (mine + 1) / all);
}

void parallel_rows(void (*run)(const void *, long, long), const void *job, long rows, long width, int threads) {
    if (!gomp_parallel || threads < 2 || rows * width < 8192) { /* too little work to be worth starting threads */
        run(job, 0, rows);
        return;
    }
    ParallelJob shared = {run, job, rows};
    gomp_parallel(run_chunk, &shared, (unsigned)threads, 0);
}

/* See VERSION in __init__.py. */
int seqgen_version(void) { return 6; }
