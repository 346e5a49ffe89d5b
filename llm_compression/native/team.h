/* The threads that run one pass together, each taking the next task of a stage until none is left.

   They are those of the OpenMP that torch has loaded: a second pool would fight with it for cores.
   Nobody waits for a thread, only for tasks that one has taken: threads that sleep are late by
   milliseconds where the system wakes them on the core of who calls, as it does in virtual
   machines, and until then the others do the work. */

#pragma once

#include <sched.h>
#include <stdatomic.h>

#include "vector.h"

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
  _Alignas(64) atomic_long next; /* the stage, times STAGE, and its next task */
  _Alignas(64) atomic_long done; /* tasks of the stage */
  _Alignas(64) atomic_int arrived;
} Meeting;

typedef struct {
  Meeting *meeting; /* of all threads */
  int size, number; /* of threads; of this one */
  long stage;       /* that this thread is at */
  int working;      /* on a task of it */
} Team;

/* This thread's part in a team of so many; OpenMP may have given fewer. */
static Team team_here(Meeting *meeting, const OpenMP *openmp, int threads) {
  if (threads == 1)
    return (Team){.meeting = meeting, .size = 1};
  return (Team){.meeting = meeting, .size = openmp->size(), .number = openmp->number()};
}

static const long STAGE = 1l << 32;

INLINE void next_stage(const Team *team) {
  atomic_store_explicit(&team->meeting->done, 0, memory_order_relaxed);
  atomic_store_explicit(&team->meeting->next, (team->stage + 1) * STAGE, memory_order_release);
}

/* A stage without a task, which nobody can be the last to do. */
static long skip_stage(const Team *team) {
  long here = team->stage * STAGE;
  atomic_compare_exchange_strong_explicit(&team->meeting->next, &here, here + STAGE,
                                          memory_order_release, memory_order_relaxed);
  return -1;
}

/* The next of so many tasks for this thread, which is done with the one before, or -1. */
static long next_task(Team *team, long count) {
  Meeting *meeting = team->meeting;
  if (team->working &&
      atomic_fetch_add_explicit(&meeting->done, 1, memory_order_acq_rel) == count - 1)
    next_stage(team);
  team->working = 0;
  if (!count)
    return skip_stage(team);
  long next = atomic_load_explicit(&meeting->next, memory_order_acquire);
  while (next / STAGE == team->stage && next % STAGE < count)
    if (atomic_compare_exchange_weak_explicit(&meeting->next, &next, next + 1,
                                              memory_order_acquire, memory_order_acquire)) {
      team->working = 1;
      return next % STAGE;
    }
  return -1;
}

/* Each of tasks 0 to count - 1 on one thread; a stage of them ends with team_wait. */
#define TEAM_TASKS(team, task, count)  \
  for (long task; (task = next_task(team, count)) >= 0;)

/* Spins for a while, and then offers the core to others. */
INLINE void wait_once(int spins) {
  if (spins < SPINS)
    _mm_pause();
  else
    sched_yield();
}

/* Until all tasks of the stage are done. */
static void team_wait(Team *team) {
  for (int spins = 0; atomic_load_explicit(&team->meeting->next, memory_order_acquire) / STAGE ==
                      team->stage;
       spins++)
    wait_once(spins);
  team->stage++;
}

/* Until all threads are here, the late ones too. OpenMP would wait for them without offering the
   core, which may be the one that they are to run on. */
static void team_leave(const Team *team) {
  atomic_fetch_add_explicit(&team->meeting->arrived, 1, memory_order_relaxed);
  for (int spins = 0;
       atomic_load_explicit(&team->meeting->arrived, memory_order_relaxed) < team->size; spins++)
    wait_once(spins);
}
