/* Tiles of products of rows with a packed matrix, in three kinds that differ by one instruction.

   What is summed over stands in lanes of 32 bits: one float32, two bfloat16 or four 8-bit numbers.
   Rows are lanes one after another. A matrix is packed in panels of 32 columns, a panel lane by
   lane: (columns / 32, lanes, 32). A tile of up to 14 rows by 32 columns is summed in registers
   over lanes in order, so what a row gives does not depend on the rows beside it. */

#pragma once

#include <string.h>

#include "vector.h"

typedef enum { FLOAT32, BFLOAT16, INT8 } Kind;

enum {
  TILE_ROWS = 14,
  PANEL = 32,
  AHEAD = 16,    /* lanes of a panel from what is summed up to what is fetched into cache */
  TOGETHER = 256 /* lanes whose sums are added up before others are: a long sum rounds worse */
};

typedef struct {
  uint32_t *lanes;
  int64_t stride; /* lanes from one row to the next */
} Rows;

/* What a tile brings nearer on its way, for tiles to come: a cache line for each lane. */
typedef struct {
  const uint32_t *at;
  int64_t step; /* lanes from one line to the next; those of fewer than 16 come more than once */
} Fetch;

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

/* `halves` of the panel's columns are summed; `lines` for each lane are fetched from `ahead` on. */
INLINE void tile_of(Kind kind, const int rows, const int halves, const uint32_t *a, int64_t stride,
                    const uint32_t *panel, int64_t lanes, const uint32_t *ahead, const int lines,
                    Fetch fetch, uint32_t *sums, int64_t sums_stride) {
  __m512i sum[TILE_ROWS][2], right = _mm512_setzero_si512();
#pragma GCC unroll 14
  for (int r = 0; r < rows; r++)
    sum[r][0] = sum[r][1] = right;
  const uint32_t *at[5]; /* every third row: the two behind it are one and two strides away */
#pragma GCC unroll 5
  for (int i = 0; i < 5; i++)
    at[i] = a + 3 * i * stride;
  for (int64_t lane = 0; lane < lanes; lane++, panel += PANEL) {
    prefetch(ahead);
    if (lines == 2) {
      prefetch(ahead + 16);
      prefetch_far(fetch.at);
      fetch.at += fetch.step;
    }
    ahead += 16 * lines;
    __m512i left = _mm512_loadu_si512(panel);
    if (halves == 2)
      right = _mm512_loadu_si512(panel + 16);
#pragma GCC unroll 14
    for (int r = 0; r < rows; r++) {
      __m512i row = _mm512_set1_epi32((int)at[r / 3][r % 3 * stride]);
      sum[r][0] = sum_up(kind, sum[r][0], row, left);
      if (halves == 2)
        sum[r][1] = sum_up(kind, sum[r][1], row, right);
    }
#pragma GCC unroll 5
    for (int i = 0; i < 5; i++)
      at[i]++;
  }
#pragma GCC unroll 14
  for (int r = 0; r < rows; r++) {
    _mm512_storeu_si512(sums + r * sums_stride, sum[r][0]);
    if (halves == 2)
      _mm512_storeu_si512(sums + r * sums_stride + 16, sum[r][1]);
  }
}

/* A tile of up to 14 rows over lanes that are summed together. */
INLINE void tile_together(Kind kind, int rows, const int halves, const uint32_t *a, int64_t stride,
                          const uint32_t *panel, int64_t lanes, const uint32_t *ahead,
                          const int lines, Fetch fetch, uint32_t *sums, int64_t sums_stride) {
#define CASE(n)  \
  case n:  \
    tile_of(kind, n, halves, a, stride, panel, lanes, ahead, lines, fetch, sums, sums_stride);  \
    break;
  switch (rows) {
    CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) CASE(7) CASE(8) CASE(9) CASE(10) CASE(11)
    CASE(12) CASE(13) CASE(14)
  }
#undef CASE
}

INLINE void add_sums(Kind kind, int rows, int halves, const uint32_t *more, uint32_t *sums,
                     int64_t stride) {
  for (int r = 0; r < rows; r++)
    for (int half = 0; half < 16 * halves; half += 16) {
      uint32_t *to = sums + r * stride + half;
      __m512i a = _mm512_loadu_si512(to), b = _mm512_loadu_si512(more + r * PANEL + half);
      __m512 floats = _mm512_add_ps(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b));
      a = kind == INT8 ? _mm512_add_epi32(a, b) : _mm512_castps_si512(floats);
      _mm512_storeu_si512(to, a);
    }
}

/* A tile over all lanes. */
INLINE void tile_over(Kind kind, int rows, const int halves, const uint32_t *a, int64_t stride,
                      const uint32_t *panel, int64_t lanes, const uint32_t *ahead, const int lines,
                      Fetch fetch, uint32_t *sums, int64_t sums_stride) {
  _Alignas(64) uint32_t more[TILE_ROWS * PANEL];
  int64_t lane = 0;
  do {
    int64_t count = lanes - lane < TOGETHER ? lanes - lane : TOGETHER;
    Fetch next = {fetch.at + lane * fetch.step, fetch.step};
    tile_together(kind, rows, halves, a + lane, stride, panel + lane * PANEL, count,
                  ahead + lane * 16 * lines, lines, next, lane ? more : sums,
                  lane ? PANEL : sums_stride);
    if (lane)
      add_sums(kind, rows, halves, more, sums, sums_stride);
    lane += count;
  } while (lane < lanes);
}

/* (rows, lanes) by a panel -> sums (rows, 32) of up to 14 rows: float32, or int32 for INT8. */
INLINE void tile(Kind kind, int rows, const uint32_t *a, int64_t stride, const uint32_t *panel,
                 int64_t lanes, Fetch fetch, uint32_t *sums, int64_t sums_stride) {
  tile_over(kind, rows, 2, a, stride, panel, lanes, panel + AHEAD * PANEL, 2, fetch, sums,
            sums_stride);
}

static void tile_float32(int rows, const uint32_t *a, int64_t stride, const uint32_t *panel,
                         int64_t lanes, Fetch fetch, uint32_t *sums, int64_t sums_stride) {
  tile(FLOAT32, rows, a, stride, panel, lanes, fetch, sums, sums_stride);
}

static void tile_bfloat16(int rows, const uint32_t *a, int64_t stride, const uint32_t *panel,
                          int64_t lanes, Fetch fetch, uint32_t *sums, int64_t sums_stride) {
  tile(BFLOAT16, rows, a, stride, panel, lanes, fetch, sums, sums_stride);
}

static void tile_int8(int rows, const uint32_t *a, int64_t stride, const uint32_t *panel,
                      int64_t lanes, Fetch fetch, uint32_t *sums, int64_t sums_stride) {
  tile(INT8, rows, a, stride, panel, lanes, fetch, sums, sums_stride);
}

