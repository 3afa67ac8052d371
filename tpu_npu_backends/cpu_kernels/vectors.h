// Several floats at once, by the vectors of GCC and Clang: one source for every processor that has them.
#ifndef PANGU_CPU_KERNELS_VECTORS_H_
#define PANGU_CPU_KERNELS_VECTORS_H_

#include <cstdint>
#include <cstring>

namespace pangu {

constexpr int64_t kLanes = 8;
typedef float Vec __attribute__((vector_size(kLanes * sizeof(float))));

// As many as the processor's registers hold: what passes over whole rows takes these.
#ifdef __AVX512F__
constexpr int64_t kWideLanes = 16;
#else
constexpr int64_t kWideLanes = 8;
#endif
typedef float WideVec __attribute__((vector_size(kWideLanes * sizeof(float))));

template <class V = Vec>
inline V load(const float* from) {
  V x;
  std::memcpy(&x, from, sizeof(V));
  return x;
}
template <class V>
inline void store(float* to, V x) {
  std::memcpy(to, &x, sizeof(V));
}
template <class V = Vec>
inline V splat(float x) {
  return x - V{};
}

template <class V>
inline float sum(V x) {  // in pairs: additions one after the other would wait for each other
  float parts[sizeof(V) / sizeof(float)];
  store(parts, x);
#pragma GCC unroll 4
  for (size_t half = sizeof(V) / sizeof(float) / 2; half; half /= 2)
    for (size_t i = 0; i < half; ++i) parts[i] += parts[i + half];
  return parts[0];
}

template <class V>
inline float largest(V x) {
  float most = x[0];
  for (size_t i = 1; i < sizeof(V) / sizeof(float); ++i) most = x[i] > most ? x[i] : most;
  return most;
}

// e^x for x <= 0, off by at most 2 units in the last place; 0 below -87. Cephes' expf (S. Moshier, 1989).
template <class V>
inline V exp(V x) {
  const V least = splat<V>(-87.0f), bounded = x < least ? least : x;
  const V round = splat<V>(12582912.0f);  // adding 1.5 * 2^23 leaves no bits behind the point
  const V n = (bounded * 1.44269504f + round) - round;
  const V r = (bounded - n * 0.693359375f) + n * 2.12194440e-4f;
  V p = splat<V>(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  using Ints = decltype(x < least);
  const Ints exponent = (__builtin_convertvector(n, Ints) + 127) << 23;
  V power;
  std::memcpy(&power, &exponent, sizeof(power));
  return x < least ? V{} : p * power;
}

}  // namespace pangu

#endif  // PANGU_CPU_KERNELS_VECTORS_H_
