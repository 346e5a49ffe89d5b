/* softmax(Q K^T) V of many sequences; Vaswani et al. 2017, arXiv:1706.03762, eq. 1.

   A tile of queries has its scores, their softmax and the mean of the values
   one after another in cache; keys and values of a head are packed once for all its tiles. */

#pragma once

#include <math.h>

#include "product.h"
#include "team.h"

typedef struct {
  int64_t count;
  const int64_t *starts;   /* (count + 1) the first row of each sequence, and one behind the last */
  const float *key_scores; /* (rows), added to every score of the key, or NULL */
} Sequences;

typedef struct {
  Kind kind, to_kind; /* of queries, keys and values; of what comes of them */
  int64_t count, size;
  int causal;
  float scale; /* of scores, more than 0 */
  int amx;
} Heads;

enum { PART = 512 }; /* queries of a task where there are few heads for many threads */

typedef struct {
  uint32_t *keys, *values, *scores;
} AttentionScratch;

INLINE int64_t longest(Sequences sequences) {
  int64_t most = 0;
  for (int64_t s = 0; s < sequences.count; s++) {
    int64_t tokens = sequences.starts[s + 1] - sequences.starts[s];
    most = tokens > most ? tokens : most;
  }
  return most;
}

INLINE int64_t scores_stride(int64_t tokens) { return ceil_div(tokens, PANEL) * PANEL + 16; }

INLINE int64_t keys_lanes(const Heads *heads, int64_t tokens) {
  return ceil_div(tokens, PANEL) * PANEL * lanes_of(heads->kind, heads->size);
}

INLINE int64_t values_lanes(const Heads *heads, int64_t tokens) {
  return ceil_div(heads->size, PANEL) * PANEL * lanes_of(heads->kind, tokens);
}

/* Lanes of memory that a thread needs for sequences of so many tokens. */
static int64_t attention_lanes(const Heads *heads, int64_t tokens) {
  return keys_lanes(heads, tokens) + values_lanes(heads, tokens) +
         product_of(heads->kind, heads->amx)->rows * scores_stride(tokens);
}

static AttentionScratch attention_scratch(const Heads *heads, int64_t tokens, uint32_t *memory) {
  uint32_t *values = memory + keys_lanes(heads, tokens);
  return (AttentionScratch){memory, values, values + values_lanes(heads, tokens)};
}

/* Values (tokens, size) -> panels, whose lanes are tokens. */
static void pack_values(Kind kind, const uint32_t *from, int64_t stride, int64_t tokens,
                        int64_t size, uint32_t *panels) {
  for (int64_t column = 0; column < size; column += PANEL)
    for (int64_t lane = 0; lane < lanes_of(kind, tokens); lane++, panels += PANEL)
      for (int half = 0; half < PANEL; half += 16) {
        int64_t at = column + half;
        __mmask16 mask = first(size - at);
        if (kind == FLOAT32) {
          __m512i row = _mm512_maskz_loadu_epi32(mask, from + lane * stride + at);
          _mm512_storeu_si512(panels + half, row);
          continue;
        }
        const uint16_t *row = (const uint16_t *)(from + 2 * lane * stride) + at;
        __m512i low = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, row));
        __m512i high = _mm512_setzero_si512();
        if (2 * lane + 1 < tokens)
          high = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, row + 2 * stride));
        _mm512_storeu_si512(panels + half, _mm512_or_si512(low, _mm512_slli_epi32(high, 16)));
      }
}

/* Products of one query with keys -> powers of e of the first `seen`, which are multiplied by the
   scale first, and 0 up to `tokens`; returns their sum. */
static float powers(const Heads *heads, float *scores, const float *added, int64_t seen,
                    int64_t tokens) {
  __m512 top = all(-INFINITY), sum = _mm512_setzero_ps(), scale = all(heads->scale);
  for (int64_t i = 0; i < seen; i += 16) {
    __mmask16 mask = first(seen - i);
    __m512 score = _mm512_mask_loadu_ps(all(-INFINITY), mask, scores + i);
    if (added) {
      score = _mm512_fmadd_ps(score, scale, _mm512_maskz_loadu_ps(mask, added + i));
      _mm512_storeu_ps(scores + i, score);
    }
    top = _mm512_max_ps(top, score);
  }
  scale = added ? all(1.0f) : scale;
  top = _mm512_mul_ps(all(_mm512_reduce_max_ps(top)), scale);
  for (int64_t i = 0; i < tokens; i += 16) {
    __m512 score = _mm512_mul_ps(_mm512_loadu_ps(scores + i), scale); /* rounded, as the top is */
    __m512 power = exp16(_mm512_sub_ps(score, top));
    power = _mm512_maskz_mov_ps(first(seen - i), power);
    sum = _mm512_add_ps(sum, power);
    if (heads->kind == FLOAT32)
      _mm512_storeu_ps(scores + i, power);
    else /* never in front of what is still to be read */
      store_bfloat16((uint16_t *)scores + i, 0xffff, power);
  }
  return _mm512_reduce_add_ps(sum);
}

