/* All blocks of an encoder in one call: norms, attention and MLP of rows that stay in one place.

   Hidden states are float32 in every kind; the kind is that of the products. Threads go through
   the same stages side by side, sharing each one's tasks. */

#pragma once

#include <time.h>

#include "pass.h"

enum { NEAR = 8 }; /* rows of a small task */

typedef struct {
  const Core *core;
  const Pass *pass;
  const OpenMP *openmp;
  int threads;
  Scratch scratch;
  Meeting meeting;
} Run;

/* What a thread works on: the same for all. */
typedef struct {
  const Core *core;
  const Pass *pass;
  const Product *by;
  const Scratch *scratch;
  Team team;
  Rows hidden, mixed; /* those of rows that are still wanted */
  int64_t rows;
  double since; /* the start of the part that is being done */
} Worker;

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* Adds the time since the last call to a part. */
static void charge(Worker *w, Part part) {
  if (w->team.number || !w->pass->seconds)
    return;
  double before = w->since;
  w->since = now();
  w->pass->seconds[part] += w->since - before;
}

INLINE float *numbers_of(Rows rows, int64_t row) {
  return (float *)rows_at(FLOAT32, rows, row, 0).lanes;
}

/* Copies rows, those of `numbers` where it is given. */
static void copy(Team *team, const uint32_t *from, int64_t from_stride, const int64_t *numbers,
                 int64_t rows, int64_t lanes, uint32_t *to, int64_t to_stride) {
  TEAM_TASKS(team, task, ceil_div(rows, NEAR)) {
    for (int64_t r = task * NEAR; r < rows && r < (task + 1) * NEAR; r++)
      memcpy(to + r * to_stride, from + (numbers ? numbers[r] : r) * from_stride,
             (size_t)lanes * sizeof *to);
  }
  team_wait(team);
}

/* Rows in the form that maps take in, normed where there is a norm: `in_place`, these too. */
static void give(Worker *w, const Norm *norm, int in_place, Rows from, int64_t size, int64_t rows,
                 Rows to, Scales scales) {
  Kind kind = w->core->kind;
  TEAM_TASKS(&w->team, task, ceil_div(rows, NEAR)) {
    for (int64_t r = task * NEAR; r < rows && r < (task + 1) * NEAR; r++) {
      float *x = numbers_of(from, r), other[norm ? size : 1];
      float *y = !norm || in_place ? x : kind == FLOAT32 ? numbers_of(to, r) : other;
      if (norm)
        norm_row(x, size, norm->weight, norm->bias, norm->eps, y);
      if (kind != FLOAT32)
        give_row(kind, y, size, to, scales, r);
    }
  }
  team_wait(&w->team);
  charge(w, NORMS);
}

static Scales scales_from(Scales scales, int64_t row) {
  return (Scales){scales.steps + row, scales.lowest + row};
}

static void tap(Worker *w, int64_t number) {
  int64_t width = w->core->width;
  if (!w->pass->taps)
    return;
  copy(&w->team, w->hidden.lanes, w->hidden.stride, NULL, w->rows, width,
       (uint32_t *)w->pass->taps + number * w->pass->rows * width, width);
  charge(w, COPIES);
}

/* Leaves of hidden and mixed states those that are wanted in the end. */
static void choose(Worker *w) {
  const Scratch *s = w->scratch;
  const Pass *pass = w->pass;
  copy(&w->team, w->hidden.lanes, w->hidden.stride, pass->wanted, pass->wanted_rows,
       w->core->width, s->chosen_hidden.lanes, s->chosen_hidden.stride);
  copy(&w->team, w->mixed.lanes, w->mixed.stride, pass->wanted, pass->wanted_rows,
       lanes_of(w->core->heads.to_kind, w->core->width), s->chosen_mixed.lanes,
       s->chosen_mixed.stride);
  w->hidden = s->chosen_hidden;
  w->mixed = s->chosen_mixed;
  w->rows = pass->wanted_rows;
  charge(w, COPIES);
}

/* The rows that maps of hidden states take in: in float32 these themselves, if they are normed. */
INLINE Rows given(const Worker *w) {
  return w->core->kind == FLOAT32 && !w->core->norm_first ? w->hidden : w->scratch->given;
}

