/* Whole sequences: threads are borrowed from the OpenMP runtime that the process has loaded (PyTorch's), as others on the
 * same cores would compete with it. The caller passes its entry points; without them everything runs on the calling
 * thread.
 *
 * Single steps: a team of the calling thread and of one that Python has started. Either takes blocks of rows of a product,
 * one from the front, one from the back, so that each reads mostly the weights that its core's cache holds already. */

#ifdef _WIN32
#include <windows.h>
#define give_way() SwitchToThread()
#else
#include <sched.h>
#define give_way() sched_yield()
#endif

#include "native.h"

#if defined(__x86_64__) || defined(__i386__)
#define PAUSE() __builtin_ia32_pause()
#elif defined(__aarch64__)
#define PAUSE() __asm__ volatile("isb") /* about as long as x86's; `yield` does nothing on most */
#else
#define PAUSE() ((void)0)
#endif

#define PATIENCE 20000 /* pauses, about a millisecond, until the second thread takes the generation for finished */
#define SPINS 2000     /* pauses until the first gives way, in case that the other's core is taken */

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

/* --- a team ---------------------------------------------------------------------------------------------------------- */

/* Takes a block from the front or from the back; -1 if none is left. A block that was taken belongs to the latest job: the
 * first thread begins none before all blocks of the one before are done. */
static long take_block(Team *team, int from_back) {
    uint64_t blocks = __atomic_load_n(&team->blocks, __ATOMIC_RELAXED);
    for (;;) {
        const uint32_t first = (uint32_t)blocks, end = (uint32_t)(blocks >> 32);
        if (first >= end) return -1;
        const uint64_t rest = from_back ? blocks - ((uint64_t)1 << 32) : blocks + 1;
        if (__atomic_compare_exchange_n(&team->blocks, &blocks, rest, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
            return from_back ? (long)end - 1 : (long)first;
    }
}

int team_take(Team *team) {
    return team && __atomic_load_n(&team->present, __ATOMIC_RELAXED) &&
           !__atomic_exchange_n(&team->busy, 1, __ATOMIC_ACQUIRE);
}

void team_release(Team *team) { __atomic_store_n(&team->busy, 0, __ATOMIC_RELEASE); }

void team_run(Team *team, void (*run)(const void *, long), const void *job, long count) {
    team->run = run;
    team->job = job;
    __atomic_store_n(&team->done, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&team->blocks, (uint64_t)count << 32, __ATOMIC_RELEASE);
    long own = 0, block;
    for (; (block = take_block(team, 0)) >= 0; own++) run(job, block);
    for (long spins = 0; __atomic_load_n(&team->done, __ATOMIC_ACQUIRE) + own < count;)
        if (++spins < SPINS)
            PAUSE();
        else
            give_way();
}

/* Helps with the products of a team, and returns when there has been none for about a millisecond. */
EXPORT void seqgen_help(Team *team) {
    if (__atomic_exchange_n(&team->present, 1, __ATOMIC_ACQ_REL)) return; /* there is one already */
    for (long idle = 0; idle < PATIENCE;) {
        const long block = take_block(team, 1);
        if (block < 0) {
            idle++;
            PAUSE();
            continue;
        }
        team->run(team->job, block);
        __atomic_fetch_add(&team->done, 1, __ATOMIC_RELEASE);
        idle = 0;
    }
    __atomic_store_n(&team->present, 0, __ATOMIC_RELEASE);
}

/* See VERSION in __init__.py. */
EXPORT int seqgen_version(void) { return 12; }
