// Eight floats at once, by the vectors of GCC and Clang: one source for every processor that has them.
#ifndef PANGU_CPU_KERNELS_VECTORS_H_
#define PANGU_CPU_KERNELS_VECTORS_H_

#include <cstdint>
#include <cstring>

namespace pangu {

constexpr int64_t kLanes = 8;
typedef float Vec __attribute__((vector_size(kLanes * sizeof(float)), aligned(4), may_alias));
typedef int32_t IntVec __attribute__((vector_size(kLanes * sizeof(int32_t))));

inline Vec load(const float* from) { return *reinterpret_cast<const Vec*>(from); }
inline void store(float* to, Vec x) { *reinterpret_cast<Vec*>(to) = x; }
inline Vec splat(float x) { return Vec{x, x, x, x, x, x, x, x}; }

inline float sum(Vec x) {
  float total = 0;
  for (int i = 0; i < kLanes; ++i) total += x[i];
  return total;
}

inline float largest(Vec x) {
  float most = x[0];
  for (int i = 1; i < kLanes; ++i) most = x[i] > most ? x[i] : most;
  return most;
}

// e^x for x <= 0, off by at most 2 units in the last place; 0 below -87. Cephes' expf (S. Moshier, 1989).
inline Vec exp(Vec x) {
  const Vec bounded = x < -87.0f ? splat(-87.0f) : x;
  const Vec round = splat(12582912.0f);  // adding 1.5 * 2^23 leaves no bits behind the point
  const Vec n = (bounded * 1.44269504f + round) - round;
  const Vec r = (bounded - n * 0.693359375f) + n * 2.12194440e-4f;
  Vec p = splat(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const IntVec exponent = (__builtin_convertvector(n, IntVec) + 127) << 23;
  Vec power;
  std::memcpy(&power, &exponent, sizeof(power));
  return x < -87.0f ? splat(0.0f) : p * power;
}

}  // namespace pangu

#endif  // PANGU_CPU_KERNELS_VECTORS_H_
