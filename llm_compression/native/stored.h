/* Linear maps of a few rows by a matrix as it is stored: (out, in) float32, nothing packed.

   The rows are turned into a panel, and those of the matrix multiplied with it; what comes is
   turned back. Every sum adds up the same products in the same order as by a packed matrix. */

#pragma once

#include "linear.h"

enum { STORED_ROWS = 11 }; /* of the matrix in a tile: a third of a panel */

/* Up to 11 rows of the matrix, one behind the other, by a panel of which `halves` are rows. */
static void stored_tile(int rows, int halves, const uint32_t *a, int64_t in, const uint32_t *turned,
                        uint32_t *sums, int64_t sums_stride) {
  const uint32_t *ahead = a + rows * in; /* the next tile's */
  if (halves == 2)
    tile_over(FLOAT32, rows, 2, a, in, turned, in, ahead, 1, (Fetch){0}, sums, sums_stride);
  else
    tile_over(FLOAT32, rows, 1, a, in, turned, in, ahead, 1, (Fetch){0}, sums, sums_stride);
}

/* What a tile of `count` rows by panel number `panel` of the matrix would give: (count, 32). */
static void stored_panel(const Linear *map, int64_t panel, const uint32_t *turned, int64_t count,
                         uint32_t *sums) {
  enum { STRIDE = PANEL + 16 };
  _Alignas(64) uint32_t found[PANEL * STRIDE];
  const uint32_t *columns[PANEL] = {0};
  int64_t first_row = panel * PANEL, end = first_row + PANEL;
  end = end < map->out ? end : map->out;
  for (int64_t row = first_row, rows; row < end; row += rows) {
    int64_t inside = row % map->part_rows;
    rows = end - row < STORED_ROWS ? end - row : STORED_ROWS;
    rows = rows < map->part_rows - inside ? rows : map->part_rows - inside;
    stored_tile((int)rows, count > 16 ? 2 : 1, map->parts[row / map->part_rows] + inside * map->in,
                map->in, turned, found + (row - first_row) * STRIDE, STRIDE);
    for (int64_t r = row - first_row; r < row - first_row + rows; r++)
      columns[r] = found + r * STRIDE;
  }
  pack_panel(columns, count, sums);
}

/* `count` rows, no more than 32, through a map, by the team; `turned` is this thread's memory. */
static void stored_linear(Team *team, const Linear *map, Rows from, int64_t count, Target to,
                          uint32_t *turned) {
  int is_turned = 0;
  TEAM_TASKS(team, panel, ceil_div(map->out, PANEL)) {
    const uint32_t *columns[PANEL];
    for (int64_t i = 0; i < PANEL && !is_turned; i++)
      columns[i] = i < count ? from.lanes + i * from.stride : NULL;
    if (!is_turned)
      pack_panel(columns, map->in, turned);
    is_turned = 1;
    _Alignas(64) uint32_t sums[PANEL * PANEL];
    stored_panel(map, panel, turned, count, sums);
    finish(FLOAT32, map, sums, (Scales){0}, 0, (int)count, panel * PANEL, to);
  }
  team_wait(team);
}
