/* Which tiles products are done by, and how a matrix is packed for them. */

#pragma once

#include "amx.h"

/* How products of a kind are done. */
typedef struct {
  Kind kind;
  int rows; /* of a tile, at most */
  void (*tile)(int, const uint32_t *, int64_t, const uint32_t *, int64_t, Fetch, uint32_t *,
               int64_t);
} Product;

enum { MOST_ROWS = AMX_ROWS };

INLINE const Product *product_of(Kind kind, int amx) {
  static const Product by_vectors[] = {{FLOAT32, TILE_ROWS, tile_float32},
                                       {BFLOAT16, TILE_ROWS, tile_bfloat16},
                                       {INT8, TILE_ROWS, tile_int8}};
  static const Product by_matrices[] = {{FLOAT32, TILE_ROWS, tile_float32},
                                        {BFLOAT16, AMX_ROWS, amx_bfloat16},
                                        {INT8, AMX_ROWS, amx_int8}};
  return (amx ? by_matrices : by_vectors) + kind;
}

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
