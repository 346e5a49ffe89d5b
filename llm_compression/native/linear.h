/* Linear maps of rows, and the forms that rows take in front of them. */

#pragma once

#include "product.h"
#include "team.h"

typedef struct {
  const uint32_t *panels;    /* (out, in) packed, or NULL: the rows of these parts */
  const uint32_t *parts[3];  /* (part_rows, in) float32 each, as stored */
  int64_t part_rows;
  const float *bias;         /* (out), or NULL */
  const float *steps, *sums; /* (out) of INT8: what 1 stands for, and the sum of a row's weights */
  int64_t in, out;
} Linear;

/* Where rows go, and what is done to them on the way. */
typedef struct {
  Kind kind; /* FLOAT32 or BFLOAT16 */
  Rows rows;
  Activation activation;
  int add; /* to what is there, which is float32 */
} Target;

/* Steps and offsets of rows in 8 bits: a number is lowest + step * code. */
typedef struct {
  float *steps, *lowest;
} Scales;

enum { CACHED = 64 << 10 };     /* lanes of rows that stay in L2 */

/* The rows of a tile, after its sums: (rows, 32). */
static void finish(Kind kind, const Linear *linear, const uint32_t *sums, Scales scales,
                   int64_t row, int rows, int64_t column, Target to) {
  for (int half = 0; half < PANEL; half += 16, column += 16) {
    __mmask16 mask = first(linear->out - column);
    if (!mask)
      return;
    __m512 bias = _mm512_setzero_ps(), steps = bias, weights = bias;
    if (linear->bias)
      bias = _mm512_maskz_loadu_ps(mask, linear->bias + column);
    if (kind == INT8) {
      steps = _mm512_maskz_loadu_ps(mask, linear->steps + column);
      weights = _mm512_maskz_loadu_ps(mask, linear->sums + column);
    }
    for (int64_t r = row; r < row + rows; r++) {
      const uint32_t *sum = sums + (r - row) * PANEL + half;
      __m512 y = _mm512_loadu_ps(sum);
      if (kind == INT8) {
        y = _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_loadu_si512(sum)), steps);
        y = _mm512_fmadd_ps(y, all(scales.steps[r]), _mm512_mul_ps(all(scales.lowest[r]), weights));
      }
      y = activate(to.activation, _mm512_add_ps(y, bias));
      if (to.kind == BFLOAT16) {
        store_bfloat16((uint16_t *)(to.rows.lanes + r * to.rows.stride) + column, mask, y);
        continue;
      }
      float *at = (float *)(to.rows.lanes + r * to.rows.stride) + column;
      if (to.add)
        y = _mm512_add_ps(y, _mm512_maskz_loadu_ps(mask, at));
      _mm512_mask_storeu_ps(at, mask, y);
    }
  }
}

/* Tile number `tile` of so many fetches its share of the panel behind this one. A single tile would
   only fetch what the next one does as early. */
INLINE Fetch next_panel(const uint32_t *panel, int64_t lanes, int64_t tile, int64_t tiles) {
  int64_t step = tiles > 1 ? PANEL / tiles : 0;
  return (Fetch){tiles > 1 ? panel + lanes * (PANEL + tile * step) : panel, step};
}

/* All of `count` rows through a map, by the team. */
static void linear(Team *team, const Product *by, const Linear *map, Rows from, Scales scales,
                   int64_t count, Target to) {
  int64_t lanes = lanes_of(by->kind, map->in), panels = ceil_div(map->out, PANEL);
  int64_t tiles = ceil_div(count, by->rows), cached = CACHED / (by->rows * from.stride);
  int64_t blocks = ceil_div(tiles, cached > 2 ? cached : 2), wanted = TASKS * team->size;
  int64_t parts = blocks >= wanted ? 1 : ceil_div(wanted, blocks);
  parts = parts > panels ? panels : parts;
  TEAM_TASKS(team, task, blocks * parts) {
    int64_t block = task / parts, part = task % parts;
    int64_t from_tile = block * tiles / blocks, to_tile = (block + 1) * tiles / blocks;
    for (int64_t p = part * panels / parts; p < (part + 1) * panels / parts; p++) {
      const uint32_t *panel = map->panels + p * lanes * PANEL;
      for (int64_t t = from_tile; t < to_tile; t++) {
        int64_t row = t * count / tiles;
        int rows = (int)((t + 1) * count / tiles - row);
        _Alignas(64) uint32_t sums[MOST_ROWS * PANEL];
        by->tile(rows, from.lanes + row * from.stride, from.stride,
                 panel, lanes, next_panel(panel, lanes, t - from_tile, to_tile - from_tile), sums,
                 PANEL);
        finish(by->kind, map, sums, scales, row, rows, p * PANEL, to);
      }
    }
  }
  team_wait(team);
}

