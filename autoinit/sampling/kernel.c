/* Draws values on the CPU in one pass: the same bits as `sampler.py` and `transforms.py` give.

   Compiled once for each instruction set, as DRAW, and with -ffp-contract=off: each operation is rounded on its own.
   Plain C, whose loops compilers turn into vector instructions. */

#include "kernel.h"

#include <math.h>
#include <string.h>

#define WORDS 1024 /* at a time, so that they and their values stay in the first-level cache */
#define VALUES (2 * WORDS)
#define GROUP 16 /* values that are searched for tails together */

static void draw_words(const request *r, uint64_t first, int count, uint64_t *restrict out) {
  while (count > 0) {
    uint64_t block = scattered(first >> BLOCK_BITS), place = first & ((1u << BLOCK_BITS) - 1);
    int here = (1 << BLOCK_BITS) - (int)place < count ? (1 << BLOCK_BITS) - (int)place : count;
    const uint64_t *restrict table = autoinit_table + place;
    uint64_t multiplier = (r->twist + block) | 1, summand = r->offset + block;
    for (int i = 0; i < here; i++) {
      uint64_t x = table[i] * multiplier + summand;
      x = (x ^ (x >> 32)) * 0xD6E8FEB86659FD93u;
      out[i] = x ^ (x >> 32);
    }
    first += here, out += here, count -= here;
  }
}

static inline uint32_t as_word(float value) {
  uint32_t word;
  memcpy(&word, &value, 4);
  return word;
}

static inline float as_float(uint32_t word) {
  float value;
  memcpy(&value, &word, 4);
  return value;
}

static inline float central(float place, const coefficients *c) {
  float square = place * place, rest = 1.0f - square;
  float total = square * c->smooth[6];
  for (int i = 5; i > 0; i--) total = (total + c->smooth[i]) * square;
  total = total + c->smooth[0];
  float wide = c->poles[1][0] / (rest + c->poles[1][1]), sharp = c->poles[0][0] / (rest + c->poles[0][1]);
  float value = (total + wide) * place + sharp * place;
  return value < c->seam_value ? value : c->seam_value;
}

static inline float outer(float rest, const coefficients *c) {
  uint32_t word = as_word(rest);
  float doublings = (float)(127 - (int32_t)(word >> 23)), fraction = as_float((word & 0x7FFFFF) | 0x3F800000);
  float sum = c->log_poles[2][0] / (fraction + c->log_poles[2][1]);
  for (int i = 1; i >= 0; i--) sum = sum + c->log_poles[i][0] / (fraction + c->log_poles[i][1]);
  float log = doublings * c->log_2 + (sum - c->log_level);
  sum = c->tail_poles[4][0] / (log + c->tail_poles[4][1]);
  for (int i = 3; i >= 0; i--) sum = sum + c->tail_poles[i][0] / (log + c->tail_poles[i][1]);
  float value = sqrtf(log) * (c->tail_level - sum);
  return value > c->seam_value ? value : c->seam_value;
}

/* The least bits of a side's tail; those of the lower side inverted, so that both count outwards. */
static int64_t tail_from(int64_t first, const side *s) {
  int64_t least = (int64_t)INT32_MAX + 1 - (int64_t)s->below;
  return least > first ? least : first;
}

/* Put the quantiles of the tails in, where `out` has signs, and values of the centre. */
static void put_tails(const int32_t *restrict bits, int count, const distribution *d, float *restrict out) {
  int at[VALUES], found = 0;
  float rests[VALUES];
  const int64_t upper = tail_from(d->first, &d->upper), lower = tail_from(-d->first, &d->lower);
  const int32_t has_upper = upper <= INT32_MAX, has_lower = lower <= INT32_MAX;
  const int32_t top = has_upper ? (int32_t)upper : INT32_MAX, bottom = has_lower ? ~(int32_t)lower : INT32_MIN;
  if (!has_upper && !has_lower) return;
  for (int start = 0; start < count; start += GROUP) {
    int end = start + GROUP < count ? start + GROUP : count;
    int32_t any = 0;
    for (int i = start; i < end; i++) any |= ((bits[i] >= top) & has_upper) | ((bits[i] <= bottom) & has_lower);
    if (!any) continue;
    for (int i = start; i < end; i++) {
      at[found] = i;
      rests[found] = (float)((uint32_t)INT32_MAX - (uint32_t)(bits[i] ^ (bits[i] < d->first ? -1 : 0)));
      found += ((bits[i] >= top) & has_upper) | ((bits[i] <= bottom) & has_lower);
    }
  }
  const coefficients c = *d->numbers;
  for (int i = 0; i < found; i++)
    rests[i] = rests[i] * d->step + (out[at[i]] < 0 ? d->lower.rest : d->upper.rest);
  for (int i = 0; i < found; i++) rests[i] = outer(rests[i], &c);
  for (int i = 0; i < found; i++) out[at[i]] = as_float(as_word(rests[i]) | (as_word(out[at[i]]) & 0x80000000u));
}

