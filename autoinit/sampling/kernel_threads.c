/* Shares pieces of work out to a few threads, and says which instructions this processor has. */

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "kernel.h"

uint64_t autoinit_table[1 << BLOCK_BITS];

int32_t autoinit_kernel_version(void) { return KERNEL_VERSION; }

/* Called once, by the thread that loads the library. */
void autoinit_make_table(void) {
  for (uint64_t number = 0; number < 1 << BLOCK_BITS; number++) autoinit_table[number] = scattered(number);
}

/* How many of the variants baseline, AVX2 and AVX-512 can run here. */
int32_t autoinit_variants(void) {
#ifdef WITH_X86
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2")) return 1;
  if (!(__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw")))
    return 2;
  return 3;
#else
  return 1;
#endif
}

static draw_function *variant_of(int32_t number) {
#ifdef WITH_X86
  if (number == 2) return draw_avx512;
  if (number == 1) return draw_avx2;
#endif
  (void)number;
  return draw_baseline;
}

typedef struct {
  draw_function *draw;
  const request *requests;
  const int64_t *ends; /* of the pieces of each request, counted through */
  int64_t pieces;
  atomic_llong next;
} queue;

static int64_t values_of(const request *r) {
  int64_t count = 1;
  for (int axis = 0; axis < r->axes; axis++) count *= r->sizes[axis];
  return count;
}

static void *work(void *shared) {
  queue *q = shared;
  int64_t number = 0;
  for (int64_t piece; (piece = atomic_fetch_add(&q->next, 1)) < q->pieces;) {
    while (q->ends[number] <= piece) number++;
    int64_t count = values_of(&q->requests[number]), from = (piece - (number ? q->ends[number - 1] : 0)) * PIECE;
    q->draw(&q->requests[number], from, from + PIECE < count ? from + PIECE : count);
  }
  return NULL;
}

/* Carry out requests on at most so many threads, the calling one included. Returns 0, or 1 if memory is short. */
int32_t autoinit_draw(const request *requests, int64_t count, int32_t threads, int32_t variant) {
  int64_t *ends = malloc((size_t)count * sizeof *ends), pieces = 0, values = 0;
  if (count && !ends) return 1;
  for (int64_t i = 0; i < count; i++) {
    values += values_of(&requests[i]);
    ends[i] = pieces += (values_of(&requests[i]) + PIECE - 1) / PIECE;
  }
  queue q = {variant_of(variant), requests, ends, pieces, 0};
  int64_t useful = values / PIECE; /* A tensor smaller than a piece is too little work for a thread of its own. */
  int others = (int)((threads < useful ? threads : useful) - 1), started = 0;
  pthread_t *ids = others > 0 ? malloc((size_t)others * sizeof *ids) : NULL;
  /* Without more threads this one does it all. */
  while (ids && started < others && !pthread_create(&ids[started], NULL, work, &q)) started++;
  work(&q);
  for (int i = 0; i < started; i++) pthread_join(ids[i], NULL);
  free(ids);
  free(ends);
  return 0;
}
