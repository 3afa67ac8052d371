// Products of matrices by the blocking of BLIS (Van Zee and van de Geijn, 2015): a slab of b is packed once and stays
// in a cache, a block of a in the second, and a panel of a slab in the first, while tiles go over them.
#ifndef PANGU_CPU_KERNELS_MATMUL_H_
#define PANGU_CPU_KERNELS_MATMUL_H_

#include <algorithm>
#include <cstring>
#include <vector>

#include "micro.h"
#include "pool.h"

namespace pangu {

// A matrix: element [i, j] is data[i * down + j * across]; one of the two strides is 1.
struct Matrix {
  const float* data;
  int64_t down, across;
};

constexpr int64_t kDepth = 256;             // of a slab
constexpr int64_t kRows = 96;               // of a block of a: 96 KB
constexpr int64_t kBlockRow = kDepth + 16;  // of a block whose rows are kept: no power of two, which caches dislike
constexpr int64_t kPanels = 1024 / kWideColumns;  // that a thread takes at once

// Panels `begin` to `end` of a slab of b, each [deep][kWideColumns], zeros behind the last column.
inline void pack_panels(const Matrix& b, int64_t from, int64_t deep, int64_t begin, int64_t end, int64_t columns,
                        float* slab) {
  constexpr int64_t kWide = kWideColumns;
  const float* data = b.data + from * b.down;
  const int64_t whole = std::min(end, std::max(begin, columns / kWide));
  if (b.across == 1) {
    for (int64_t k = 0; k < deep; ++k)
      for (int64_t panel = begin; panel < whole; ++panel)
        std::memcpy(slab + ((panel - begin) * deep + k) * kWide, data + k * b.down + panel * kWide,
                    sizeof(float) * kWide);
  } else {
    for (int64_t panel = begin; panel < whole; ++panel)
      for (int64_t k = 0; k < deep; ++k)
        for (int64_t j = 0; j < kWide; ++j)
          slab[((panel - begin) * deep + k) * kWide + j] = data[k * b.down + (panel * kWide + j) * b.across];
  }
  if (whole == end) return;
  const int64_t first = whole * kWide, wide = columns - first;
  float* panel = slab + (whole - begin) * deep * kWide;
  for (int64_t k = 0; k < deep; ++k) {
    for (int64_t j = 0; j < wide; ++j) panel[k * kWide + j] = data[k * b.down + (first + j) * b.across];
    std::memset(panel + k * kWide + wide, 0, sizeof(float) * (kWide - wide));
  }
}

// A block of a with its rows as they are, kBlockRow apart, or where its columns lie together as panels of a tile's
// rows, [deep][kWideRows]; zeros behind the last row.
inline void pack_block(const Matrix& a, int64_t top, int64_t high, int64_t from, int64_t deep, float* block) {
  const float* data = a.data + top * a.down + from * a.across;
  const int64_t padded = (high + kWideRows - 1) / kWideRows * kWideRows;
  if (a.across == 1) {
    for (int64_t i = 0; i < high; ++i) std::memcpy(block + i * kBlockRow, data + i * a.down, sizeof(float) * deep);
    for (int64_t i = high; i < padded; ++i) std::memset(block + i * kBlockRow, 0, sizeof(float) * deep);
    return;
  }
  const int64_t whole = high / kWideRows * kWideRows;
  for (int64_t k = 0; k < deep; ++k) {
    for (int64_t i = 0; i < whole; i += kWideRows)
      std::memcpy(block + i * deep + k * kWideRows, data + k * a.across + i, sizeof(float) * kWideRows);
    for (int64_t i = whole; i < padded; ++i)
      block[whole * deep + k * kWideRows + i - whole] = i < high ? data[k * a.across + i] : 0.0f;
  }
}

template <bool ROWS_KEPT, bool ADD>
void tile(int64_t depth, const float* a, const float* b, float* c, int64_t c_row) {
  constexpr int64_t kRow = ROWS_KEPT ? kBlockRow : 1, kStep = ROWS_KEPT ? 1 : kWideRows;
  micro_by<WideVec, kWideRows, ADD>(depth, a, kRow, kStep, b, kWideColumns, c, c_row);
}

// A tile of which c has `rows` and `columns`.
template <bool ROWS_KEPT>
void edge(bool add, int64_t depth, const float* a, const float* b, float* c, int64_t c_row, int64_t rows,
          int64_t columns) {
  float room[kWideRows * kWideColumns];
  tile<ROWS_KEPT, false>(depth, a, b, room, kWideColumns);
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < columns; ++j) {
      float& to = c[i * c_row + j];
      to = (add ? to : 0.0f) + room[i * kWideColumns + j];
    }
}

