// y [N, R] = weight [N, D] x [D, R] for few columns R: as fast as the weight can be read.
//
// The weight comes packed, [P, D, 6]: groups of 6 rows, side by side for each of D, so that it is read from memory
// in one stream, and a group times 16 columns (two groups times 8) fills the registers with sums.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "pool.h"
#include "vectors.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace pangu {
namespace {

constexpr int kRows = 6;            // of a group
constexpr int64_t kPart = 8;        // groups that a thread takes at once
constexpr int64_t kAhead = 96;      // of D, that are fetched before they are needed

// y [GROUPS * 6, VECTORS * 8] = groups of a weight times x [depth, VECTORS * 8].
template <int GROUPS, int VECTORS>
void tile(const float* weight, int64_t depth, const float* x, int64_t x_stride, float* y, int64_t y_stride) {
  Vec sums[GROUPS * kRows][VECTORS] = {};
  for (int64_t d = 0; d < depth; ++d) {
    Vec columns[VECTORS];
#pragma GCC unroll 2
    for (int j = 0; j < VECTORS; ++j) columns[j] = load(x + d * x_stride + j * kLanes);
#pragma GCC unroll 2
    for (int group = 0; group < GROUPS; ++group) {
      const float* rows = weight + (group * depth + d) * kRows;
      __builtin_prefetch(rows + kAhead * kRows);
#pragma GCC unroll 6
      for (int i = 0; i < kRows; ++i) {
        const Vec factor = splat(rows[i]);
#pragma GCC unroll 2
        for (int j = 0; j < VECTORS; ++j) sums[group * kRows + i][j] += factor * columns[j];
      }
    }
  }
#pragma GCC unroll 12
  for (int i = 0; i < GROUPS * kRows; ++i)
#pragma GCC unroll 2
    for (int j = 0; j < VECTORS; ++j) store(y + i * y_stride + j * kLanes, sums[i][j]);
}

// Weights as they are multiplied: fp32 as they lie, others expanded into `room` first.
const float* expanded(const float* weight, int64_t, std::vector<float>&) { return weight; }

const float* expanded(const uint16_t* weight, int64_t count, std::vector<float>& room) {  // bfloat16
  typedef uint32_t Bits __attribute__((may_alias));
  room.resize(count);
  Bits* bits = reinterpret_cast<Bits*>(room.data());
  for (int64_t i = 0; i < count; ++i) bits[i] = Bits(weight[i]) << 16;
  return room.data();
}

const float* expanded(const int8_t* weight, int64_t count, std::vector<float>& room) {
  room.resize(count);
  for (int64_t i = 0; i < count; ++i) room[i] = weight[i];
  return room.data();
}

struct Shape {
  int64_t rows, depth, columns, padded;
};

// Two groups at most: their rows of y.
template <int GROUPS, typename W>
void groups(const W* weight, const float* scale, const float* x, float* y, int64_t first, const Shape& shape) {
  thread_local std::vector<float> room, out;
  out.resize(GROUPS * kRows * shape.padded);
  const float* ready = expanded(weight + first * shape.depth * kRows, GROUPS * kRows * shape.depth, room);
  int64_t column = 0;
  for (; column + 2 * kLanes <= shape.padded; column += 2 * kLanes)
    for (int group = 0; group < GROUPS; ++group)
      tile<1, 2>(ready + group * kRows * shape.depth, shape.depth, x + column, shape.padded,
                 &out[group * kRows * shape.padded + column], shape.padded);
  if (column < shape.padded) tile<GROUPS, 1>(ready, shape.depth, x + column, shape.padded, &out[column], shape.padded);
  const int64_t row = first * kRows, here = std::min<int64_t>(GROUPS * kRows, shape.rows - row);
  for (int64_t i = 0; i < here; ++i) {
    const float factor = scale ? scale[row + i] : 1.0f;
    for (int64_t c = 0; c < shape.columns; ++c) y[(row + i) * shape.columns + c] = out[i * shape.padded + c] * factor;
  }
}

template <typename W>
void product(ffi::ThreadPool& pool, const W* weight, const float* scale, const float* x, float* y, Shape shape) {
  std::vector<float> padded;
  if (shape.padded != shape.columns) {
    padded.assign(shape.depth * shape.padded, 0.0f);
    for (int64_t d = 0; d < shape.depth; ++d)
      std::memcpy(&padded[d * shape.padded], x + d * shape.columns, shape.columns * sizeof(float));
    x = padded.data();
  }
  const int64_t count = (shape.rows + kRows - 1) / kRows;
  on_pool(pool, (count + kPart - 1) / kPart, [&](int64_t part) {
    const int64_t end = std::min(count, (part + 1) * kPart);
    int64_t first = part * kPart;
    for (; first + 2 <= end; first += 2) groups<2>(weight, scale, x, y, first, shape);
    if (first < end) groups<1>(weight, scale, x, y, first, shape);
  });
}

ffi::Error FewColumns(ffi::ThreadPool pool, ffi::AnyBuffer weight, ffi::Buffer<ffi::F32> scale,
                      ffi::Buffer<ffi::F32> x, ffi::Result<ffi::Buffer<ffi::F32>> y) {
  Shape shape;
  shape.depth = x.dimensions()[0], shape.columns = x.dimensions()[1], shape.rows = y->dimensions()[0];
  shape.padded = (shape.columns + kLanes - 1) / kLanes * kLanes;
  const int64_t count = (shape.rows + kRows - 1) / kRows;
  const bool scaled = scale.element_count() > 0;
  if (int64_t(weight.element_count()) != count * kRows * shape.depth ||
      (scaled && int64_t(scale.element_count()) != shape.rows))
    return ffi::Error::InvalidArgument("pangu_few_columns: shapes that do not fit");
  const float* factors = scaled ? scale.typed_data() : nullptr;
  const void* data = weight.untyped_data();
  switch (weight.element_type()) {
    case ffi::F32:
      product(pool, static_cast<const float*>(data), factors, x.typed_data(), y->typed_data(), shape);
      break;
    case ffi::BF16:
      product(pool, static_cast<const uint16_t*>(data), factors, x.typed_data(), y->typed_data(), shape);
      break;
    case ffi::S8:
      product(pool, static_cast<const int8_t*>(data), factors, x.typed_data(), y->typed_data(), shape);
      break;
    default:
      return ffi::Error::InvalidArgument("pangu_few_columns: weights are float32, bfloat16 or int8");
  }
  return ffi::Error::Success();
}

}  // namespace
}  // namespace pangu

#pragma GCC visibility push(default)
XLA_FFI_DEFINE_HANDLER_SYMBOL(pangu_few_columns, pangu::FewColumns,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Ret<ffi::Buffer<ffi::F32>>());
#pragma GCC visibility pop
