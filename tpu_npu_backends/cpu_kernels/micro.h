// The innermost product: 6 rows times 16 columns of sums in registers.
#ifndef PANGU_CPU_KERNELS_MICRO_H_
#define PANGU_CPU_KERNELS_MICRO_H_

#include "vectors.h"

namespace pangu {

constexpr int kTileRows = 6, kTileColumns = 2 * kLanes;

// c [ROWS, 16] = (ADD ? c : 0) + sum over k < depth of a[0..ROWS][k] b[k][0..16]. An element of a is
// a[i * a_row + k * a_step]; b_step and c_row are the strides of b's and c's rows.
template <int ROWS, bool ADD>
inline void micro(int64_t depth, const float* a, int64_t a_row, int64_t a_step, const float* b, int64_t b_step, float* c,
                  int64_t c_row) {
  Vec sums[ROWS][2] = {};
#pragma GCC unroll 6
  for (int i = 0; i < ROWS; ++i) {  // c is far away, and needed at the end
    __builtin_prefetch(c + i * c_row, 1);
    __builtin_prefetch(c + i * c_row + kTileColumns - 1, 1);
  }
#pragma GCC unroll 4
  for (int64_t k = 0; k < depth; ++k) {
    const Vec left = load(b), right = load(b + kLanes);
#pragma GCC unroll 6
    for (int i = 0; i < ROWS; ++i) {
      const Vec factor = splat(a[i * a_row]);
      sums[i][0] += factor * left;
      sums[i][1] += factor * right;
    }
    a += a_step, b += b_step;
  }
#pragma GCC unroll 6
  for (int i = 0; i < ROWS; ++i) {
    float* row = c + i * c_row;
    store(row, ADD ? load(row) + sums[i][0] : sums[i][0]);
    store(row + kLanes, ADD ? load(row + kLanes) + sums[i][1] : sums[i][1]);
  }
}

// The same for fewer rows than a tile has.
template <bool ADD>
inline void micro_of(int64_t rows, int64_t depth, const float* a, int64_t a_row, int64_t a_step, const float* b,
                     int64_t b_step, float* c, int64_t c_row) {
  switch (rows) {
    case 1: return micro<1, ADD>(depth, a, a_row, a_step, b, b_step, c, c_row);
    case 2: return micro<2, ADD>(depth, a, a_row, a_step, b, b_step, c, c_row);
    case 3: return micro<3, ADD>(depth, a, a_row, a_step, b, b_step, c, c_row);
    case 4: return micro<4, ADD>(depth, a, a_row, a_step, b, b_step, c, c_row);
    case 5: return micro<5, ADD>(depth, a, a_row, a_step, b, b_step, c, c_row);
    default: return micro<6, ADD>(depth, a, a_row, a_step, b, b_step, c, c_row);
  }
}

}  // namespace pangu

#endif  // PANGU_CPU_KERNELS_MICRO_H_
