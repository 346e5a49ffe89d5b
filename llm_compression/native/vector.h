/* Functions of 16 float32 numbers. NaN goes through all of them. */

#pragma once

#include <immintrin.h>
#include <stdint.h>

#define INLINE static inline __attribute__((always_inline))

INLINE __m512 all(float x) { return _mm512_set1_ps(x); }

/* Bring a cache line into the first or the second cache; where no memory is, nothing happens. */
INLINE void prefetch(const void *line) { _mm_prefetch((const char *)line, _MM_HINT_T0); }
INLINE void prefetch_far(const void *line) { _mm_prefetch((const char *)line, _MM_HINT_T1); }

INLINE __mmask16 first(int64_t count) { /* of 16 */
  return count >= 16 ? 0xffff : count <= 0 ? 0 : (__mmask16)((1u << count) - 1);
}

/* e^x = 2^n e^r with |r| <= ln 2 / 2, by the series of e^r to r^7; within 2 units of the last bit. */
INLINE __m512 exp16(__m512 x) {
  x = _mm512_max_ps(all(-104.0f), x); /* below, it is 0; in this order NaN stays */
  __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, all(1.44269504f)), 8);
  __m512 r = _mm512_fnmadd_ps(n, all(0.693359375f), x); /* ln 2 in two parts */
  r = _mm512_fnmadd_ps(n, all(-2.12194440e-4f), r);
  __m512 p = all(1.0f / 5040);
  p = _mm512_fmadd_ps(p, r, all(1.0f / 720));
  p = _mm512_fmadd_ps(p, r, all(1.0f / 120));
  p = _mm512_fmadd_ps(p, r, all(1.0f / 24));
  p = _mm512_fmadd_ps(p, r, all(1.0f / 6));
  p = _mm512_fmadd_ps(p, r, all(0.5f));
  p = _mm512_fmadd_ps(p, r, all(1.0f));
  p = _mm512_fmadd_ps(p, r, all(1.0f));
  return _mm512_scalef_ps(p, n);
}

INLINE __m512 sigmoid16(__m512 x) {
  __m512 power = exp16(_mm512_sub_ps(_mm512_setzero_ps(), x));
  return _mm512_div_ps(all(1.0f), _mm512_add_ps(all(1.0f), power));
}

/* The rational approximation of Eigen, generic_fast_erf_float in MathFunctionsImpl.h. */
INLINE __m512 erf16(__m512 x) {
  x = _mm512_min_ps(all(4.0f), _mm512_max_ps(all(-4.0f), x));
  __m512 s = _mm512_mul_ps(x, x), p = all(-2.72614225801306e-10f), q = all(-1.45660718464996e-05f);
  p = _mm512_fmadd_ps(p, s, all(2.77068142495902e-08f));
  p = _mm512_fmadd_ps(p, s, all(-2.10102402082508e-06f));
  p = _mm512_fmadd_ps(p, s, all(-5.69250639462346e-05f));
  p = _mm512_fmadd_ps(p, s, all(-7.34990630326855e-04f));
  p = _mm512_fmadd_ps(p, s, all(-2.95459980854025e-03f));
  p = _mm512_fmadd_ps(p, s, all(-1.60960333262415e-02f));
  q = _mm512_fmadd_ps(q, s, all(-2.13374055278905e-04f));
  q = _mm512_fmadd_ps(q, s, all(-1.68282697438203e-03f));
  q = _mm512_fmadd_ps(q, s, all(-7.37332916720468e-03f));
  q = _mm512_fmadd_ps(q, s, all(-1.42647390514189e-02f));
  return _mm512_div_ps(_mm512_mul_ps(x, p), q);
}

typedef enum { NONE, GELU, GELU_TANH, QUICK_GELU, RELU, SILU } Activation;

INLINE __m512 activate(Activation activation, __m512 x) {
  switch (activation) {
  case GELU: {
    __m512 half = _mm512_mul_ps(x, all(0.5f));
    return _mm512_fmadd_ps(half, erf16(_mm512_mul_ps(x, all(0.70710678f))), half);
  }
  case GELU_TANH: { /* (1 + tanh u) / 2 = sigmoid(2 u), u = sqrt(2 / pi) (x + 0.044715 x^3) */
    __m512 cube = _mm512_mul_ps(_mm512_mul_ps(x, x), x);
    __m512 u = _mm512_fmadd_ps(cube, all(0.044715f), x);
    return _mm512_mul_ps(x, sigmoid16(_mm512_mul_ps(u, all(1.5957691f))));
  }
  case QUICK_GELU: /* transformers/activations.py, QuickGELUActivation */
    return _mm512_mul_ps(x, sigmoid16(_mm512_mul_ps(x, all(1.702f))));
  case RELU:
    return _mm512_max_ps(_mm512_setzero_ps(), x);
  case SILU:
    return _mm512_mul_ps(x, sigmoid16(x));
  default:
    return x;
  }
}

INLINE void store_bfloat16(uint16_t *to, __mmask16 mask, __m512 x) {
  _mm256_mask_storeu_epi16(to, mask, (__m256i)_mm512_cvtneps_pbh(x));
}
