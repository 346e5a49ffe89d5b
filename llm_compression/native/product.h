/* Products of rows with a packed matrix, in three kinds that differ by one instruction.

   What is summed over stands in lanes of 32 bits: one float32, two bfloat16 or four 8-bit numbers.
   Rows are lanes one after another. A matrix is packed in panels of 32 columns, a panel lane by
   lane: (columns / 32, lanes, 32). A tile of up to 14 rows by 32 columns is summed in registers
   over all lanes in order, so what a row gives does not depend on the rows beside it. */

#pragma once

#include <string.h>

#include "vector.h"

typedef enum { FLOAT32, BFLOAT16, INT8 } Kind;

enum { TILE_ROWS = 14, PANEL = 32 };

typedef struct {
  uint32_t *lanes;
  int64_t stride; /* lanes from one row to the next */
} Rows;

INLINE int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

INLINE int64_t lanes_of(Kind kind, int64_t numbers) {
  return kind == FLOAT32 ? numbers : ceil_div(numbers, kind == BFLOAT16 ? 2 : 4);
}

/* Lanes between rows: whole cache lines and one more, or rows would compete for the same set. */
INLINE int64_t stride_of(Kind kind, int64_t numbers) {
  return (ceil_div(lanes_of(kind, numbers), 16) + 1) * 16;
}

INLINE __m512i sum_up(Kind kind, __m512i sum, __m512i row, __m512i column) {
  switch (kind) {
  case FLOAT32:
    return _mm512_castps_si512(_mm512_fmadd_ps(
        _mm512_castsi512_ps(row), _mm512_castsi512_ps(column), _mm512_castsi512_ps(sum)));
  case BFLOAT16:
    return _mm512_castps_si512(
        _mm512_dpbf16_ps(_mm512_castsi512_ps(sum), (__m512bh)row, (__m512bh)column));
  default:
    return _mm512_dpbusd_epi32(sum, row, column); /* unsigned by signed */
  }
}

INLINE void tile_of(Kind kind, const int rows, const uint32_t *a, int64_t stride,
                    const uint32_t *panel, int64_t lanes, uint32_t *sums, int64_t sums_stride) {
  __m512i sum[TILE_ROWS][2];
#pragma GCC unroll 14
  for (int r = 0; r < rows; r++)
    sum[r][0] = sum[r][1] = _mm512_setzero_si512();
  const uint32_t *at[5]; /* every third row: the two behind it are one and two strides away */
#pragma GCC unroll 5
  for (int i = 0; i < 5; i++)
    at[i] = a + 3 * i * stride;
  for (int64_t lane = 0; lane < lanes; lane++, panel += PANEL) {
    __m512i left = _mm512_loadu_si512(panel), right = _mm512_loadu_si512(panel + 16);
#pragma GCC unroll 14
    for (int r = 0; r < rows; r++) {
      __m512i row = _mm512_set1_epi32((int)at[r / 3][r % 3 * stride]);
      sum[r][0] = sum_up(kind, sum[r][0], row, left);
      sum[r][1] = sum_up(kind, sum[r][1], row, right);
    }
#pragma GCC unroll 5
    for (int i = 0; i < 5; i++)
      at[i]++;
  }
#pragma GCC unroll 14
  for (int r = 0; r < rows; r++) {
    _mm512_storeu_si512(sums + r * sums_stride, sum[r][0]);
    _mm512_storeu_si512(sums + r * sums_stride + 16, sum[r][1]);
  }
}

/* (rows, lanes) by a panel -> sums (rows, 32) of up to 14 rows: float32, or int32 for INT8. */
INLINE void tile(Kind kind, int rows, const uint32_t *a, int64_t stride, const uint32_t *panel,
                 int64_t lanes, uint32_t *sums, int64_t sums_stride) {
#define CASE(n)  \
  case n:  \
    tile_of(kind, n, a, stride, panel, lanes, sums, sums_stride);  \
    break;
  switch (rows) {
    CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) CASE(7) CASE(8) CASE(9) CASE(10) CASE(11)
    CASE(12) CASE(13) CASE(14)
  }
