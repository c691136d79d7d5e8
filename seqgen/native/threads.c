/* Threads are borrowed from the OpenMP runtime that the process has loaded (PyTorch's): a second team on the same cores
 * would compete with it. The caller passes its entry points; without them everything runs on the calling thread. */

#include "native.h"

typedef struct {
    void (*run)(const void *, long, long);
    const void *job;
    long rows, chunk;
    long next; /* the first row that no thread has taken yet */
} ParallelJob;

static void (*gomp_parallel)(void (*)(void *), void *, unsigned, unsigned);

/* Set GOMP_parallel of one runtime, or null. */
EXPORT void seqgen_use_threads(void *start) {
    gomp_parallel = (void (*)(void (*)(void *), void *, unsigned, unsigned))start;
}

/* Chunks are taken one after another, so that a slow core does not keep the others waiting. */
static void run_chunks(void *data) {
    ParallelJob *shared = data;
    for (;;) {
        const long first = __atomic_fetch_add(&shared->next, shared->chunk, __ATOMIC_RELAXED);
        if (first >= shared->rows) return;
        const long last = first + shared->chunk < shared->rows ? first + shared->chunk : shared->rows;
        shared->run(shared->job, first, last);
    }
}

void parallel_rows(void (*run)(const void *, long, long), const void *job, long rows, long width, int threads) {
    if (!gomp_parallel || threads < 2 || rows * width < 8192) { /* too little work to be worth starting threads */
        run(job, 0, rows);
        return;
    }
    const long each = (rows + threads - 1) / threads, half = (each + 1) / 2;
    const long chunk = half < 12 ? each : half; /* smaller ones would read the weights too often for their few rows */
    ParallelJob shared = {run, job, rows, chunk, 0};
    gomp_parallel(run_chunks, &shared, (unsigned)threads, 0);
}

/* See VERSION in __init__.py. */
EXPORT int seqgen_version(void) { return 8; }