/* Around the median: one formula for both sides, on 32-bit integers. */
static void symmetric(const int32_t *restrict bits, int count, const distribution *d, float *restrict out) {
  const coefficients c = *d->numbers;
  const float step = d->step, inner = d->upper.inner;
  for (int i = 0; i < count; i++) {
    int32_t sign = bits[i] >> 31;
    float value = central((float)(bits[i] ^ sign) * step + inner, &c);
    out[i] = as_float(as_word(value) | ((uint32_t)sign & 0x80000000u));
  }
}

/* Bounds of any kind: each side has numbers of its own. */
static void lopsided(const int32_t *restrict bits, int count, const distribution *d, float *restrict out) {
  const coefficients c = *d->numbers;
  const float step = d->step, lower = d->lower.inner, upper = d->upper.inner;
  const int64_t first = d->first;
  for (int i = 0; i < count; i++) {
    int64_t number = (int64_t)bits[i] - first, sign = number >> 63;
    float value = central((float)(uint32_t)(number ^ sign) * step + (sign ? lower : upper), &c);
    out[i] = as_float(as_word(value) | ((uint32_t)sign & 0x80000000u));
  }
}

static void transform(const int32_t *restrict bits, int count, const distribution *d, float *restrict out) {
  const float scale = d->scale, more = d->more_scale, mean = d->mean, low = d->low, high = d->high;
  if (d->family == UNIFORM) {
    for (int i = 0; i < count; i++) out[i] = (float)bits[i] * scale;
    if (more != 1.0f)
      for (int i = 0; i < count; i++) out[i] = out[i] * more;
  } else {
    if (d->first == 0 && d->lower.inner == d->upper.inner)
      symmetric(bits, count, d, out);
    else
      lopsided(bits, count, d, out);
    put_tails(bits, count, d, out);
    for (int i = 0; i < count; i++) out[i] = out[i] * scale;
  }
  if (mean != 0.0f)
    for (int i = 0; i < count; i++) out[i] = out[i] + mean;
  if (low > -INFINITY || high < INFINITY)
    for (int i = 0; i < count; i++) {
      float value = out[i] < low ? low : out[i];
      out[i] = value > high ? high : value;
    }
}

static inline uint16_t as_bfloat16(float value) {
  uint32_t word = as_word(value);
  return (uint16_t)((word + 0x7FFF + ((word >> 16) & 1)) >> 16);
}

static inline uint16_t as_float16(float value) {
  uint32_t word = as_word(value), sign = (word >> 16) & 0x8000, size = word & 0x7FFFFFFF;
  /* Below 2**-14 the sum with 1/2 rounds to the step of half precision's subnormal numbers. */
  uint32_t subnormal = as_word(as_float(size) + 0.5f) - 0x3F000000;
  uint32_t normal = (size + 0xFFF + ((size >> 13) & 1) - 0x38000000) >> 13;
  normal = normal > 0x7C00 ? 0x7C00 : normal;
  return (uint16_t)(sign | (size < 0x38800000 ? subnormal : normal));
}

static void put(const float *restrict values, int count, int dtype, void *out, int64_t stride) {
  uint16_t narrow[VALUES];
  if (dtype == FLOAT32) {
    float *to = out;
    for (int i = 0; i < count; i++) to[i * stride] = values[i];
    return;
  }
  if (dtype == BFLOAT16)
    for (int i = 0; i < count; i++) narrow[i] = as_bfloat16(values[i]);
  else
    for (int i = 0; i < count; i++) narrow[i] = as_float16(values[i]);
  uint16_t *to = out;
  if (stride == 1)
    memcpy(to, narrow, (size_t)count * 2);
  else
    for (int i = 0; i < count; i++) to[i * stride] = narrow[i];
}

/* Values `index` ... of the stream, to memory of one stride. */
static void draw_run(const request *r, int64_t index, int64_t count, char *out, int64_t stride) {
  uint64_t words[WORDS + 1];
  float values[VALUES];
  const int64_t width = r->dtype == FLOAT32 ? 4 : 2;
  const int in_place = r->dtype == FLOAT32 && stride == 1;
  while (count > 0) {
    int odd = (int)(index & 1), here = count < VALUES ? (int)count : VALUES;
    draw_words(r, (uint64_t)index >> 1, (odd + here + 1) >> 1, words);
    float *to = in_place ? (float *)out : values;
    transform((const int32_t *)words + odd, here, r->drawn, to);
    if (!in_place) put(values, here, r->dtype, out, stride);
    index += here, count -= here, out += here * stride * width;
  }
}

/* Elements from ... to of a request, in row-major order of its axes. */
void DRAW(const request *r, int64_t from, int64_t to) {
  const int last = r->axes - 1;
  const int64_t row = r->sizes[last], width = r->dtype == FLOAT32 ? 4 : 2;
  while (from < to) {
    int64_t number = from / row, at = from % row, count = row - at < to - from ? row - at : to - from;
    int64_t index = r->first + at, place = at * r->strides[last];
    for (int axis = last - 1; axis >= 0; axis--) {
      int64_t here = number % r->sizes[axis];
      number /= r->sizes[axis];
      index += here * r->steps[axis], place += here * r->strides[axis];
    }
    draw_run(r, index, count, (char *)r->out + place * width, r->strides[last]);
    from += count;
  }
}
