#include "products.h"

/* Fused multiply-add is wanted here and only here: this file alone is compiled with -ffp-contract=fast. */

#if VECTOR == 64 || defined(__aarch64__)
#define TILE_VECTORS 4 /* 32 registers: 6 × 4 sums and 5 operands */
#else
#define TILE_VECTORS 2 /* 16 registers: 6 × 2 sums and 3 operands */
#endif
#define TILE_ROWS 6

static ALWAYS_INLINE void tile_f32(const float *restrict a, long a_stride, const float *restrict w, long w_stride,
                                   long depth, float *restrict out, long out_stride, const int rows,
                                   const int vectors) {
    Floats sums[8][8];
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 8
        for (int v = 0; v < vectors; v++) sums[r][v] = (Floats){0};
    for (long j = 0; j < depth; j++, w += w_stride) {
        Floats by[8];
#pragma GCC unroll 8
        for (int v = 0; v < vectors; v++) by[v] = ((const Floats *)w)[v];
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) {
            const float number = a[r * a_stride + j];
#pragma GCC unroll 8
            for (int v = 0; v < vectors; v++) sums[r][v] += by[v] * number;
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 8
        for (int v = 0; v < vectors; v++) ((Floats *)(out + r * out_stride))[v] = sums[r][v];
}

#define CASE(kind, r, v)                                                                                               \
    case (v)*16 + (r): kind(a, a_stride, w, w_stride, depth, out, out_stride, r, v); return;
#define CASES(kind, v) CASE(kind, 1, v) CASE(kind, 2, v) CASE(kind, 3, v) CASE(kind, 4, v)
#define MORE_CASES(kind, v) CASE(kind, 5, v) CASE(kind, 6, v)

static void one_tile_f32(const float *a, long a_stride, const float *w, long w_stride, long depth, float *out,
                         long out_stride, int rows, int vectors) {
    switch (vectors * 16 + rows) {
        CASES(tile_f32, 1) MORE_CASES(tile_f32, 1)
        CASES(tile_f32, 2) MORE_CASES(tile_f32, 2)
        CASES(tile_f32, 3)
#if TILE_VECTORS == 4
        MORE_CASES(tile_f32, 3) CASES(tile_f32, 4) MORE_CASES(tile_f32, 4)
#endif
        CASE(tile_f32, 1, 8)
    }
}

/* Rows of the next tile: as even as can be, none above `most`. */
static ALWAYS_INLINE int tile_height(long left, long most) {
    const long tiles = (left + most - 1) / most;
    return (int)((left + tiles - 1) / tiles);
}

void product_f32(const float *a, long a_stride, const float *w, long w_stride, long depth, float *out, long out_stride,
                 long rows, long vectors) {
    for (long v = 0, width; v < vectors; v += width) {
        const long left = vectors - v;
        long most = TILE_ROWS;
        if (rows == 1 && left >= 8)
            width = 8; /* one stream waits for memory alone: as many sums as hide the latency */
        else if (TILE_VECTORS == 2 && left == 3)
            width = 3, most = 4;
        else
            width = left < TILE_VECTORS ? left : TILE_VECTORS;
        for (long r = 0, height; r < rows; r += height) {
            height = tile_height(rows - r, most);
            one_tile_f32(a + r * a_stride, a_stride, w + v * LANES, w_stride, depth, out + r * out_stride + v * LANES,
                         out_stride, (int)height, (int)width);
        }
    }
}

/* --- bfloat16 ------------------------------------------------------------------------------------------------------ */

#ifdef __AVX512BF16__
#include <immintrin.h>

static ALWAYS_INLINE void tile_bf16(const uint16_t *restrict a, long a_stride, const uint16_t *restrict w, long w_stride,
                                    long depth, float *restrict out, long out_stride, const int rows,
                                    const int vectors) {
    __m512 sums[8][8];
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 8
        for (int v = 0; v < vectors; v++) sums[r][v] = _mm512_setzero_ps();
    for (long j = 0; j < depth; j += 2, w += 2 * w_stride) {
        __m512bh by[8];
#pragma GCC unroll 8
        for (int v = 0; v < vectors; v++) by[v] = (__m512bh)_mm512_loadu_si512(w + 2 * v * LANES);
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) {
            int32_t pair;
            memcpy(&pair, a + r * a_stride + j, 4);
            const __m512bh numbers = (__m512bh)_mm512_set1_epi32(pair);
#pragma GCC unroll 8
            for (int v = 0; v < vectors; v++) sums[r][v] = _mm512_dpbf16_ps(sums[r][v], numbers, by[v]);
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 8
        for (int v = 0; v < vectors; v++) _mm512_storeu_ps(out + r * out_stride + v * LANES, sums[r][v]);
}

static void one_tile_bf16(const uint16_t *a, long a_stride, const uint16_t *w, long w_stride, long depth, float *out,
                          long out_stride, int rows, int vectors) {
    switch (vectors * 16 + rows) {
        CASES(tile_bf16, 1) MORE_CASES(tile_bf16, 1)
        CASES(tile_bf16, 2) MORE_CASES(tile_bf16, 2)
        CASES(tile_bf16, 3) MORE_CASES(tile_bf16, 3)
        CASES(tile_bf16, 4) MORE_CASES(tile_bf16, 4)
    }
}

void product_bf16(const uint16_t *a, long a_stride, const uint16_t *w, long w_stride, long depth, float *out,
                  long out_stride, long rows, long vectors) {
    for (long v = 0, width; v < vectors; v += width) {
        width = vectors - v < TILE_VECTORS ? vectors - v : TILE_VECTORS;
        for (long r = 0, height; r < rows; r += height) {
            height = tile_height(rows - r, TILE_ROWS);
            one_tile_bf16(a + r * a_stride, a_stride, w + 2 * v * LANES, w_stride, depth,
                          out + r * out_stride + v * LANES, out_stride, (int)height, (int)width);
        }
    }
}
#endif

/* --- 8-bit integers ------------------------------------------------------------------------------------------------
 *
 * `dot4` adds to each 32-bit lane the products of four pairs of 8-bit numbers. Sums of integers are exact, so every
 * instruction set gives the same. */

#if defined(__AVX512VNNI__) && VECTOR == 64
#include <immintrin.h>
/* One operand has no sign: x is moved by 128, and 128 times the sum of the row's weights is taken off in the end. */
#define SHIFTED 1
static ALWAYS_INLINE Ints dot4(Ints sums, Ints x, Ints w) {
    return (Ints)_mm512_dpbusd_epi32((__m512i)sums, (__m512i)x, (__m512i)w);
}
#elif defined(__AVXVNNI__) && VECTOR == 32
#include <immintrin.h>
#define SHIFTED 1
static ALWAYS_INLINE Ints dot4(Ints sums, Ints x, Ints w) {
    return (Ints)_mm256_dpbusd_avx_epi32((__m256i)sums, (__m256i)x, (__m256i)w);
}
#elif defined(__AVX512BW__) && VECTOR == 64
#include <immintrin.h>
/* |x| · (w with the sign of x), both within ±127: pairs of products fit into 16 bits. */
static ALWAYS_INLINE Ints dot4(Ints sums, Ints x, Ints w) {
    const __m512i size = _mm512_abs_epi8((__m512i)x);
    const __m512i turned = _mm512_mask_sub_epi8((__m512i)w, _mm512_movepi8_mask((__m512i)x), _mm512_setzero_si512(), (__m512i)w);
    return sums + (Ints)_mm512_madd_epi16(_mm512_maddubs_epi16(size, turned), _mm512_set1_epi16(1));
}
#elif defined(__AVX2__) && VECTOR == 32
#include <immintrin.h>
static ALWAYS_INLINE Ints dot4(Ints sums, Ints x, Ints w) {
    const __m256i size = _mm256_abs_epi8((__m256i)x), turned = _mm256_sign_epi8((__m256i)w, (__m256i)x);
    return sums + (Ints)_mm256_madd_epi16(_mm256_maddubs_epi16(size, turned), _mm256_set1_epi16(1));
}
#elif defined(__ARM_FEATURE_DOTPROD)
#include <arm_neon.h>
static ALWAYS_INLINE Ints dot4(Ints sums, Ints x, Ints w) {
    return (Ints)vdotq_s32((int32x4_t)sums, (int8x16_t)x, (int8x16_t)w);
}
#elif defined(__aarch64__)
#include <arm_neon.h>
static ALWAYS_INLINE Ints dot4(Ints sums, Ints x, Ints w) {
    const int16x8_t low = vmull_s8(vget_low_s8((int8x16_t)x), vget_low_s8((int8x16_t)w));
    const int16x8_t high = vmull_high_s8((int8x16_t)x, (int8x16_t)w);
    return sums + (Ints)vpaddq_s32(vpaddlq_s16(low), vpaddlq_s16(high));
}
#elif defined(__SSE2__) && VECTOR == 16
#include <emmintrin.h>
static ALWAYS_INLINE Ints dot4(Ints sums, Ints x, Ints w) {
    const __m128i zero = _mm_setzero_si128();
    const __m128i xs = _mm_cmpgt_epi8(zero, (__m128i)x), ws = _mm_cmpgt_epi8(zero, (__m128i)w);
    const __m128i low = _mm_madd_epi16(_mm_unpacklo_epi8((__m128i)x, xs), _mm_unpacklo_epi8((__m128i)w, ws));
    const __m128i high = _mm_madd_epi16(_mm_unpackhi_epi8((__m128i)x, xs), _mm_unpackhi_epi8((__m128i)w, ws));
    const __m128 even = _mm_shuffle_ps(_mm_castsi128_ps(low), _mm_castsi128_ps(high), 0x88);
    const __m128 odd = _mm_shuffle_ps(_mm_castsi128_ps(low), _mm_castsi128_ps(high), 0xdd);
    return sums + (Ints)_mm_add_epi32(_mm_castps_si128(even), _mm_castps_si128(odd));
}
#else /* any processor */
static ALWAYS_INLINE Ints dot4(Ints sums, Ints x, Ints w) {
    const int8_t *a = (const int8_t *)&x, *b = (const int8_t *)&w;
    for (int k = 0; k < LANES; k++)
        for (int c = 0; c < 4; c++) sums[k] += a[4 * k + c] * b[4 * k + c];
    return sums;
}
#endif
#ifndef SHIFTED
#define SHIFTED 0
#endif

#define BLOCK (BLOCK_ROWS / LANES) /* registers of a block of rows */
/* Registers and streams of a tile. */
#if VECTOR == 64 || defined(__aarch64__)
#define INT8_STREAMS 4
#define INT8_VECTORS 4
#else
#define INT8_STREAMS 2
#define INT8_VECTORS 4
#endif

static ALWAYS_INLINE void tile_int8(const int8_t *restrict w, long groups, const int8_t *restrict x, long columns,
                                    int32_t *restrict out, long out_stride, const int streams, const int vectors) {
    Ints sums[8][8];
#pragma GCC unroll 8
    for (int s = 0; s < streams; s++)
#pragma GCC unroll 8
        for (int v = 0; v < vectors; v++) sums[s][v] = (Ints){0};
    for (long g = 0; g < groups; g++, w += 4 * BLOCK_ROWS) {
        const Ints *row = (const Ints *)w;
#pragma GCC unroll 8
        for (int s = 0; s < streams; s++) {
            int32_t four;
            memcpy(&four, x + s * columns + 4 * g, 4);
            const Ints by = (four ^ (SHIFTED ? (int32_t)0x80808080 : 0)) - (Ints){0};
#pragma GCC unroll 8
            for (int v = 0; v < vectors; v++) sums[s][v] = dot4(sums[s][v], by, row[v]);
        }
    }
#pragma GCC unroll 8
    for (int s = 0; s < streams; s++)
#pragma GCC unroll 8
        for (int v = 0; v < vectors; v++) ((Ints *)(out + s * out_stride))[v] = sums[s][v];
}

void product_int8(const int8_t *w, const int32_t *row_sums, long rows, long columns, const int8_t *x, long streams,
                  int32_t *out, long out_stride) {
    const long groups = columns / 4;
    for (long block = 0; block < rows / BLOCK_ROWS; block++) {
        const int8_t *panel = w + block * BLOCK_ROWS * columns;
        int32_t *to = out + block * BLOCK_ROWS;
        const int single = BLOCK < 8 ? BLOCK : 8;
        long s = 0;
        for (int v = 0; v < BLOCK; v += INT8_VECTORS)
            for (s = 0; s + INT8_STREAMS <= streams; s += INT8_STREAMS)
                tile_int8(panel + 4 * v * LANES, groups, x + s * columns, columns, to + s * out_stride + v * LANES,
                          out_stride, INT8_STREAMS, INT8_VECTORS);
        for (; s < streams; s++)
            for (int v = 0; v < BLOCK; v += single)
                tile_int8(panel + 4 * v * LANES, groups, x + s * columns, columns, to + s * out_stride + v * LANES,
                          out_stride, 1, BLOCK < 8 ? BLOCK : 8);
        if (SHIFTED)
            for (s = 0; s < streams; s++)
                for (long r = 0; r < BLOCK_ROWS; r++) to[s * out_stride + r] -= 128 * row_sums[block * BLOCK_ROWS + r];
    }
}