/* Ba, Kiros and Hinton 2016, arXiv:1607.06450: zero mean and unit variance, then scale and shift. */
static void norm_row(const float *x, int64_t size, const float *weight, const float *bias,
                     float eps, float *y) {
  __m512 total = _mm512_setzero_ps(), squares = total;
  for (int64_t i = 0; i < size; i += 16)
    total = _mm512_add_ps(total, _mm512_maskz_loadu_ps(first(size - i), x + i));
  __m512 mean = all(_mm512_reduce_add_ps(total) / (float)size);
  for (int64_t i = 0; i < size; i += 16) {
    __mmask16 mask = first(size - i);
    __m512 off = _mm512_maskz_sub_ps(mask, _mm512_maskz_loadu_ps(mask, x + i), mean);
    squares = _mm512_fmadd_ps(off, off, squares);
  }
  float variance = _mm512_reduce_add_ps(squares) / (float)size;
  /* beyond float32, 1 / variance would be 0 and hide that */
  __m512 scale = all(variance - variance + 1.0f / __builtin_sqrtf(variance + eps));
  for (int64_t i = 0; i < size; i += 16) {
    __mmask16 mask = first(size - i);
    __m512 off = _mm512_sub_ps(_mm512_maskz_loadu_ps(mask, x + i), mean);
    __m512 w = _mm512_mul_ps(scale, _mm512_maskz_loadu_ps(mask, weight + i));
    __m512 b = _mm512_maskz_loadu_ps(mask, bias + i);
    _mm512_mask_storeu_ps(y + i, mask, _mm512_fmadd_ps(off, w, b));
  }
}

/* float32 to 8 bits over the row's range, 0 included (Jacob et al. 2017, arXiv:1712.05877, eq. 3). */
static void round_row(const float *x, int64_t size, uint8_t *codes, float *step, float *lowest) {
  __m512 low = _mm512_setzero_ps(), high = low;
  __mmask16 bad = 0;
  for (int64_t i = 0; i < size; i += 16) {
    __m512 v = _mm512_maskz_loadu_ps(first(size - i), x + i);
    bad |= _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
    low = _mm512_min_ps(low, v);
    high = _mm512_max_ps(high, v);
  }
  *lowest = bad ? __builtin_nanf("") : _mm512_reduce_min_ps(low);
  *step = (_mm512_reduce_max_ps(high) - *lowest) / 255;
  *step = *step < 0x1p-126f ? 0x1p-126f : *step;
  __m512 scale = all(1 / *step), half = all(0.5f - *lowest / *step);
  for (int64_t i = 0; i < size; i += 16) {
    __m512 v = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(first(size - i), x + i), scale, half);
    _mm_storeu_si128((__m128i *)(codes + i), _mm512_cvtusepi32_epi8(_mm512_cvttps_epu32(v)));
  }
}

/* A float32 row in the form that a map of `kind` takes in. */
static void give_row(Kind kind, const float *x, int64_t size, Rows to, Scales scales, int64_t row) {
  uint32_t *lanes = to.lanes + row * to.stride;
  if (kind == INT8)
    round_row(x, size, (uint8_t *)lanes, scales.steps + row, scales.lowest + row);
  else if (kind == FLOAT32)
    memcpy(lanes, x, (size_t)size * sizeof *x);
  else
    for (int64_t i = 0; i < size; i += 16)
      store_bfloat16((uint16_t *)lanes + i, 0xffff, _mm512_maskz_loadu_ps(first(size - i), x + i));
}
