/* What an encoder's blocks and one pass through them are, and where the states between lie. */

#pragma once

#include "attention.h"
#include "stored.h"

typedef struct {
  const float *weight, *bias;
  float eps;
} Norm;

typedef struct {
  Linear qkv, o, up, down;
  Norm attn_norm, mlp_norm;
} Block;

typedef struct {
  Kind kind;
  int amx; /* whether products are by its matrix units, where a kind has them */
  Heads heads;
  int norm_first;
  Activation activation;
  int64_t depth, width, inner;
  const Block *blocks;
} Core;

INLINE int is_packed(const Core *core) { return core->blocks[0].o.panels != NULL; }

/* Of a pass, for who wants to know where its time goes. */
typedef enum { LINEAR_MAPS, ATTENTION, NORMS, COPIES, PARTS } Part;

typedef struct {
  int64_t rows;
  Sequences sequences;
  const int64_t *wanted; /* (wanted_rows) rows that the last block gives out, or NULL for all */
  int64_t wanted_rows;
  float *taps;         /* (2 depth, rows, width) what each sublayer gives out, or NULL */
  const float *hidden; /* (rows, width) */
  float *to;           /* (rows or wanted_rows, width) */
  double *seconds;     /* (PARTS) to which the pass adds, or NULL */
} Pass;

enum { CHUNK = 1022 }; /* rows whose inner states exist at a time: 73 tiles */

typedef struct {
  Rows hidden, given, qkv, mixed, inner, codes;
  Rows chosen_hidden, chosen_mixed; /* of the rows that are wanted */
  Scales scales, inner_scales;
  uint32_t *attention; /* attention_lanes for each thread */
  uint32_t *turned;    /* turned_lanes for each thread, where weights are as they are stored */
  int64_t attention_lanes, turned_lanes;
} Scratch;

INLINE uint32_t *take(uint32_t *memory, int64_t *used, int64_t lanes) {
  uint32_t *at = memory ? memory + *used : NULL;
  *used += ceil_div(lanes, 16) * 16;
  return at;
}

INLINE Rows take_rows(uint32_t *memory, int64_t *used, int64_t rows, Kind kind, int64_t numbers) {
  int64_t stride = stride_of(kind, numbers);
  return (Rows){take(memory, used, rows * stride), stride};
}

INLINE Scales take_scales(uint32_t *memory, int64_t *used, int64_t rows) {
  float *steps = (float *)take(memory, used, rows), *lowest = (float *)take(memory, used, rows);
  return (Scales){steps, lowest};
}

/* Lays scratch out in memory, which may be NULL, and returns how many lanes it takes. */
static int64_t lay_out(const Core *core, const Pass *pass, int threads, uint32_t *memory,
                       Scratch *is) {
  Kind kind = core->kind, attends = core->heads.kind, mixed = core->heads.to_kind;
  int64_t used = 0, rows = pass->rows, wanted = pass->wanted_rows, width = core->width;
  int64_t most = rows > wanted ? rows : wanted; /* a row may be wanted more than once */
  int64_t chunk = most < CHUNK ? most : CHUNK, rounded = kind == INT8 ? chunk : 0;
  is->hidden = take_rows(memory, &used, rows, FLOAT32, width);
  is->given = take_rows(memory, &used, most, kind, width);
  is->qkv = take_rows(memory, &used, rows, attends, 3 * width);
  is->mixed = take_rows(memory, &used, rows, mixed, width);
  is->inner = take_rows(memory, &used, chunk, kind == INT8 ? FLOAT32 : kind, core->inner);
  is->codes = take_rows(memory, &used, rounded, INT8, core->inner);
  is->chosen_hidden = take_rows(memory, &used, wanted, FLOAT32, width);
  is->chosen_mixed = take_rows(memory, &used, wanted, mixed, width);
  is->scales = take_scales(memory, &used, most);
  is->inner_scales = take_scales(memory, &used, chunk);
  is->attention_lanes = attention_lanes(&core->heads, longest(pass->sequences)) / 16 * 16 + 16;
  is->attention = take(memory, &used, threads * is->attention_lanes);
  is->turned_lanes = is_packed(core) ? 0 : PANEL * (width > core->inner ? width : core->inner);
  is->turned = take(memory, &used, threads * is->turned_lanes);
  return used;
}
