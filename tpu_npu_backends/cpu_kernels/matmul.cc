// The blocking of BLIS (Van Zee and van de Geijn, 2015): a slab of b is packed once and stays in the last cache, a
// block of a in the second, and a panel of 16 columns in the first, while tiles of 6 x 16 go over them.

#include <algorithm>
#include <cstring>
#include <vector>

#include "micro.h"
#include "pool.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace pangu {
namespace {

// A matrix: element [i, j] is data[i * down + j * across]; one of the two strides is 1.
struct Matrix {
  const float* data;
  int64_t down, across;
};

constexpr int64_t kDepth = 256;     // of a slab
constexpr int64_t kRows = 96;       // of a block of a: 96 KB
constexpr int64_t kPanels = 64;     // of 16 columns, that a thread takes at once

// `width` neighbours along one dimension, for each of `depth` along the other: to [depth][WIDTH], zeros behind.
template <int WIDTH>
void pack(const float* from, int64_t along, int64_t neighbour, int64_t depth, int64_t width, float* to) {
  if (width < WIDTH) std::memset(to, 0, sizeof(float) * depth * WIDTH);
  if (neighbour == 1 && width == WIDTH) {
    for (int64_t k = 0; k < depth; ++k) std::memcpy(to + k * WIDTH, from + k * along, sizeof(float) * WIDTH);
  } else if (along == 1 && width == WIDTH) {
    for (int64_t k = 0; k < depth; ++k)
      for (int i = 0; i < WIDTH; ++i) to[k * WIDTH + i] = from[i * neighbour + k];
  } else {
    for (int64_t k = 0; k < depth; ++k)
      for (int64_t i = 0; i < width; ++i) to[k * WIDTH + i] = from[k * along + i * neighbour];
  }
}

// A block of a, `high` rows from `top` on, as panels of 6 rows.
void pack_block(const Matrix& a, int64_t top, int64_t high, int64_t from, int64_t deep, float* block) {
  const float* data = a.data + top * a.down + from * a.across;
  if (a.down != 1 || high % kTileRows) {
    for (int64_t i = 0; i < high; i += kTileRows)
      pack<kTileRows>(data + i * a.down, a.across, a.down, deep, std::min<int64_t>(kTileRows, high - i), block + i * deep);
    return;
  }
  for (int64_t k = 0; k < deep; ++k)  // rows are neighbours: read each line of memory once
    for (int64_t i = 0; i < high; i += kTileRows)
      std::memcpy(block + i * deep + k * kTileRows, data + k * a.across + i, sizeof(float) * kTileRows);
}

// Panels `begin` to `end` of 16 columns of a slab of b.
void pack_panels(const Matrix& b, int64_t from, int64_t deep, int64_t begin, int64_t end, int64_t columns, float* slab) {
  const float* data = b.data + from * b.down;
  if (b.across != 1 || end * kTileColumns > columns) {
    for (int64_t first = begin * kTileColumns; first < end * kTileColumns; first += kTileColumns)
      pack<kTileColumns>(data + first * b.across, b.down, b.across, deep,
                         std::min<int64_t>(kTileColumns, columns - first), slab + first * deep);
    return;
  }
  for (int64_t k = 0; k < deep; ++k)
    for (int64_t first = begin * kTileColumns; first < end * kTileColumns; first += kTileColumns)
      std::memcpy(slab + first * deep + k * kTileColumns, data + k * b.down + first, sizeof(float) * kTileColumns);
}

void tile(bool add, int64_t depth, const float* a, const float* b, float* c, int64_t c_stride) {
  add ? micro<kTileRows, true>(depth, a, 1, kTileRows, b, kTileColumns, c, c_stride)
      : micro<kTileRows, false>(depth, a, 1, kTileRows, b, kTileColumns, c, c_stride);
}

// A tile that reaches over the edge of c.
void edge(bool add, int64_t depth, const float* a, const float* b, float* c, int64_t c_stride, int64_t rows,
          int64_t columns) {
  float room[kTileRows * kTileColumns];
  micro<kTileRows, false>(depth, a, 1, kTileRows, b, kTileColumns, room, kTileColumns);
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < columns; ++j) {
      float& to = c[i * c_stride + j];
      to = (add ? to : 0.0f) + room[i * kTileColumns + j];
    }
}

