// Attention of one head, forward and backward, without a T x S matrix in memory (Dao et al., arXiv 2205.14135).
//
// 96 queries at a time, whose scores with all keys stay in the second cache. The backward pass computes the
// probabilities again from the row's maximum and sum, which the forward pass leaves.
#ifndef PANGU_CPU_KERNELS_FLASH_H_
#define PANGU_CPU_KERNELS_FLASH_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "micro.h"

namespace pangu {

constexpr float kHidden = -3.4028235e38f;  // the score of a key that is not seen, as in the plain form
constexpr int64_t kBlock = 96;             // queries at a time

// One head of one example. Rows of q, and of k and v, are `q_row` and `k_row` apart, those of the output `out_row`.
struct Head {
  const float *q, *k, *v;
  const bool* mask;  // [queries, keys], or none where all is seen
  int64_t queries, keys, width, q_row, k_row, out_row;
  float scale;  // of the scores
};

struct Range {
  int64_t from, to;  // multiples of a tile's columns
};

struct Memory {
  std::vector<float> keys_t, values_t, keys, values, q, d_out, scores, d_scores, d_keys, d_values;
};

inline Memory& memory() {
  static thread_local Memory memory;
  return memory;
}

inline float* sized(std::vector<float>& room, int64_t size) {
  if (int64_t(room.size()) < size) room.resize(size);
  return room.data();
}

// By vectors V: a tile has two of them side by side.
template <class V>
struct Flash {
  static constexpr int64_t kLanesOfV = sizeof(V) / sizeof(float), kColumns = 2 * kLanesOfV;
  static constexpr int64_t kTall = kLanesOfV == 8 ? 6 : 8;

  static int64_t rounded(int64_t size) { return (size + kColumns - 1) / kColumns * kColumns; }

  // Rows [n, width] as panels of a tile's columns, [width / kColumns][n][kColumns].
  static void panels_of_rows(const float* rows, int64_t n, int64_t width, int64_t row, float* to) {
    for (int64_t i = 0; i < n; ++i)
      for (int64_t k = 0; k < width; k += kColumns)
        std::memcpy(to + k * n + i * kColumns, rows + i * row + k, sizeof(float) * kColumns);
  }

  // Rows [keys, width], transposed, as panels of so many rows: [.. / kColumns][width][kColumns], zeros behind.
  static void panels_transposed(const float* rows, int64_t keys, int64_t width, int64_t row, float* to) {
    for (int64_t first = 0; first < rounded(keys); first += kColumns) {
      float* panel = to + first * width;
      const int64_t here = std::min<int64_t>(kColumns, keys - first);
      if (here < kColumns) std::memset(panel, 0, sizeof(float) * width * kColumns);
      for (int64_t j = 0; j < here; ++j)
        for (int64_t k = 0; k < width; ++k) panel[k * kColumns + j] = rows[(first + j) * row + k];
    }
  }

  // c [rows, columns] = a b, with b in panels [columns / kColumns][depth][kColumns], `from` to `to` of c's columns.
  template <bool ADD>
  static void product(int64_t rows, int64_t from, int64_t to, int64_t depth, const float* a, int64_t a_row,
                      int64_t a_step, const float* panels, int64_t panel_depth, float* c, int64_t c_row) {
    for (int64_t column = from; column < to; column += kColumns)
      for (int64_t i = 0; i < rows; i += kTall)
        micro_of<V, ADD>(std::min<int64_t>(kTall, rows - i), depth, a + i * a_row, a_row, a_step,
                         panels + column * panel_depth, kColumns, c + i * c_row + column, c_row);
  }

  // The keys that some of `count` queries look at; all where one of them looks at none.
  static Range seen_by(const Head& head, int64_t first, int64_t count) {
    if (!head.mask) return {0, rounded(head.keys)};
    int64_t from = head.keys, to = 0;
    for (int64_t i = first; i < first + count; ++i) {
      const bool* row = head.mask + i * head.keys;
      const bool* seen = static_cast<const bool*>(std::memchr(row, 1, head.keys));
      if (!seen) return {0, rounded(head.keys)};
      from = std::min<int64_t>(from, seen - row);
      for (int64_t c = head.keys; c > to; --c)
        if (row[c - 1]) to = c;
    }
    return {from / kColumns * kColumns, rounded(to)};
  }

  // Hides in the scores of a query what is not seen, and what is behind the last key.
  static void hide(const Head& head, int64_t query, Range range, float* row) {
    const int64_t end = std::min(range.to, head.keys);
    const bool* seen = head.mask ? head.mask + query * head.keys : nullptr;
    if (seen && std::memchr(seen + range.from, 0, end - range.from))
      for (int64_t c = range.from; c < end; ++c) row[c] = seen[c] ? row[c] : kHidden;
    for (int64_t c = end; c < range.to; ++c) row[c] = -INFINITY;
  }

