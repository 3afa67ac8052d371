// The innermost product: a tile of sums that stays in registers.
#ifndef PANGU_CPU_KERNELS_MICRO_H_
#define PANGU_CPU_KERNELS_MICRO_H_

#include "vectors.h"

namespace pangu {

// 6 x 16 where a head's width decides, by vectors of 8 on every processor.
constexpr int kTileRows = 6, kTileColumns = 2 * kLanes;
// Of large products: 12 x 32 where there are 32 registers of 16 floats, 6 x 16 elsewhere.
constexpr int kWideRows = kWideLanes == 16 ? 12 : 6, kWideColumns = 2 * kWideLanes;

// c [ROWS, two V's] = (ADD ? c : 0) + sum over k < depth of a[0..ROWS][k] b[k][0..]. An element of a is
// a[i * a_row + k * a_step]; b_step and c_row are the strides of b's and c's rows.
template <class V, int ROWS, bool ADD>
inline __attribute__((always_inline)) void micro_by(int64_t depth, const float* a, int64_t a_row, int64_t a_step,
                                                    const float* b, int64_t b_step, float* c, int64_t c_row) {
  constexpr int kLanesOfV = sizeof(V) / sizeof(float);
  V sums[ROWS][2] = {};
#pragma GCC unroll 12
  for (int i = 0; i < ROWS; ++i) {  // c is far away, and needed at the end
    __builtin_prefetch(c + i * c_row, 1);
    __builtin_prefetch(c + i * c_row + 2 * kLanesOfV - 1, 1);
  }
#pragma GCC unroll 4
  for (int64_t k = 0; k < depth; ++k) {
    const V left = load<V>(b), right = load<V>(b + kLanesOfV);
#pragma GCC unroll 12
    for (int i = 0; i < ROWS; ++i) {
      const V factor = splat<V>(a[i * a_row]);
      sums[i][0] += factor * left;
      sums[i][1] += factor * right;
    }
    a += a_step, b += b_step;
  }
#pragma GCC unroll 12
  for (int i = 0; i < ROWS; ++i) {
    float* row = c + i * c_row;
    store(row, ADD ? load<V>(row) + sums[i][0] : sums[i][0]);
    store(row + kLanesOfV, ADD ? load<V>(row + kLanesOfV) + sums[i][1] : sums[i][1]);
  }
}

// For up to a tile's rows, 6 by vectors of 8 and 8 by vectors of 16: a tile of few rows is told when it is compiled.
template <class V, bool ADD>
__attribute__((noinline)) void micro_of(int64_t rows, int64_t depth, const float* a, int64_t a_row, int64_t a_step,
                                        const float* b, int64_t b_step, float* c, int64_t c_row) {
  switch (rows) {
    case 1: return micro_by<V, 1, ADD>(depth, a, a_row, a_step, b, b_step, c, c_row);
    case 2: return micro_by<V, 2, ADD>(depth, a, a_row, a_step, b, b_step, c, c_row);
    case 3: return micro_by<V, 3, ADD>(depth, a, a_row, a_step, b, b_step, c, c_row);
    case 4: return micro_by<V, 4, ADD>(depth, a, a_row, a_step, b, b_step, c, c_row);
    case 5: return micro_by<V, 5, ADD>(depth, a, a_row, a_step, b, b_step, c, c_row);
    case 6: return micro_by<V, 6, ADD>(depth, a, a_row, a_step, b, b_step, c, c_row);
    case 7: return micro_by<V, 7, ADD>(depth, a, a_row, a_step, b, b_step, c, c_row);
    default: return micro_by<V, 8, ADD>(depth, a, a_row, a_step, b, b_step, c, c_row);
  }
}

}  // namespace pangu

#endif  // PANGU_CPU_KERNELS_MICRO_H_
