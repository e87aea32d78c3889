/* What Python hands to the kernel, as `c_kernel.py` declares it. */

#ifndef AUTOINIT_KERNEL_H
#define AUTOINIT_KERNEL_H

#include <stdint.h>

#define KERNEL_VERSION 2
#define MOST_AXES 8
#define PIECE (1 << 17) /* values that one thread takes at a time */
#define BLOCK_BITS 18

extern uint64_t autoinit_table[1 << BLOCK_BITS];

/* SplitMix64 from seed 0. */
static inline uint64_t scattered(uint64_t number) {
  uint64_t x = number * 0x9E3779B97F4A7C15u;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

enum dtype { FLOAT32, BFLOAT16, FLOAT16 };
enum family { UNIFORM, NORMAL };

/* One side of the median: see `truncation.Side`. */
typedef struct {
  float inner, rest;
  uint64_t below;
} side;

/* The coefficients of normal_quantile.py, in the order in which `c_kernel.py` writes them. */
typedef struct {
  float seam_value, smooth[7], poles[2][2];
  float log_2, log_level, log_poles[3][2];
  float tail_level, tail_poles[5][2];
} coefficients;

/* One distribution. Uniform: bits * scale * more_scale + mean. Normal: quantiles * scale + mean, clamped. */
typedef struct {
  const coefficients *numbers;
  int64_t first;
  side lower, upper;
  int32_t family;
  float step, scale, more_scale, mean, low, high;
} distribution;

/* Values of one stream for one tensor: sizes, steps in the stream and strides in memory of each axis, both in
   elements. The last axis has a step of 1. */
typedef struct {
  const distribution *drawn;
  void *out;
  uint64_t offset, twist;
  int64_t first, sizes[MOST_AXES], steps[MOST_AXES], strides[MOST_AXES];
  int32_t axes, dtype;
} request;

typedef void draw_function(const request *, int64_t from, int64_t to);

draw_function draw_baseline, draw_avx2, draw_avx512;

#endif
