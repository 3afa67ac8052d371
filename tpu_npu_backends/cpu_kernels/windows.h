// Attention of one head in one window, with a bias: all keys by a block of queries at a time, in the first cache.
//
// Scores lie key by key, with the block's queries side by side: what a softmax adds up then is whole vectors.
#ifndef PANGU_CPU_KERNELS_WINDOWS_H_
#define PANGU_CPU_KERNELS_WINDOWS_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "flash.h"
#include "vectors.h"

namespace pangu {

constexpr int64_t kQueries = 2 * kWideLanes;  // of a block
constexpr int kTileKeys = 8;                  // rows of a tile of two vectors

// One head of one window, its rows brought together: [tokens][width] each.
struct Window {
  const float *q, *k, *v;
  const float* bias;  // [tokens, tokens], key by query
  int64_t tokens, width;
  float scale;
};

// c [ROWS, NV V's] = start + sum over d < depth of a[0..ROWS][d] b[d][0..]; start is rows of `from`, or 0 where it is
// null. An element of a is a[i * a_row + d * a_step]; A_ROW is a_row where it is known here, or 0: sixteen addresses
// would not fit the registers.
template <class V, int NV, int ROWS, int A_ROW>
inline __attribute__((always_inline)) void started(int64_t depth, const float* a, int64_t a_row, int64_t a_step,
                                                   const float* b, int64_t b_step, const float* from, int64_t from_row,
                                                   float* c, int64_t c_row) {
  constexpr int kOf = sizeof(V) / sizeof(float);
  V sums[ROWS][NV] = {};
  if (from)
#pragma GCC unroll 16
    for (int i = 0; i < ROWS; ++i)
#pragma GCC unroll 2
      for (int j = 0; j < NV; ++j) sums[i][j] = load<V>(from + i * from_row + j * kOf);
  for (int64_t d = 0; d < depth; ++d) {
    V right[NV];
#pragma GCC unroll 2
    for (int j = 0; j < NV; ++j) right[j] = load<V>(b + j * kOf);
#pragma GCC unroll 16
    for (int i = 0; i < ROWS; ++i) {
      const V factor = splat<V>(a[i * (A_ROW ? A_ROW : a_row)]);
#pragma GCC unroll 2
      for (int j = 0; j < NV; ++j) sums[i][j] += factor * right[j];
    }
    a += a_step, b += b_step;
  }
#pragma GCC unroll 16
  for (int i = 0; i < ROWS; ++i)
#pragma GCC unroll 2
    for (int j = 0; j < NV; ++j) store(c + i * c_row + j * kOf, sums[i][j]);
}

// The same of any number of rows.
template <class V, int NV, int A_ROW>
__attribute__((noinline)) void rows_of(int64_t rows, int64_t depth, const float* a, int64_t a_row, int64_t a_step,
                                       const float* b, int64_t b_step, const float* from, int64_t from_row, float* c,
                                       int64_t c_row) {
  int64_t i = 0;
  constexpr int kTall = 2 * kTileKeys / NV;
  const auto at = [&](int64_t i) { return from ? from + i * from_row : nullptr; };
  for (; i + kTall <= rows; i += kTall)
    started<V, NV, kTall, A_ROW>(depth, a + i * a_row, a_row, a_step, b, b_step, at(i), from_row, c + i * c_row, c_row);
  for (; i < rows; ++i)
    started<V, NV, 1, A_ROW>(depth, a + i * a_row, a_row, a_step, b, b_step, at(i), from_row, c + i * c_row, c_row);
}

// c [rows, width] = (add ? c : 0) + a b, of a head's width, from a block of scores: its queries are rows (A_ROW is 1)
// or what is added up (A_ROW is kQueries).
template <int A_ROW>
inline void narrow(int64_t rows, int64_t width, int64_t depth, const float* a, const float* b, bool add, float* c) {
  constexpr int64_t a_step = A_ROW == 1 ? kQueries : 1;
  for (int64_t at = 0; at < width;) {
    const float* from = add ? c + at : nullptr;
    if (width - at >= 2 * kWideLanes) {
      rows_of<WideVec, 2, A_ROW>(rows, depth, a, A_ROW, a_step, b + at, width, from, width, c + at, width);
      at += 2 * kWideLanes;
    } else if (width - at >= kWideLanes) {
      rows_of<WideVec, 1, A_ROW>(rows, depth, a, A_ROW, a_step, b + at, width, from, width, c + at, width);
      at += kWideLanes;
    } else {
      rows_of<Vec, 1, A_ROW>(rows, depth, a, A_ROW, a_step, b + at, width, from, width, c + at, width);
      at += kLanes;
    }
  }
}

struct WindowMemory {
  std::vector<float> rows, more, q_t, d_t, p, d_p, bias;
  std::vector<int64_t> places;
};

inline WindowMemory& window_memory() {
  static thread_local WindowMemory memory;
  return memory;
}

// Rows [here, width] times `scale`, transposed: [width][kQueries], zeros behind.
inline void transposed(const float* rows, int64_t here, int64_t width, float scale, float* to) {
  if (here < kQueries) std::memset(to, 0, sizeof(float) * width * kQueries);
  for (int64_t c = 0; c < width; ++c)
    for (int64_t i = 0; i < here; ++i) to[c * kQueries + i] = rows[i * width + c] * scale;
}

// The columns of a block of the bias, and how far apart its rows are: a copy where the block is not full.
inline const float* bias_of(const Window& of, int64_t first, int64_t here, WindowMemory& room, int64_t* row) {
  if (here == kQueries) {
    *row = of.tokens;
    return of.bias + first;
  }
  float* copy = sized(room.bias, of.tokens * kQueries);
  std::memset(copy, 0, sizeof(float) * of.tokens * kQueries);
  for (int64_t j = 0; j < of.tokens; ++j)
    std::memcpy(copy + j * kQueries, of.bias + j * of.tokens + first, sizeof(float) * here);
  *row = kQueries;
  return copy;
}

// Scores of a block, [tokens][kQueries].
inline void scores_of(const Window& of, int64_t first, int64_t here, WindowMemory& room, float* q_t, float* p) {
  transposed(of.q + first * of.width, here, of.width, of.scale, q_t);
  int64_t bias_row;
  const float* bias = bias_of(of, first, here, room, &bias_row);
  rows_of<WideVec, 2, 0>(of.tokens, of.width, of.k, of.width, 1, q_t, kQueries, bias, bias_row, p, kQueries);
}

// `out` [tokens][width]; `stats` [2][tokens]: of each query the largest score, and 1 over the sum.
inline void window_forward(const Window& of, float* out, float* stats) {
  WindowMemory& room = window_memory();
  float* q_t = sized(room.q_t, of.width * kQueries);
  float* p = sized(room.p, of.tokens * kQueries);
  float most_of[kQueries], inverse_of[kQueries];
  for (int64_t first = 0; first < of.tokens; first += kQueries) {
    const int64_t here = std::min(kQueries, of.tokens - first);
    scores_of(of, first, here, room, q_t, p);
    for (int64_t c = 0; c < kQueries; c += kWideLanes) {
      WideVec most = splat<WideVec>(-INFINITY), total = {};
      for (int64_t j = 0; j < of.tokens; ++j) {
        const WideVec x = load<WideVec>(p + j * kQueries + c);
        most = x > most ? x : most;
      }
      for (int64_t j = 0; j < of.tokens; ++j) {
        const WideVec x = exp(load<WideVec>(p + j * kQueries + c) - most);
        store(p + j * kQueries + c, x);
        total += x;
      }
      store(most_of + c, most);
      store(inverse_of + c, 1.0f / total);
    }
    std::memcpy(stats + first, most_of, sizeof(float) * here);
    std::memcpy(stats + of.tokens + first, inverse_of, sizeof(float) * here);
    float* to = out + first * of.width;
    narrow<1>(here, of.width, of.tokens, p, of.v, false, to);
    for (int64_t i = 0; i < here; ++i)
      for (int64_t c = 0; c < of.width; c += kLanes)
        store(to + i * of.width + c, load<Vec>(to + i * of.width + c) * inverse_of[i]);
  }
}

// All of [tokens][width]; `d_bias` is added to.
inline void window_backward(const Window& of, const float* stats, const float* d_out, float* d_q, float* d_k,
                            float* d_v, float* d_bias) {
  WindowMemory& room = window_memory();
  const int64_t width = of.width;
  float* q_t = sized(room.q_t, width * kQueries);
  float* d_t = sized(room.d_t, width * kQueries);
  float* p = sized(room.p, of.tokens * kQueries);
  float* d_p = sized(room.d_p, of.tokens * kQueries);
  float most_of[kQueries] = {}, inverse_of[kQueries] = {};
  for (int64_t first = 0; first < of.tokens; first += kQueries) {
    const int64_t here = std::min(kQueries, of.tokens - first);
    const float *q_rows = of.q + first * width, *d_rows = d_out + first * width;
    std::memcpy(most_of, stats + first, sizeof(float) * here);
    std::memcpy(inverse_of, stats + of.tokens + first, sizeof(float) * here);
    if (here < kQueries) std::memset(inverse_of + here, 0, sizeof(float) * (kQueries - here));
    scores_of(of, first, here, room, q_t, p);
    transposed(d_rows, here, width, 1.0f, d_t);
    rows_of<WideVec, 2, 0>(of.tokens, width, of.v, width, 1, d_t, kQueries, nullptr, 0, d_p, kQueries);
    for (int64_t c = 0; c < kQueries; c += kWideLanes) {
      const WideVec most = load<WideVec>(most_of + c), inverse = load<WideVec>(inverse_of + c);
      WideVec mean = {};
      for (int64_t j = 0; j < of.tokens; ++j) {
        const WideVec x = exp(load<WideVec>(p + j * kQueries + c) - most) * inverse;
        store(p + j * kQueries + c, x);
        mean += x * load<WideVec>(d_p + j * kQueries + c);
      }
      const bool whole = here == kQueries;
      for (int64_t j = 0; j < of.tokens; ++j) {
        float* d = d_p + j * kQueries + c;
        const WideVec x = load<WideVec>(p + j * kQueries + c) * (load<WideVec>(d) - mean);
        store(d, x);
        float* to = d_bias + j * of.tokens + first + c;
        if (whole) store(to, load<WideVec>(to) + x);
      }
      if (!whole)
        for (int64_t j = 0; j < of.tokens; ++j)
          for (int64_t i = c; i < std::min(here, c + kWideLanes); ++i)
            d_bias[j * of.tokens + first + i] += d_p[j * kQueries + i];
    }
    const bool more = first > 0;
    narrow<kQueries>(of.tokens, width, here, p, d_rows, more, d_v);
    narrow<kQueries>(of.tokens, width, here, d_p, q_rows, more, d_k);
    float* to = d_q + first * width;
    narrow<1>(here, width, of.tokens, d_p, of.k, false, to);
    for (int64_t i = 0; i < here * width; i += kLanes) store(to + i, load<Vec>(to + i) * of.scale);
  }
  for (int64_t i = 0; i < of.tokens * width; i += kLanes) store(d_k + i, load<Vec>(d_k + i) * of.scale);
}

}  // namespace pangu

#endif  // PANGU_CPU_KERNELS_WINDOWS_H_