void matmul(ffi::ThreadPool& pool, int64_t rows, int64_t columns, int64_t depth, Matrix a, Matrix b, float* c) {
  const int64_t panels = (columns + kTileColumns - 1) / kTileColumns, padded = panels * kTileColumns;
  static thread_local std::vector<float> room;
  if (room.size() < size_t(padded * depth + 16)) room.resize(padded * depth + 16);
  float* packed = room.data() + (-reinterpret_cast<intptr_t>(room.data()) / 4 & 15);  // slabs [deep, 16] panels
  const int64_t slabs = (depth + kDepth - 1) / kDepth;
  on_pool(pool, slabs * ((panels + 7) / 8), [&](int64_t part) {
    const int64_t from = part % slabs * kDepth, deep = std::min(kDepth, depth - from);
    pack_panels(b, from, deep, part / slabs * 8, std::min(panels, part / slabs * 8 + 8), columns, packed + from * padded);
  });
  const int64_t blocks = (rows + kRows - 1) / kRows, groups = (panels + kPanels - 1) / kPanels;
  on_pool(pool, blocks * groups, [&](int64_t part) {
    const int64_t top = part / groups * kRows, high = std::min(kRows, rows - top);
    const int64_t begin = part % groups * kPanels, end = std::min(panels, begin + kPanels);
    alignas(64) float block[kRows * kDepth];
    for (int64_t from = 0; from < depth; from += kDepth) {
      const int64_t deep = std::min(kDepth, depth - from);
      pack_block(a, top, high, from, deep, block);
      for (int64_t panel = begin; panel < end; ++panel) {
        const int64_t first = panel * kTileColumns, wide = std::min<int64_t>(kTileColumns, columns - first);
        const float* b_panel = packed + from * padded + first * deep;
        for (int64_t i = 0; i < high; i += kTileRows) {
          float* to = c + (top + i) * columns + first;
          const int64_t tall = std::min<int64_t>(kTileRows, high - i);
          if (tall == kTileRows && wide == kTileColumns)
            tile(from > 0, deep, block + i * deep, b_panel, to, columns);
          else
            edge(from > 0, deep, block + i * deep, b_panel, to, columns, tall, wide);
        }
      }
    }
  });
}

// `transposed` is the operand whose transpose is meant: "left", "right" or neither.
ffi::Error Matmul(ffi::ThreadPool pool, ffi::Buffer<ffi::F32> a, ffi::Buffer<ffi::F32> b, ffi::Result<ffi::Buffer<ffi::F32>> c,
                  std::string_view transposed) {
  const auto left = a.dimensions(), right = b.dimensions(), out = c->dimensions();
  const bool of_left = transposed == "left", of_right = transposed == "right";
  const int64_t rows = left[of_left], depth = left[!of_left], columns = right[!of_right];
  if (right[of_right] != depth || out[0] != rows || out[1] != columns)
    return ffi::Error::InvalidArgument("pangu_matmul: shapes that do not fit");
  const Matrix first = of_left ? Matrix{a.typed_data(), 1, rows} : Matrix{a.typed_data(), depth, 1};
  const Matrix second = of_right ? Matrix{b.typed_data(), 1, depth} : Matrix{b.typed_data(), columns, 1};
  matmul(pool, rows, columns, depth, first, second, c->typed_data());
  return ffi::Error::Success();
}

}  // namespace
}  // namespace pangu

#pragma GCC visibility push(default)
XLA_FFI_DEFINE_HANDLER_SYMBOL(pangu_matmul, pangu::Matmul,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Ret<ffi::Buffer<ffi::F32>>()
                                  .Attr<std::string_view>("transposed"));
#pragma GCC visibility pop
