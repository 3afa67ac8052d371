// Attention of many queries, forward and backward, without a T x S matrix in memory (Dao et al., arXiv 2205.14135).
//
// Arrays are [B, T, H, K], as projections leave them. An example's head is a part of
// the work; 96 queries at a time, whose scores with all keys stay in the second cache. The backward pass computes the
// probabilities again from the row's maximum and sum, which the forward pass leaves.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "micro.h"
#include "pool.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace pangu {
namespace {

constexpr float kHidden = -3.4028235e38f;  // the score of a key that is not seen, as in the plain form
constexpr int64_t kBlock = 96;             // queries at a time

int64_t rounded(int64_t size) { return (size + kTileColumns - 1) / kTileColumns * kTileColumns; }

struct Shape {
  int64_t heads, queries, keys, width;
  int64_t stride() const { return heads * width; }     // between two rows of a head
  int64_t room() const { return rounded(keys); }       // a row of scores
};

// Rows of a head [n, width] as panels of 16 features, [width / 16][n][16].
void panels_of_rows(const float* rows, int64_t n, const Shape& shape, float* to) {
  for (int64_t i = 0; i < n; ++i)
    for (int64_t k = 0; k < shape.width; k += kTileColumns)
      std::memcpy(to + k * n + i * kTileColumns, rows + i * shape.stride() + k, sizeof(float) * kTileColumns);
}

// Rows of a head [keys, width], transposed, as panels of 16 rows: [room / 16][width][16], zeros behind.
void panels_transposed(const float* rows, const Shape& shape, float* to) {
  for (int64_t first = 0; first < shape.room(); first += kTileColumns) {
    float* panel = to + first * shape.width;
    const int64_t here = std::min<int64_t>(kTileColumns, shape.keys - first);
    if (here < kTileColumns) std::memset(panel, 0, sizeof(float) * shape.width * kTileColumns);
    for (int64_t j = 0; j < here; ++j)
      for (int64_t k = 0; k < shape.width; ++k) panel[k * kTileColumns + j] = rows[(first + j) * shape.stride() + k];
  }
}

// c [rows, columns] = a b, with b in panels [columns / 16][depth][16], `from` to `to` of c's columns.
template <bool ADD>
void product(int64_t rows, int64_t from, int64_t to, int64_t depth, const float* a, int64_t a_row, int64_t a_step,
             const float* panels, int64_t panel_depth, float* c, int64_t c_row) {
  for (int64_t column = from; column < to; column += kTileColumns)
    for (int64_t i = 0; i < rows; i += kTileRows)
      micro_of<ADD>(std::min<int64_t>(kTileRows, rows - i), depth, a + i * a_row, a_row, a_step,
                    panels + column * panel_depth, kTileColumns, c + i * c_row + column, c_row);
}

struct Range {
  int64_t from, to;  // multiples of 16
};

// The keys that some of `count` queries look at; all where one of them looks at none.
Range seen_by(const bool* mask, int64_t count, const Shape& shape) {
  int64_t from = shape.keys, to = 0;
  for (int64_t i = 0; i < count; ++i) {
    const bool* row = mask + i * shape.keys;
    const bool* first = static_cast<const bool*>(std::memchr(row, 1, shape.keys));
    if (!first) return {0, shape.room()};
    from = std::min<int64_t>(from, first - row);
    for (int64_t c = shape.keys; c > to; --c)
      if (row[c - 1]) to = c;
  }
  return {from / kTileColumns * kTileColumns, rounded(to)};
}

// Hides in a row of scores what is not seen, and what is behind the last key.
void hide(float* row, const bool* seen, Range range, const Shape& shape) {
  const int64_t end = std::min(range.to, shape.keys);
  if (std::memchr(seen + range.from, 0, end - range.from))
    for (int64_t c = range.from; c < end; ++c) row[c] = seen[c] ? row[c] : kHidden;
  for (int64_t c = end; c < range.to; ++c) row[c] = -INFINITY;
}

struct Memory {
  std::vector<float> keys_t, values_t, keys, values, q, d_out, scores, d_scores, d_keys, d_values, sums;
};

Memory& memory() {
  static thread_local Memory memory;
  return memory;
}

float* sized(std::vector<float>& room, int64_t size) {
  if (int64_t(room.size()) < size) room.resize(size);
  return room.data();
}

// One head of one example. `stats` [T, 2] are a row's maximum and 1 over its sum.
void forward(const float* q, const float* k, const float* v, const bool* mask, float* out, float* stats,
             const Shape& shape) {
  Memory& room = memory();
  const int64_t wide = shape.room(), stride = shape.stride();
  float* keys = sized(room.keys_t, wide * shape.width);
  float* values = sized(room.values, shape.keys * shape.width);
  float* scores = sized(room.scores, kBlock * wide);
  panels_transposed(k, shape, keys);
  panels_of_rows(v, shape.keys, shape, values);
  for (int64_t first = 0; first < shape.queries; first += kBlock) {
    const int64_t count = std::min(kBlock, shape.queries - first);
    const Range range = seen_by(mask + first * shape.keys, count, shape);
    product<false>(count, range.from, range.to, shape.width, q + first * stride, stride, 1, keys, shape.width, scores,
                   wide);
    for (int64_t i = 0; i < count; ++i) {
      float* row = scores + i * wide;
      hide(row, mask + (first + i) * shape.keys, range, shape);
      Vec most = splat(-INFINITY), total = {};
      for (int64_t c = range.from; c < range.to; c += kLanes) most = load(row + c) > most ? load(row + c) : most;
      most = splat(largest(most));
      for (int64_t c = range.from; c < range.to; c += kLanes) {
        const Vec x = exp(load(row + c) - most);
        store(row + c, x);
        total += x;
      }
      stats[(first + i) * 2] = most[0];
      stats[(first + i) * 2 + 1] = 1.0f / sum(total);
    }
    const int64_t depth = std::min(range.to, shape.keys) - range.from;
    product<false>(count, 0, shape.width, depth, scores + range.from, wide, 1, values + range.from * kTileColumns,
                   shape.keys, out + first * stride, stride);
    for (int64_t i = first; i < first + count; ++i)
      for (int64_t c = 0; c < shape.width; c += kLanes) {
        float* to = out + i * stride + c;
        store(to, load(to) * stats[i * 2 + 1]);
      }
  }
}

struct Gradients {
  float *q, *k, *v;
};

void backward(const float* q, const float* k, const float* v, const bool* mask, const float* out, const float* stats,
              const float* d_out, Gradients d, const Shape& shape) {
  Memory& room = memory();
  const int64_t wide = shape.room(), stride = shape.stride(), width = shape.width;
  float* keys_t = sized(room.keys_t, wide * width);
  float* values_t = sized(room.values_t, wide * width);
  float* keys = sized(room.keys, shape.keys * width);
  float* q_panels = sized(room.q, kBlock * width);
  float* d_out_panels = sized(room.d_out, kBlock * width);
  float* p = sized(room.scores, kBlock * wide);
  float* d_p = sized(room.d_scores, kBlock * wide);
  float* d_keys = sized(room.d_keys, shape.keys * width);
  float* d_values = sized(room.d_values, shape.keys * width);
  panels_transposed(k, shape, keys_t);
  panels_transposed(v, shape, values_t);
  panels_of_rows(k, shape.keys, shape, keys);
  std::memset(d_keys, 0, sizeof(float) * shape.keys * width);
  std::memset(d_values, 0, sizeof(float) * shape.keys * width);
  for (int64_t first = 0; first < shape.queries; first += kBlock) {
    const int64_t count = std::min(kBlock, shape.queries - first);
    const Range range = seen_by(mask + first * shape.keys, count, shape);
    const int64_t depth = std::min(range.to, shape.keys) - range.from;
    const float *q_rows = q + first * stride, *d_rows = d_out + first * stride;
    product<false>(count, range.from, range.to, width, q_rows, stride, 1, keys_t, width, p, wide);
    product<false>(count, range.from, range.to, width, d_rows, stride, 1, values_t, width, d_p, wide);
    for (int64_t i = 0; i < count; ++i) {
      float *row = p + i * wide, *d_row = d_p + i * wide;
      hide(row, mask + (first + i) * shape.keys, range, shape);
      Vec dot = {};
      for (int64_t c = 0; c < width; c += kLanes)
        dot += load(d_rows + i * stride + c) * load(out + (first + i) * stride + c);
      const Vec most = splat(stats[(first + i) * 2]), inverse = splat(stats[(first + i) * 2 + 1]);
      const Vec mean = splat(sum(dot));
      for (int64_t c = range.from; c < range.to; c += kLanes) {
        const Vec x = exp(load(row + c) - most) * inverse;
        store(row + c, x);
        store(d_row + c, x * (load(d_row + c) - mean));
      }
    }
    panels_of_rows(q_rows, count, shape, q_panels);
    panels_of_rows(d_rows, count, shape, d_out_panels);
    product<false>(count, 0, width, depth, d_p + range.from, wide, 1, keys + range.from * kTileColumns, shape.keys,
                   d.q + first * stride, stride);
    product<true>(depth, 0, width, count, p + range.from, 1, wide, d_out_panels, count, d_values + range.from * width,
                  width);
    product<true>(depth, 0, width, count, d_p + range.from, 1, wide, q_panels, count, d_keys + range.from * width,
                  width);
  }
  for (int64_t i = 0; i < shape.keys; ++i) {
    std::memcpy(d.k + i * stride, d_keys + i * width, sizeof(float) * width);
    std::memcpy(d.v + i * stride, d_values + i * width, sizeof(float) * width);
  }
}

using Array = ffi::Buffer<ffi::F32>;

// Of q [B, T, H, K], keys [B, S, H, K] and a mask [B, T, S].
Shape shape_of(const Array& q, const Array& k) {
  const auto queries = q.dimensions(), keys = k.dimensions();
  return {queries[2], queries[1], keys[1], queries[3]};
}

bool fits(const Array& q, const Array& k, const Array& v, const ffi::Buffer<ffi::PRED>& mask) {
  const auto queries = q.dimensions(), keys = k.dimensions(), seen = mask.dimensions();
  return queries[3] % kTileColumns == 0 && queries[3] == keys[3] && queries[0] == keys[0] && queries[2] == keys[2] &&
         k.element_count() == v.element_count() && seen[0] == queries[0] && seen[1] == queries[1] && seen[2] == keys[1];
}

// Where a part of the work, a head of an example, begins.
struct Place {
  int64_t query, key, mask, stats;

