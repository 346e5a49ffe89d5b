/* The threads that run one pass together, each taking the next task of a stage until none is left.

   They are those of the OpenMP that torch has loaded: a second pool would fight with it for cores. */

#pragma once

#include <immintrin.h>
#include <sched.h>
#include <stdatomic.h>

enum {
  SPINS = 4000, /* before a waiting thread offers its core to others, some 50 us */
  TASKS = 8     /* of a stage for each thread, so that none waits long for the last */
};

/* What is needed of an OpenMP, GNU's libgomp. */
typedef struct {
  void (*parallel)(void (*)(void *), void *, unsigned, unsigned);
  int (*size)(void);
  int (*number)(void);
} OpenMP;

/* Runs `work` on so many threads, this one among them; OpenMP may give fewer. */
static void in_parallel(const OpenMP *openmp, int threads, void (*work)(void *), void *of) {
  if (threads == 1)
    work(of);
  else
    openmp->parallel(work, of, (unsigned)threads, 0);
}

typedef struct {
  _Alignas(64) atomic_long next; /* task of the stage */
  _Alignas(64) atomic_int arrived;
  _Alignas(64) atomic_int stage;
} Meeting;

typedef struct {
  Meeting *meeting; /* of all threads */
  int size, number; /* of threads; of this one */
} Team;

/* Each of tasks 0 to count - 1 on one thread; a stage of them ends with team_wait. */
#define TEAM_TASKS(team, task, count)  \
  for (long task; (task = atomic_fetch_add_explicit(&(team)->meeting->next, 1,  \
                                                    memory_order_relaxed)) < (count);)

static void team_wait(const Team *team) {
  Meeting *meeting = team->meeting;
  int stage = atomic_load_explicit(&meeting->stage, memory_order_relaxed);
  if (atomic_fetch_add_explicit(&meeting->arrived, 1, memory_order_acq_rel) == team->size - 1) {
    atomic_store_explicit(&meeting->arrived, 0, memory_order_relaxed);
    atomic_store_explicit(&meeting->next, 0, memory_order_relaxed);
    atomic_store_explicit(&meeting->stage, stage + 1, memory_order_release);
    return;
  }
  for (int spins = 0; atomic_load_explicit(&meeting->stage, memory_order_acquire) == stage;
       spins++) {
    if (spins < SPINS)
      _mm_pause();
    else
      sched_yield();
  }
}