// c [high, columns of `count` panels] = or += a packed block times packed panels; `columns` are left of c's.
template <bool ROWS_KEPT>
void tiles(bool add, int64_t deep, const float* block, int64_t high, const float* panels, int64_t count, float* c,
           int64_t c_row, int64_t columns) {
  for (int64_t panel = 0; panel < count; ++panel) {
    const int64_t first = panel * kWideColumns, wide = std::min<int64_t>(kWideColumns, columns - first);
    const float* b = panels + panel * deep * kWideColumns;
    for (int64_t i = 0; i < high; i += kWideRows) {
      const float* a = block + i * (ROWS_KEPT ? kBlockRow : deep);
      float* to = c + i * c_row + first;
      const int64_t tall = std::min<int64_t>(kWideRows, high - i);
      if (tall < kWideRows || wide < kWideColumns)
        edge<ROWS_KEPT>(add, deep, a, b, to, c_row, tall, wide);
      else
        add ? tile<ROWS_KEPT, true>(deep, a, b, to, c_row) : tile<ROWS_KEPT, false>(deep, a, b, to, c_row);
    }
  }
}

inline float* aligned(std::vector<float>& room, int64_t size) {
  if (room.size() < size_t(size + 16)) room.resize(size + 16);
  return room.data() + (-reinterpret_cast<intptr_t>(room.data()) / 4 & 15);
}

// c [rows, columns] = a b. `finish(row, first, count)` is called once for each part of a row of c that is done, while
// it is in a cache.
template <class Finish>
void matmul(xla::ffi::ThreadPool& pool, int64_t rows, int64_t columns, int64_t depth, Matrix a, Matrix b, float* c,
            const Finish& finish) {
  const int64_t panels = (columns + kWideColumns - 1) / kWideColumns, padded = panels * kWideColumns;
  // A block of a times `count` panels from number `begin` on.
  const auto multiply = [&](int64_t top, int64_t from, int64_t deep, const float* packed, int64_t begin,
                            int64_t count) {
    alignas(64) static thread_local float block[kRows * kBlockRow];
    const int64_t high = std::min(kRows, rows - top), first = begin * kWideColumns;
    pack_block(a, top, high, from, deep, block);
    float* to = c + top * columns + first;
    if (a.across == 1)
      tiles<true>(from > 0, deep, block, high, packed, count, to, columns, columns - first);
    else
      tiles<false>(from > 0, deep, block, high, packed, count, to, columns, columns - first);
    if (from + deep < depth) return;
    for (int64_t i = top; i < top + high; ++i)
      finish(i, first, std::min(columns - first, count * kWideColumns));
  };
  if (rows <= 8 * kRows && depth > 2 * kDepth) {  // few rows: each thread packs columns of b, a slab at a time
    const int64_t parts = std::max<int64_t>((panels + kPanels - 1) / kPanels, std::min(panels, pool.num_threads()));
    const int64_t group = (panels + parts - 1) / parts;  // as many for each
    on_pool(pool, (panels + group - 1) / group, [&](int64_t part) {
      const int64_t begin = part * group, end = std::min(panels, begin + group);
      static thread_local std::vector<float> own;
      float* slab = aligned(own, kDepth * group * kWideColumns);
      for (int64_t from = 0; from < depth; from += kDepth) {
        const int64_t deep = std::min(kDepth, depth - from);
        pack_panels(b, from, deep, begin, end, columns, slab);
        for (int64_t top = 0; top < rows; top += kRows) multiply(top, from, deep, slab, begin, end - begin);
      }
    });
    return;
  }
  static thread_local std::vector<float> shared;
  float* packed = aligned(shared, padded * depth);  // slabs, of panels
  const int64_t slabs = (depth + kDepth - 1) / kDepth;
  on_pool(pool, slabs * ((panels + 3) / 4), [&](int64_t part) {
    const int64_t from = part % slabs * kDepth, deep = std::min(kDepth, depth - from), begin = part / slabs * 4;
    pack_panels(b, from, deep, begin, std::min(panels, begin + 4), columns,
                packed + from * padded + begin * deep * kWideColumns);
  });
  const int64_t blocks = (rows + kRows - 1) / kRows, groups = (panels + kPanels - 1) / kPanels;
  on_pool(pool, blocks * groups, [&](int64_t part) {
    const int64_t begin = part % groups * kPanels, end = std::min(panels, begin + kPanels);
    for (int64_t from = 0; from < depth; from += kDepth) {
      const int64_t deep = std::min(kDepth, depth - from);
      multiply(part / groups * kRows, from, deep, packed + from * padded + begin * deep * kWideColumns, begin,
               end - begin);
    }
  });
}

}  // namespace pangu

#endif  // PANGU_CPU_KERNELS_MATMUL_H_
