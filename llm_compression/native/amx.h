/* Tiles by the matrix units of AMX, which take what the vector instructions take: a block of 16
   lanes by 16 columns of a panel is what the units call a tile of B.

   Four sums of 16 by 16 stand in the units' registers, two tiles of rows and two of columns. The
   registers' shape is kept until another number of rows comes; who stops multiplying releases
   them, as a thread that is put aside has to have them stored. */

#pragma once

#include <cpuid.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tile.h"

enum { AMX_ROWS = 32, AMX_LANES = 16 };

static _Thread_local int amx_shape; /* rows that this thread's registers are set for, or 0 */

/* Whether the processor has the units, and the system lets this process use them. */
static int amx_allowed(void) {
  enum { ASK = 0x1023, TILE_DATA = 18 }; /* arch_prctl(2), ARCH_REQ_XCOMP_PERM */
  unsigned a, b, c, d;
  unsigned units = 1u << 22 | 1u << 24 | 1u << 25; /* amx-bf16, amx-tile, amx-int8 */
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & units) == units &&
         !syscall(SYS_arch_prctl, ASK, TILE_DATA);
}

static void amx_set(int rows) {
  struct {
    uint8_t palette, start, reserved[14];
    uint16_t bytes[16]; /* of a row */
    uint8_t rows[16];
  } shape = {.palette = 1};
  int above = rows < 16 ? rows : 16;
  const int counts[] = {above, above, rows - above, rows - above, above, rows - above, 16, 16};
  for (int i = 0; i < 8; i++)
    if (counts[i]) {
      shape.bytes[i] = 64;
      shape.rows[i] = (uint8_t)counts[i];
    }
  _tile_loadconfig(&shape);
  amx_shape = rows;
}

static void amx_release(void) {
  if (amx_shape)
    _tile_release();
  amx_shape = 0;
}

/* 16 lanes of up to 32 rows and of 32 columns: rows in registers 4 and 5, columns in 6 and 7. */
#define AMX_STEP(multiply, rows, a, stride, columns)  \
  do {  \
    _tile_loadd(4, a, (stride) * 4);  \
    _tile_loadd(6, columns, 128);  \
    _tile_loadd(7, (columns) + 16, 128);  \
    multiply(0, 4, 6);  \
    multiply(1, 4, 7);  \
    if (rows > 16) {  \
      _tile_loadd(5, (a) + 16 * (stride), (stride) * 4);  \
      multiply(2, 5, 6);  \
      multiply(3, 5, 7);  \
    }  \
  } while (0)

/* As the tiles of product.h. Lanes that do not fill a step have zeros put behind them. */
#define AMX_TILE(name, multiply)  \
  static void name(int rows, const uint32_t *a, int64_t stride, const uint32_t *panel,  \
                   int64_t lanes, Fetch fetch, uint32_t *sums, int64_t sums_stride) {  \
    if (amx_shape != rows)  \
      amx_set(rows);  \
    _tile_zero(0);  \
    _tile_zero(1);  \
    if (rows > 16) {  \
      _tile_zero(2);  \
      _tile_zero(3);  \
    }  \
    for (; lanes >= AMX_LANES; lanes -= AMX_LANES, a += AMX_LANES, panel += AMX_LANES * PANEL) {  \
      for (int i = 0; i < AMX_LANES && fetch.step; i++, fetch.at += fetch.step)  \
        prefetch_far(fetch.at);  \
      AMX_STEP(multiply, rows, a, stride, panel);  \
    }  \
    if (lanes) {  \
      _Alignas(64) uint32_t left[AMX_ROWS * AMX_LANES], columns[AMX_LANES * PANEL] = {0};  \
      for (int r = 0; r < rows; r++)  \
        _mm512_store_si512(left + r * AMX_LANES,  \
                           _mm512_maskz_loadu_epi32(first(lanes), a + r * stride));  \
      memcpy(columns, panel, (size_t)lanes * 128);  \
      AMX_STEP(multiply, rows, left, AMX_LANES, columns);  \
    }  \
    _tile_stored(0, sums, sums_stride * 4);  \
    _tile_stored(1, sums + 16, sums_stride * 4);  \
    if (rows > 16) {  \
      _tile_stored(2, sums + 16 * sums_stride, sums_stride * 4);  \
      _tile_stored(3, sums + 16 * sums_stride + 16, sums_stride * 4);  \
    }  \
  }

AMX_TILE(amx_bfloat16, _tile_dpbf16ps)
AMX_TILE(amx_int8, _tile_dpbusd)
