/* Matrix products of one instruction set: float32, 8-bit integers and bfloat16.
 *
 * A product is done in tiles whose sums stay in registers. Each sum runs over the depth in order, in one accumulator, so
 * that a row's result depends neither on the tile nor on the rows beside it. */

#ifndef SEQGEN_PRODUCTS_H
#define SEQGEN_PRODUCTS_H

#include "native.h"

#define LANES (VECTOR / 4) /* float32 numbers of a register */

typedef float Floats __attribute__((vector_size(VECTOR), aligned(4)));
typedef int32_t Ints __attribute__((vector_size(VECTOR), aligned(4)));

/* out[r][v · LANES + k] = Σ_j a[r · a_stride + j] · w[j · w_stride + v · LANES + k], for r < rows, v < vectors. */
#define product_f32 NAME(product_f32)
void product_f32(const float *a, long a_stride, const float *w, long w_stride, long depth, float *out, long out_stride,
                 long rows, long vectors);

/* The same for bfloat16 pairs: w holds columns 2j and 2j + 1 of an output side by side; w_stride counts pairs. Sums are
 * float32. Only where the processor multiplies bfloat16 pairs. */
#define product_bf16 NAME(product_bf16)
void product_bf16(const uint16_t *a, long a_stride, const uint16_t *w, long w_stride, long depth, float *out,
                  long out_stride, long rows, long vectors);

/* out[s][r] = Σ_c x[s][c] · w[r][c] of 8-bit integers in ±127. w lies in blocks of 64 rows, four columns together:
 * [rows / 64][columns / 4][64][4]; x: (streams, columns), as `quantise` of stack.c writes it. */
#define product_int8 NAME(product_int8)
void product_int8(const int8_t *w, const int32_t *row_sums, long rows, long columns, const int8_t *x, long streams,
                  int32_t *out, long out_stride);

#endif
