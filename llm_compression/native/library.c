/* What Python calls: library.py has the same structures and functions. */

#include "core.h"
#include "sums.h"

/* Which kinds this processor has the instructions for, as bits 1 << kind. */
int core_kinds(void) {
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
      !__builtin_cpu_supports("avx512dq") || !__builtin_cpu_supports("avx512vl"))
    return 0;
  return 1 << FLOAT32 | (__builtin_cpu_supports("avx512bf16") ? 1 << BFLOAT16 : 0) |
         (__builtin_cpu_supports("avx512vnni") ? 1 << INT8 : 0);
}

/* Whether this process may use the matrix units of AMX. */
int core_amx(void) {
  return core_kinds() && amx_allowed();
}

typedef struct {
  const uint32_t *const *parts;
  int64_t count, rows, lanes;
  uint32_t *to;
  const OpenMP *openmp;
  int threads;
  Meeting meeting;
} Packing;

static void pack_panels(void *of) {
  Packing *p = of;
  Team team = team_here(&p->meeting, p->openmp, p->threads);
  TEAM_TASKS(&team, panel, ceil_div(p->count * p->rows, PANEL)) {
    const uint32_t *columns[PANEL];
    for (int64_t i = 0, row = panel * PANEL; i < PANEL; i++, row++)
      columns[i] =
          row < p->count * p->rows ? p->parts[row / p->rows] + row % p->rows * p->lanes : NULL;
    pack_panel(columns, p->lanes, p->to + panel * PANEL * p->lanes);
  }
  team_leave(&team);
}

/* Packs so many matrices of (rows, lanes) as one, their rows one after another. */
void core_pack(const uint32_t *const *parts, int64_t count, int64_t rows, int64_t lanes,
               const OpenMP *openmp, int threads, uint32_t *to) {
  Packing packing = {parts, count, rows, lanes, to, openmp, threads, {0}};
  in_parallel(openmp, threads, pack_panels, &packing);
}

/* Bytes of scratch memory that a pass needs. */
int64_t core_scratch(const Core *core, const Pass *pass, int threads) {
  Scratch scratch;
  return lay_out(core, pass, threads, NULL, &scratch) * (int64_t)sizeof(uint32_t);
}

/* Runs a pass by so many threads, in scratch memory of as many. */
void core_run(const Core *core, const Pass *pass, const OpenMP *openmp, int threads,
              void *memory) {
  if (!pass->rows)
    return;
  Run run = {.core = core, .pass = pass, .openmp = openmp, .threads = threads};
  lay_out(core, pass, threads, memory, &run.scratch);
  in_parallel(openmp, threads, run_blocks, &run);
}

/* Norms so many rows, which stand one after another. */
void core_norm(const Norm *norm, const float *rows, int64_t count, int64_t width, float *to) {
  for (int64_t r = 0; r < count; r++)
    norm_row(rows + r * width, width, norm->weight, norm->bias, norm->eps, to + r * width);
}

/* Starts to add up in the background. `sums` is NULL where the system has no thread for it; else the
   tasks stay where they are until sums_wait. */
void sums_start(const SumsTask *tasks, int64_t count, Sums **sums) {
  Sums *started = malloc(sizeof *started);
  *sums = started;
  if (!started)
    return;
  *started = (Sums){.tasks = tasks, .count = count, .core = sched_getcpu()};
  if (!pthread_create(&started->thread, NULL, add_up, started))
    return;
  free(started);
  *sums = NULL;
}

/* Waits until all is added up, which `sums` then no longer points to. */
void sums_wait(Sums **sums) {
  if (!*sums)
    return;
  pthread_join((*sums)->thread, NULL);
  free(*sums);
  *sums = NULL;
}
