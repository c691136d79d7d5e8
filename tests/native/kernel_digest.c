/* Runs the 8-bit kernels of one instruction set on fixed numbers and prints a digest of every result. */

#include "native.h"

#include <stdio.h>
#include <stdlib.h>

extern const Kernels NAME(kernels);

static uint64_t seed = 1;
static double uniform(void) {
    seed = seed * 6364136223846793005ull + 1442695040888963407ull;
    return (double)(seed >> 11) / 9007199254740992.0;
}

static void print_digest(const char *name, const void *data, size_t size) {
    uint64_t hash = 14695981039346656037ull; /* FNV-1a */
    for (size_t i = 0; i < size; i++) hash = (hash ^ ((const uint8_t *)data)[i]) * 1099511628211ull;
    printf("%s %016llx\n", name, (unsigned long long)hash);
}

static float *floats(long count, double scale) {
    float *array = malloc(sizeof(float) * count);
    for (long i = 0; i < count; i++) array[i] = (float)((uniform() - 0.5) * scale);
    return array;
}

static Matrix matrix(long rows, long columns) {
    int8_t *blocks = malloc(rows * columns);
    float *scales = floats(rows, 0.01);
    int32_t *sums = calloc(rows, sizeof(int32_t));
    for (long i = 0; i < rows * columns; i++) {
        blocks[i] = (int8_t)(uniform() * 255 - 127);
        sums[i / 4 / BLOCK_ROWS / (columns / 4) * BLOCK_ROWS + i / 4 % BLOCK_ROWS] += blocks[i];
    }
    return (Matrix){rows, columns, blocks, scales, sums};
}

int main(void) {
    const Kernels *kernels = &NAME(kernels);
    const long units = 64, streams = 5, vocabulary = 128, steps = 3;
    static const long GATES[] = {4, 3, 1, 1}, STATES[] = {2, 1, 1, 1};
    for (int cell = 0; cell < 4; cell++) {
        const long width = GATES[cell] * units;
        StackLayer layers[2];
        for (int layer = 0; layer < 2; layer++)
            layers[layer] = (StackLayer){matrix(width, units), floats(width, 1), matrix(width, units), floats(width, 1)};
        const Stack stack = {units, 2, cell, layers, matrix(vocabulary, units), floats(vocabulary, 1), vocabulary, NULL};
        const long size = 2 * STATES[cell] * units * streams;
        float *old = calloc(size, sizeof(float)), *new = calloc(size, sizeof(float));
        float *x = floats(steps * streams * width, 6), *logits = calloc(streams * vocabulary, sizeof(float));
        float *outputs = calloc(steps * streams * units, sizeof(float));
        if (kernels->stack_run(&stack, steps, streams, x, old, new, logits, outputs)) return 1;
        float *all = malloc(sizeof(float) * (streams * vocabulary + steps * streams * units));
        memcpy(all, logits, sizeof(float) * streams * vocabulary);
        memcpy(all + streams * vocabulary, outputs, sizeof(float) * steps * streams * units);
        char name[16];
        snprintf(name, sizeof name, "cell %d", cell);
        print_digest(name, all, sizeof(float) * (streams * vocabulary + steps * streams * units));
    }
    float *product = calloc(7 * 50, sizeof(float));
    const float *a = floats(7 * 33, 2), *w = floats(33 * 50, 2), *bias = floats(50, 1);
    kernels->exact_product(a, w, bias, 7, 33, 50, product);
    print_digest("exact product", product, sizeof(float) * 7 * 50);
    const Filters filters = {.penalty = 1.2, .dry_multiplier = 0.8, .dry_base = 1.7, .temperature = 0.9,
                             .dynatemp_range = 0.3, .dynatemp_exponent = 1.3, .top_p = 0.95, .typical_p = 0.9,
                             .min_p = 0.01, .tau = 5, .eta = 0.1, .top_k = 60, .window = 8, .dry_window = 8,
                             .dry_allowed = 2};
    int32_t history[2 * 16] = {0}, states[4] = {0}, ids[40];
    uint8_t ended[2 * 16] = {0};
    int64_t counts[2] = {0};
    double limits[2] = {10, 10}, logs[40];
    Streams state = {16, history, ended, counts, states, limits};
    for (int step = 0; step < 20; step++) {
        const double numbers[4] = {uniform(), uniform(), uniform(), uniform()};
        if (kernels->draw(&filters, &state, 2, vocabulary, floats(2 * vocabulary, 12), NULL, NULL, numbers, ids + 2 * step,
                          logs + 2 * step))
            return 1;
    }
    memcpy(logs + 20, ids, sizeof(double) * 20);
    print_digest("draw", logs, sizeof logs);
    return 0;
}