/* Rows from a number on; of bfloat16 an even one. */
INLINE Rows rows_at(Kind kind, Rows rows, int64_t row, int64_t number) {
  rows.lanes += row * rows.stride + (kind == FLOAT32 ? number : number / 2);
  return rows;
}

/* The means of a tile of values (rows, 32), as far as the head has them. */
static void give_means(const Heads *heads, const uint32_t *means, const float *sums, int rows,
                       int64_t column, Rows to) {
  for (int r = 0; r < rows; r++)
    for (int half = 0; half < PANEL; half += 16) {
      __mmask16 mask = first(heads->size - column - half);
      __m512 mean = _mm512_div_ps(_mm512_loadu_ps(means + r * PANEL + half), all(sums[r]));
      uint32_t *at = to.lanes + r * to.stride;
      if (heads->to_kind == FLOAT32)
        _mm512_mask_storeu_ps((float *)at + column + half, mask, mean);
      else
        store_bfloat16((uint16_t *)at + column + half, mask, mean);
    }
}

/* A tile of queries, the first of them the sequence's `query`th, by packed keys and values. */
static void attend(const Heads *heads, Rows queries, int64_t query, int rows, int64_t tokens,
                   const float *added, AttentionScratch scratch, Rows to) {
  const Product *by = product_of(heads->kind, heads->amx);
  int64_t stride = scores_stride(tokens), lanes = lanes_of(by->kind, heads->size);
  int64_t seen = heads->causal ? query + rows : tokens;
  float sums[MOST_ROWS];
  _Alignas(64) uint32_t means[MOST_ROWS * PANEL];
  for (int64_t key = 0; key < seen; key += PANEL)
    by->tile(rows, queries.lanes, queries.stride, scratch.keys + key * lanes, lanes,
             (Fetch){scratch.keys, 0}, scratch.scores + key, stride);
  for (int r = 0; r < rows; r++)
    sums[r] = powers(heads, (float *)(scratch.scores + r * stride), added,
                     heads->causal ? query + r + 1 : seen, seen);
  for (int64_t column = 0; column < heads->size; column += PANEL) {
    by->tile(rows, scratch.scores, stride, scratch.values + column * lanes_of(by->kind, tokens),
             lanes_of(by->kind, seen), (Fetch){scratch.values, 0}, means, PANEL);
    give_means(heads, means, sums, rows, column, to);
  }
}

/* Queries `from` to `to` of one head of one sequence, whose first row is `row`. */
static void attend_head(const Heads *heads, Rows qkv, int64_t row, int64_t tokens, int64_t head,
                        int64_t from, int64_t to, const float *added, AttentionScratch scratch,
                        Rows mixed) {
  int64_t number = head * heads->size, width = heads->count * heads->size;
  Rows keys = rows_at(heads->kind, qkv, row, width + number);
  Rows values = rows_at(heads->kind, qkv, row, 2 * width + number);
  int64_t seen = heads->causal ? to : tokens, lanes = lanes_of(heads->kind, heads->size);
  for (int64_t key = 0; key < seen; key += PANEL) {
    const uint32_t *columns[PANEL];
    for (int64_t i = 0; i < PANEL; i++)
      columns[i] = key + i < seen ? keys.lanes + (key + i) * keys.stride : NULL;
    pack_panel(columns, lanes, scratch.keys + key * lanes);
  }
  pack_values(heads->kind, values.lanes, values.stride, tokens, heads->size, scratch.values);
  int64_t tiles = ceil_div(to - from, product_of(heads->kind, heads->amx)->rows);
  for (int64_t t = 0; t < tiles; t++) {
    int64_t query = from + t * (to - from) / tiles;
    int rows = (int)(from + (t + 1) * (to - from) / tiles - query);
    attend(heads, rows_at(heads->kind, qkv, row + query, number), query, rows, tokens, added,
           scratch, rows_at(heads->to_kind, mixed, row + query, number));
  }
}

/* (rows, 3 D) of queries, keys and values -> (rows, D), by the team. */
static void attention(Team *team, const Heads *heads, Sequences sequences, Rows qkv,
                      AttentionScratch scratch, Rows mixed) {
  int64_t most = longest(sequences), pairs = sequences.count * heads->count;
  int64_t part = pairs >= 3 * team->size || most < PART ? most : PART, parts = ceil_div(most, part);
  int64_t together = sequences.count >= TASKS * team->size ? heads->count : 1;
  int64_t groups = heads->count / together * parts;
  TEAM_TASKS(team, task, sequences.count * groups) {
    int64_t s = task / groups, group = task % groups / parts, from = task % parts * part;
    int64_t row = sequences.starts[s], tokens = sequences.starts[s + 1] - row;
    int64_t to = from + part < tokens ? from + part : tokens;
    const float *added = sequences.key_scores ? sequences.key_scores + row : NULL;
    for (int64_t h = group * together; h < (group + 1) * together && from < to; h++)
      attend_head(heads, qkv, row, tokens, h, from, to, added, scratch, mixed);
  }
  team_wait(team);
}