  // `stats` [T, 2] are a row's maximum, times the scale, and 1 over its sum.
  static void forward(const Head& head, float* out, float* stats) {
    Memory& room = memory();
    const int64_t wide = rounded(head.keys), width = head.width;
    float* keys = sized(room.keys_t, wide * width);
    float* values = sized(room.values, head.keys * width);
    float* scores = sized(room.scores, kBlock * wide);
    panels_transposed(head.k, head.keys, width, head.k_row, keys);
    panels_of_rows(head.v, head.keys, width, head.k_row, values);
    for (int64_t first = 0; first < head.queries; first += kBlock) {
      const int64_t count = std::min(kBlock, head.queries - first);
      const Range range = seen_by(head, first, count);
      product<false>(count, range.from, range.to, width, head.q + first * head.q_row, head.q_row, 1, keys, width,
                     scores, wide);
      for (int64_t i = 0; i < count; ++i) {
        float* row = scores + i * wide;
        hide(head, first + i, range, row);
        V most = splat<V>(-INFINITY), total = {};
        for (int64_t c = range.from; c < range.to; c += kLanesOfV) {
          const V x = load<V>(row + c);
          most = x > most ? x : most;
        }
        most = splat<V>(largest(most) * head.scale);
        for (int64_t c = range.from; c < range.to; c += kLanesOfV) {
          const V x = exp(load<V>(row + c) * head.scale - most);
          store(row + c, x);
          total += x;
        }
        stats[(first + i) * 2] = most[0];
        stats[(first + i) * 2 + 1] = 1.0f / sum(total);
      }
      const int64_t depth = std::min(range.to, head.keys) - range.from;
      product<false>(count, 0, width, depth, scores + range.from, wide, 1, values + range.from * kColumns, head.keys,
                     out + first * head.out_row, head.out_row);
      for (int64_t i = first; i < first + count; ++i)
        for (int64_t c = 0; c < width; c += kLanesOfV) {
          float* to = out + i * head.out_row + c;
          store(to, load<V>(to) * stats[i * 2 + 1]);
        }
    }
  }

  // The gradients' rows are as far apart as those of q, k and v.
  static void backward(const Head& head, const float* out, const float* stats, const float* d_out, float* d_q,
                       float* d_k, float* d_v) {
    Memory& room = memory();
    const int64_t wide = rounded(head.keys), width = head.width, keys = head.keys;
    float* keys_t = sized(room.keys_t, wide * width);
    float* values_t = sized(room.values_t, wide * width);
    float* key_panels = sized(room.keys, keys * width);
    float* q_panels = sized(room.q, kBlock * width);
    float* d_out_panels = sized(room.d_out, kBlock * width);
    float* p = sized(room.scores, kBlock * wide);
    float* d_p = sized(room.d_scores, kBlock * wide);
    float* d_keys = sized(room.d_keys, keys * width);
    float* d_values = sized(room.d_values, keys * width);
    panels_transposed(head.k, keys, width, head.k_row, keys_t);
    panels_transposed(head.v, keys, width, head.k_row, values_t);
    panels_of_rows(head.k, keys, width, head.k_row, key_panels);
    std::memset(d_keys, 0, sizeof(float) * keys * width);
    std::memset(d_values, 0, sizeof(float) * keys * width);
    for (int64_t first = 0; first < head.queries; first += kBlock) {
      const int64_t count = std::min(kBlock, head.queries - first);
      const Range range = seen_by(head, first, count);
      const int64_t depth = std::min(range.to, keys) - range.from;
      const float *q_rows = head.q + first * head.q_row, *d_rows = d_out + first * head.out_row;
      product<false>(count, range.from, range.to, width, q_rows, head.q_row, 1, keys_t, width, p, wide);
      product<false>(count, range.from, range.to, width, d_rows, head.out_row, 1, values_t, width, d_p, wide);
      for (int64_t i = 0; i < count; ++i) {
        float *row = p + i * wide, *d_row = d_p + i * wide;
        hide(head, first + i, range, row);
        V dot = {};
        for (int64_t c = 0; c < width; c += kLanesOfV)
          dot += load<V>(d_rows + i * head.out_row + c) * load<V>(out + (first + i) * head.out_row + c);
        const V most = splat<V>(stats[(first + i) * 2]), inverse = splat<V>(stats[(first + i) * 2 + 1]);
        const V mean = splat<V>(sum(dot));
        for (int64_t c = range.from; c < range.to; c += kLanesOfV) {
          const V x = exp(load<V>(row + c) * head.scale - most) * inverse;
          store(row + c, x);
          store(d_row + c, x * (load<V>(d_row + c) - mean) * head.scale);
        }
      }
      panels_of_rows(q_rows, count, width, head.q_row, q_panels);
      panels_of_rows(d_rows, count, width, head.out_row, d_out_panels);
      product<false>(count, 0, width, depth, d_p + range.from, wide, 1, key_panels + range.from * kColumns, keys,
                     d_q + first * head.q_row, head.q_row);
      product<true>(depth, 0, width, count, p + range.from, 1, wide, d_out_panels, count, d_values + range.from * width,
                    width);
      product<true>(depth, 0, width, count, d_p + range.from, 1, wide, q_panels, count, d_keys + range.from * width,
                    width);
    }
    for (int64_t i = 0; i < keys; ++i) {
      std::memcpy(d_k + i * head.k_row, d_keys + i * width, sizeof(float) * width);
      std::memcpy(d_v + i * head.k_row, d_values + i * width, sizeof(float) * width);
    }
  }
};

// The widest vectors of which a head's width is a multiple of two.
inline bool wide_enough(int64_t width) { return width % (2 * kWideLanes) == 0; }

inline void flash_forward(const Head& head, float* out, float* stats) {
  wide_enough(head.width) ? Flash<WideVec>::forward(head, out, stats) : Flash<Vec>::forward(head, out, stats);
}

inline void flash_backward(const Head& head, const float* out, const float* stats, const float* d_out, float* d_q,
                           float* d_k, float* d_v) {
  wide_enough(head.width) ? Flash<WideVec>::backward(head, out, stats, d_out, d_q, d_k, d_v)
                          : Flash<Vec>::backward(head, out, stats, d_out, d_q, d_k, d_v);
}

}  // namespace pangu

#endif  // PANGU_CPU_KERNELS_FLASH_H_
