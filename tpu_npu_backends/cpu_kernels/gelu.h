// GELU and its slope together, as the two share what is dear: an exponential and a division.
#ifndef PANGU_CPU_KERNELS_GELU_H_
#define PANGU_CPU_KERNELS_GELU_H_

#include "vectors.h"

namespace pangu {

template <class V>
struct Activated {
  V value, slope;
};

// x P(X <= x) of a standard normal X, by the error function of Abramowitz and Stegun, 7.1.26: off by 1.5e-7 at most.
template <class V>
inline Activated<V> gelu(V x) {
  const V size = x < 0.0f ? -x : x;
  const V t = 1.0f / (1.0f + 0.231641889f * size);  // .3275911 / sqrt(2)
  V p = splat<V>(1.061405429f);
  p = p * t - 1.453152027f;
  p = p * t + 1.421413741f;
  p = p * t - 0.284496736f;
  p = p * t + 0.254829592f;
  const V density = exp(-0.5f * x * x);
  const V tail = 0.5f * p * t * density;
  const V below = x < 0.0f ? tail : 1.0f - tail;
  return {x * below, below + 0.398942280f * x * density};  // 1 / sqrt(2 pi)
}

// x (1 + tanh(sqrt(2 / pi) (x + .044715 x^3))) / 2, Flax's and BERT's: half of 1 + tanh(u) is 1 / (1 + e^-2u).
template <class V>
inline Activated<V> gelu_by_tanh(V x) {
  const V squared = x * x;
  const V twice = 1.595769122f * x * (1.0f + 0.044715f * squared);
  const V e = exp(twice < 0.0f ? twice : -twice);
  const V share = 1.0f / (1.0f + e), other = e * share;
  const V half = twice < 0.0f ? other : share;
  const V inner = 1.595769122f + 0.214064449f * squared;  // twice' = sqrt(8 / pi) (1 + 3 * .044715 x^2)
  return {x * half, half + x * inner * share * other};
}

}  // namespace pangu

#endif  // PANGU_CPU_KERNELS_GELU_H_
