/* Sums over the rows and columns of words, for weights/checksum.py, by a thread of its own.

   A Python thread would wait for Python's lock at every step, which a tokenizer that is being read
   meanwhile holds. */

#pragma once

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "vector.h"

enum { ROW_WORDS = 1021, PAGE = 4096 };

/* Some rows of 1,021 words of 64 bits, and where their sums go. */
typedef struct {
  const uint64_t *words;
  int64_t rows;
  uint64_t *row_sums, *column_sums;
} SumsTask;

typedef struct {
  pthread_t thread;
  const SumsTask *tasks;
  int64_t count;
  int core; /* of who started it */
} Sums;

INLINE __mmask8 first_words(int64_t count) { return (__mmask8)first(count > 8 ? 8 : count); }

static uint64_t add_row(const uint64_t *row, uint64_t *column_sums) {
  __m512i total = _mm512_setzero_si512();
  for (int64_t i = 0; i < ROW_WORDS; i += 8) {
    __mmask8 mask = first_words(ROW_WORDS - i);
    __m512i words = _mm512_maskz_loadu_epi64(mask, row + i);
    __m512i sums = _mm512_maskz_loadu_epi64(mask, column_sums + i);
    total = _mm512_add_epi64(total, words);
    _mm512_mask_storeu_epi64(column_sums + i, mask, _mm512_add_epi64(sums, words));
  }
  return (uint64_t)_mm512_reduce_add_epi64(total);
}

/* Pages that were summed are let go, or a file that is only checked would stay in memory. */
static void let_go(const void *start, const void *stop) {
  uintptr_t from = (uintptr_t)start / PAGE * PAGE;
  madvise((void *)from, (uintptr_t)stop - from, MADV_DONTNEED);
}

/* Leaves a core to who started this thread, on which the system may have put it, though others are
   idle, as it does in virtual machines. */
static void leave(int core) {
  cpu_set_t cores;
  if (sched_getaffinity(0, sizeof cores, &cores))
    return;
  CPU_CLR(core, &cores);
  if (CPU_COUNT(&cores))
    sched_setaffinity(0, sizeof cores, &cores);
}

static void *add_up(void *of) {
  const Sums *sums = of;
  leave(sums->core);
  for (const SumsTask *task = sums->tasks; task < sums->tasks + sums->count; task++) {
    for (int64_t row = 0; row < task->rows; row++)
      task->row_sums[row] = add_row(task->words + row * ROW_WORDS, task->column_sums);
    let_go(task->words, task->words + task->rows * ROW_WORDS);
  }
  return NULL;
}
