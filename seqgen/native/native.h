/* Shared by the kernels: number formats, sigmoid and tanh, and running rows in parallel. */

#ifndef SEQGEN_NATIVE_H
#define SEQGEN_NATIVE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define ALWAYS_INLINE inline __attribute__((always_inline))

/* Compiled once for each of these; the loader picks the best that the processor supports. */
#if defined(__x86_64__) && defined(__linux__) && defined(__GLIBC__) && __GNUC__ >= 12 && !defined(__clang__)
#define TARGET_CLONES __attribute__((target_clones("default", "arch=x86-64-v3", "arch=x86-64-v4")))
#else
#define TARGET_CLONES
#endif

/* bfloat16 is the upper half of a float32, rounded to nearest even. A NaN that arithmetic produced stays NaN: its lower
 * half is zero, so rounding can't overflow. */
static ALWAYS_INLINE float bf16_to_f32(uint16_t bf16) {
    const uint32_t bits = (uint32_t)bf16 << 16;
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

static ALWAYS_INLINE uint16_t f32_to_bf16(float value) {
    uint32_t bits;
    memcpy(&bits, &value, 4);
    return (uint16_t)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

/* Element i of an array of float32, or of bfloat16 if `bf16`. */
#define LOAD(pointer, i) (bf16 ? bf16_to_f32(((const uint16_t *)(pointer))[i]) : ((const float *)(pointer))[i])
#define STORE(pointer, i, value)                                                                                       \
    do {                                                                                                               \
        if (bf16)                                                                                                      \
            ((uint16_t *)(pointer))[i] = f32_to_bf16(value);                                                           \
        else                                                                                                           \
            ((float *)(pointer))[i] = (value);                                                                         \
    } while (0)

/* e^x with a relative error of about 1e-7: 2^k e^r with |r| ≤ ln 2 / 2, by the Taylor polynomial of degree 6. Never
 * infinite; NaN stays NaN. */
static ALWAYS_INLINE float fast_exp(float x) {
    const float bounded = x > 87.0f ? 87.0f : (x < -87.0f ? -87.0f : x);
    const float shift = 12582912.0f; /* 1.5 · 2^23: adding it rounds to an integer */
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

static ALWAYS_INLINE float sigmoid(float x) { return 1.0f / (1.0f + fast_exp(-x)); }
static ALWAYS_INLINE float tanh_(float x) { return 2.0f / (1.0f + fast_exp(-2.0f * x)) - 1.0f; }

/* Run a job's rows in chunks on the threads of PyTorch's OpenMP runtime (see `seqgen_use_threads`). */
void parallel_rows(void (*run)(const void *, long, long), const void *job, long rows, long width, int threads);

#endif