/* Rows through a linear map. */
static void through(Worker *w, const Linear *map, Rows from, Scales scales, int64_t rows,
                    Target to) {
  const Scratch *s = w->scratch;
  if (map->panels)
    linear(&w->team, w->by, map, from, scales, rows, to);
  else
    stored_linear(&w->team, map, from, rows, to, s->turned + w->team.number * s->turned_lanes);
  charge(w, LINEAR_MAPS);
}

static void attention_sublayer(Worker *w, const Block *block, int last) {
  const Core *core = w->core;
  const Scratch *s = w->scratch;
  AttentionScratch own = attention_scratch(&core->heads, longest(w->pass->sequences),
                                           s->attention + w->team.number * s->attention_lanes);
  through(w, &block->qkv, given(w), s->scales, w->rows,
         (Target){core->heads.kind, s->qkv, NONE, 0});
  attention(&w->team, &core->heads, w->pass->sequences, s->qkv, own, w->mixed);
  charge(w, ATTENTION);
  if (last && w->pass->wanted)
    choose(w);
  if (core->kind == INT8)
    give(w, NULL, 0, w->mixed, core->width, w->rows, s->given, s->scales);
  Rows mixed = core->kind == INT8 ? s->given : w->mixed;
  through(w, &block->o, mixed, s->scales, w->rows,
         (Target){FLOAT32, w->hidden, NONE, 1});
}

static void mlp_sublayer(Worker *w, const Block *block) {
  const Core *core = w->core;
  const Scratch *s = w->scratch;
  Kind kind = core->kind, inner_kind = kind == INT8 ? FLOAT32 : kind;
  Rows from = given(w);
  for (int64_t row = 0; row < w->rows; row += CHUNK) {
    int64_t rows = w->rows - row < CHUNK ? w->rows - row : CHUNK;
    through(w, &block->up, rows_at(FLOAT32, from, row, 0),
           scales_from(s->scales, row), rows, (Target){inner_kind, s->inner, core->activation, 0});
    if (kind == INT8)
      give(w, NULL, 0, s->inner, core->inner, rows, s->codes, s->inner_scales);
    through(w, &block->down, kind == INT8 ? s->codes : s->inner, s->inner_scales, rows,
           (Target){FLOAT32, rows_at(FLOAT32, w->hidden, row, 0), NONE, 1});
  }
}

static void give_hidden(Worker *w, const Norm *norm, int in_place) {
  give(w, norm, in_place, w->hidden, w->core->width, w->rows, w->scratch->given,
       w->scratch->scales);
}

static void run_blocks(void *of) {
  Run *run = of;
  const Core *core = run->core;
  const Pass *pass = run->pass;
  Worker w = {.core = core,
              .pass = pass,
              .by = product_of(core->kind, core->amx),
              .scratch = &run->scratch,
              .team = team_here(&run->meeting, run->openmp, run->threads),
              .hidden = run->scratch.hidden,
              .mixed = run->scratch.mixed,
              .rows = pass->rows,
              .since = pass->seconds ? now() : 0};
  copy(&w.team, (const uint32_t *)pass->hidden, core->width, NULL, w.rows, core->width,
       w.hidden.lanes, w.hidden.stride);
  charge(&w, COPIES);
  if (!core->norm_first)
    give_hidden(&w, NULL, 0);
  for (int64_t i = 0; i < core->depth; i++) {
    const Block *block = core->blocks + i;
    if (core->norm_first)
      give_hidden(&w, &block->attn_norm, 0);
    attention_sublayer(&w, block, i == core->depth - 1);
    if (!core->norm_first)
      give_hidden(&w, &block->attn_norm, 1);
    tap(&w, 2 * i);
    if (core->norm_first)
      give_hidden(&w, &block->mlp_norm, 0);
    mlp_sublayer(&w, block);
    if (!core->norm_first)
      give_hidden(&w, &block->mlp_norm, 1);
    tap(&w, 2 * i + 1);
  }
  copy(&w.team, w.hidden.lanes, w.hidden.stride, NULL, w.rows, core->width, (uint32_t *)pass->to,
       core->width);
  charge(&w, COPIES);
  amx_release();
  team_leave(&w.team);
}