#undef CASE
}

static void tile_float32(int rows, const uint32_t *a, int64_t stride, const uint32_t *panel,
                         int64_t lanes, uint32_t *sums, int64_t sums_stride) {
  tile(FLOAT32, rows, a, stride, panel, lanes, sums, sums_stride);
}

static void tile_bfloat16(int rows, const uint32_t *a, int64_t stride, const uint32_t *panel,
                          int64_t lanes, uint32_t *sums, int64_t sums_stride) {
  tile(BFLOAT16, rows, a, stride, panel, lanes, sums, sums_stride);
}

static void tile_int8(int rows, const uint32_t *a, int64_t stride, const uint32_t *panel,
                      int64_t lanes, uint32_t *sums, int64_t sums_stride) {
  tile(INT8, rows, a, stride, panel, lanes, sums, sums_stride);
}

typedef void (*Tile)(int, const uint32_t *, int64_t, const uint32_t *, int64_t, uint32_t *, int64_t);

static const Tile TILES[] = {tile_float32, tile_bfloat16, tile_int8};

/* Up to 16 lanes of 16 rows, or of zeros for NULL, become columns of a panel. */
INLINE void turn(const uint32_t *const *rows, int64_t lane, int count, uint32_t *panel) {
  __m512i a[16], b[16], zeros = _mm512_setzero_si512();
#pragma GCC unroll 16
  for (int i = 0; i < 16; i++)
    a[i] = rows[i] ? _mm512_maskz_loadu_epi32(first(count), rows[i] + lane) : zeros;
#pragma GCC unroll 8
  for (int i = 0; i < 8; i++) {
    b[2 * i] = _mm512_unpacklo_epi32(a[2 * i], a[2 * i + 1]);
    b[2 * i + 1] = _mm512_unpackhi_epi32(a[2 * i], a[2 * i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; i++) {
    a[4 * i] = _mm512_unpacklo_epi64(b[4 * i], b[4 * i + 2]);
    a[4 * i + 1] = _mm512_unpackhi_epi64(b[4 * i], b[4 * i + 2]);
    a[4 * i + 2] = _mm512_unpacklo_epi64(b[4 * i + 1], b[4 * i + 3]);
    a[4 * i + 3] = _mm512_unpackhi_epi64(b[4 * i + 1], b[4 * i + 3]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; i++) {
    b[i] = _mm512_shuffle_i32x4(a[i], a[i + 4], 0x88);
    b[i + 4] = _mm512_shuffle_i32x4(a[i], a[i + 4], 0xdd);
    b[i + 8] = _mm512_shuffle_i32x4(a[i + 8], a[i + 12], 0x88);
    b[i + 12] = _mm512_shuffle_i32x4(a[i + 8], a[i + 12], 0xdd);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; i++) {
    a[i] = _mm512_shuffle_i32x4(b[i], b[i + 8], 0x88);
    a[i + 4] = _mm512_shuffle_i32x4(b[i + 4], b[i + 12], 0x88);
    a[i + 8] = _mm512_shuffle_i32x4(b[i], b[i + 8], 0xdd);
    a[i + 12] = _mm512_shuffle_i32x4(b[i + 4], b[i + 12], 0xdd);
  }
#pragma GCC unroll 16
  for (int i = 0; i < 16; i++)
    if (i < count)
      _mm512_storeu_si512(panel + (lane + i) * PANEL, a[i]);
}

/* 32 rows of lanes -> one panel, whose columns they are; zeros for those that are NULL. */
static void pack_panel(const uint32_t *const *rows, int64_t lanes, uint32_t *panel) {
  for (int64_t lane = 0; lane < lanes; lane += 16)
    for (int half = 0; half < PANEL; half += 16)
      turn(rows + half, lane, (int)(lanes - lane < 16 ? lanes - lane : 16), panel + half);
}
