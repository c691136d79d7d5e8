/* What the kernels share: numbers, the two curves, and the sharing out of rows among threads. */

#ifndef SEQGEN_NATIVE_H
#define SEQGEN_NATIVE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define ALWAYS inline __attribute__((always_inline))

/* Compiled once for each of these; the loader takes the best that the processor knows. */
#if defined(__x86_64__) && defined(__linux__) && defined(__GLIBC__) && __GNUC__ >= 12 && !defined(__clang__)
#define CLONES __attribute__((target_clones("default", "arch=x86-64-v3", "arch=x86-64-v4")))
#else
#define CLONES
#endif

/* bfloat16 is the upper half of a float32; to the nearest, ties to even. A NaN that arithmetic made stays one (its
 * lower half is nought; only made-up ones could overflow here). */
static ALWAYS float widen(uint16_t low) {
    const uint32_t bits = (uint32_t)low << 16;
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

static ALWAYS uint16_t narrow(float value) {
    uint32_t bits;
    memcpy(&bits, &value, 4);
    return (uint16_t)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

/* Number i of an array of float32, or of bfloat16 where `low`. */
#define AT(pointer, i) (low ? widen(((const uint16_t *)(pointer))[i]) : ((const float *)(pointer))[i])
#define PUT(pointer, i, value)                                                                                         \
    do {                                                                                                               \
        if (low)                                                                                                       \
            ((uint16_t *)(pointer))[i] = narrow(value);                                                                \
        else                                                                                                           \
            ((float *)(pointer))[i] = (value);                                                                         \
    } while (0)

/* e^x to about 1e-7 of its value: 2^k e^r with |r| ≤ ln 2 / 2, by Taylor's polynomial of degree 6. Never infinite. A NaN
 * stays one. */
static ALWAYS float exponential(float x) {
    const float bounded = x > 87.0f ? 87.0f : (x < -87.0f ? -87.0f : x);
    const float shift = 12582912.0f; /* 1.5 · 2^23: adding it rounds to a whole number */
    const float k = (bounded * 1.44269504f + shift) - shift;
    const float r = (bounded - k * 0.693359375f) + k * 2.12194440e-4f;
    float p = 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    const int32_t bits = ((int32_t)k + 127) << 23;
    float power;
    memcpy(&power, &bits, 4);
    return p * power;
}

static ALWAYS float sigmoid(float x) { return 1.0f / (1.0f + exponential(-x)); }
static ALWAYS float tangent(float x) { return 2.0f / (1.0f + exponential(-2.0f * x)) - 1.0f; }

/* Runs `rows` of a job in pieces, on the threads that PyTorch's own OpenMP keeps (see `seqgen_use_threads`). */
void share(void (*run)(const void *, long, long), const void *job, long rows, long width, int threads);

#endif