  Place(int64_t part, const Shape& shape) {
    const int64_t example = part / shape.heads, head = part % shape.heads * shape.width;
    query = example * shape.queries * shape.stride() + head;
    key = example * shape.keys * shape.stride() + head;
    mask = example * shape.queries * shape.keys;
    stats = part * shape.queries * 2;
  }
};

ffi::Error Forward(ffi::ThreadPool pool, Array q, Array k, Array v, ffi::Buffer<ffi::PRED> mask,
                   ffi::Result<Array> out, ffi::Result<Array> stats) {
  if (!fits(q, k, v, mask)) return ffi::Error::InvalidArgument("pangu_flash: shapes that do not fit");
  const Shape shape = shape_of(q, k);
  on_pool(pool, q.dimensions()[0] * shape.heads, [&](int64_t part) {
    const Place at(part, shape);
    forward(q.typed_data() + at.query, k.typed_data() + at.key, v.typed_data() + at.key, mask.typed_data() + at.mask,
            out->typed_data() + at.query, stats->typed_data() + at.stats, shape);
  });
  return ffi::Error::Success();
}

ffi::Error Backward(ffi::ThreadPool pool, Array q, Array k, Array v, ffi::Buffer<ffi::PRED> mask, Array out,
                    Array stats, Array d_out, ffi::Result<Array> d_q, ffi::Result<Array> d_k,
                    ffi::Result<Array> d_v) {
  if (!fits(q, k, v, mask)) return ffi::Error::InvalidArgument("pangu_flash_backward: shapes that do not fit");
  const Shape shape = shape_of(q, k);
  on_pool(pool, q.dimensions()[0] * shape.heads, [&](int64_t part) {
    const Place at(part, shape);
    backward(q.typed_data() + at.query, k.typed_data() + at.key, v.typed_data() + at.key, mask.typed_data() + at.mask,
             out.typed_data() + at.query, stats.typed_data() + at.stats, d_out.typed_data() + at.query,
             {d_q->typed_data() + at.query, d_k->typed_data() + at.key, d_v->typed_data() + at.key}, shape);
  });
  return ffi::Error::Success();
}

}  // namespace
}  // namespace pangu

#pragma GCC visibility push(default)
XLA_FFI_DEFINE_HANDLER_SYMBOL(pangu_flash, pangu::Forward,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::Buffer<ffi::PRED>>()
                                  .Ret<ffi::Buffer<ffi::F32>>()
                                  .Ret<ffi::Buffer<ffi::F32>>());
XLA_FFI_DEFINE_HANDLER_SYMBOL(pangu_flash_backward, pangu::Backward,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::Buffer<ffi::PRED>>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Ret<ffi::Buffer<ffi::F32>>()
                                  .Ret<ffi::Buffer<ffi::F32>>()
                                  .Ret<ffi::Buffer<ffi::F32>>());
#pragma GCC visibility pop
