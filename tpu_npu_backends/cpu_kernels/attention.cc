// softmax(q k + bias, where mask) v for few queries per head: as fast as keys and values can be read.
//
// An example's head is a part of the work, and parts run on all cores. Columns behind the last one that is
// seen are not read: a cache costs what has been written of it.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "pool.h"
#include "vectors.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace pangu {
namespace {

constexpr float kHidden = -3.4028235e38f;  // the score of a column that is not seen, as in the plain form
constexpr int kTogether = 8;               // rows of the keys that are added up at once

struct Head {
  const float *q, *keys, *values, *bias;  // [M, K], [K, C], [C, K], [Mb, C] or none
  const bool* seen;                       // [Ms, C]
  float* out;                             // [M, K]
  int64_t queries, width, columns, masks, biases;
};

// Columns up to the last one that any query sees; all of them where a query sees none.
int64_t reach(const Head& head) {
  int64_t end = 0;
  for (int64_t m = 0; m < head.masks; ++m) {
    const bool* row = head.seen + m * head.columns;
    int64_t last = head.columns;
    while (last > 0 && !row[last - 1]) --last;
    if (last == 0) return head.columns;
    end = std::max(end, last);
  }
  return end;
}

// scores [M, room] += q keys, for columns up to `end`.
void add_scores(const Head& head, int64_t end, float* scores, int64_t room) {
  const int64_t columns = head.columns, whole = end / kLanes * kLanes;
  for (int64_t k = 0; k < head.width; k += kTogether) {
    const float* rows = head.keys + k * columns;
    for (int64_t m = 0; m < head.queries; ++m) {
      const float* q = head.q + m * head.width + k;
      float* row = scores + m * room;
      Vec factors[kTogether];
#pragma GCC unroll 8
      for (int i = 0; i < kTogether; ++i) factors[i] = splat(q[i]);
      for (int64_t c = 0; c < whole; c += kLanes) {
        Vec even = load(row + c), odd = {};
#pragma GCC unroll 4
        for (int i = 0; i < kTogether; i += 2) {
          even += factors[i] * load(rows + i * columns + c);
          odd += factors[i + 1] * load(rows + (i + 1) * columns + c);
        }
        store(row + c, even + odd);
      }
      for (int64_t c = whole; c < end; ++c)
        for (int i = 0; i < kTogether; ++i) row[c] += q[i] * rows[i * columns + c];
    }
  }
}

// A row of scores to probabilities; `room` is a multiple of 8, and what is behind `end` becomes 0.
void softmax(float* row, int64_t end, int64_t room, const float* bias, const bool* seen) {
  for (int64_t c = 0; c < end; ++c) row[c] = seen[c] ? row[c] + (bias ? bias[c] : 0.0f) : kHidden;
  for (int64_t c = end; c < room; ++c) row[c] = -INFINITY;
  Vec most = splat(-INFINITY), total = {};
  for (int64_t c = 0; c < room; c += kLanes) {
    const Vec x = load(row + c);
    most = x > most ? x : most;
  }
  most = splat(largest(most));
  for (int64_t c = 0; c < room; c += kLanes) {
    const Vec x = exp(load(row + c) - most);
    store(row + c, x);
    total += x;
  }
  const Vec inverse = splat(1.0f / sum(total));
  for (int64_t c = 0; c < room; c += kLanes) store(row + c, load(row + c) * inverse);
}

// out [QUERIES, VECTORS * 8] = probabilities values, for features from `from` on.
template <int QUERIES, int VECTORS>
void weigh(const Head& head, int64_t query, int64_t from, int64_t end, const float* scores, int64_t room) {
  Vec sums[QUERIES][VECTORS] = {};
  for (int64_t c = 0; c < end; ++c) {
    const float* row = head.values + c * head.width + from;
    __builtin_prefetch(row + 16 * head.width);
#pragma GCC unroll 8
    for (int j = 0; j < VECTORS; ++j) {
      const Vec x = load(row + j * kLanes);
#pragma GCC unroll 4
      for (int m = 0; m < QUERIES; ++m) sums[m][j] += splat(scores[(query + m) * room + c]) * x;
    }
  }
  for (int m = 0; m < QUERIES; ++m)
    for (int j = 0; j < VECTORS; ++j) store(head.out + (query + m) * head.width + from + j * kLanes, sums[m][j]);
}

void attend(const Head& head) {
  thread_local std::vector<float> buffer;
  const int64_t end = reach(head), room = (end + kLanes - 1) / kLanes * kLanes;
  buffer.assign(head.queries * room, 0.0f);
  float* scores = buffer.data();
  add_scores(head, end, scores, room);
  for (int64_t m = 0; m < head.queries; ++m) {
    const float* bias = head.bias ? head.bias + (head.biases == 1 ? 0 : m) * head.columns : nullptr;
    softmax(scores + m * room, end, room, bias, head.seen + (head.masks == 1 ? 0 : m) * head.columns);
  }
  int64_t m = 0;
  for (; m + 4 <= head.queries; m += 4)
    for (int64_t from = 0; from < head.width; from += 2 * kLanes)
      from + 2 * kLanes <= head.width ? weigh<4, 2>(head, m, from, end, scores, room)
                                      : weigh<4, 1>(head, m, from, end, scores, room);
  for (; m < head.queries; ++m)
    for (int64_t from = 0; from < head.width;) {
      if (from + 8 * kLanes <= head.width) {
        weigh<1, 8>(head, m, from, end, scores, room);
        from += 8 * kLanes;
      } else {
        weigh<1, 1>(head, m, from, end, scores, room);
        from += kLanes;
      }
    }
}

ffi::Error FewQueries(ffi::ThreadPool pool, ffi::Buffer<ffi::F32> q, ffi::Buffer<ffi::F32> keys,
                      ffi::Buffer<ffi::F32> values, ffi::Buffer<ffi::PRED> mask, ffi::Buffer<ffi::F32> bias,
                      ffi::Result<ffi::Buffer<ffi::F32>> out) {
  const auto shape = q.dimensions();  // [B, H, M, K]
  const int64_t heads = shape[1];
  Head all;
  all.q = q.typed_data(), all.keys = keys.typed_data(), all.values = values.typed_data(), all.out = out->typed_data();
  all.queries = shape[2], all.width = shape[3], all.columns = keys.dimensions()[3];
  all.seen = mask.typed_data(), all.masks = mask.dimensions()[1];  // [B, Ms, C]
  all.bias = bias.element_count() ? bias.typed_data() : nullptr, all.biases = bias.dimensions()[1];  // [H, Mb, C]
  if (all.width % kLanes || int64_t(keys.element_count()) != shape[0] * heads * all.width * all.columns ||
      keys.element_count() != values.element_count() || mask.dimensions()[2] != all.columns ||
      (all.masks != 1 && all.masks != all.queries) ||
      (all.bias && (bias.dimensions()[2] != all.columns || (all.biases != 1 && all.biases != all.queries))))
    return ffi::Error::InvalidArgument("pangu_few_queries: shapes that do not fit");
  on_pool(pool, shape[0] * heads, [&](int64_t part) {
    Head head = all;
    head.q += part * all.queries * all.width, head.out += part * all.queries * all.width;
    head.keys += part * all.width * all.columns, head.values += part * all.width * all.columns;
    head.seen += part / heads * all.masks * all.columns;
    if (head.bias) head.bias += part % heads * all.biases * all.columns;
    attend(head);
  });
  return ffi::Error::Success();
}

}  // namespace
}  // namespace pangu

#pragma GCC visibility push(default)
XLA_FFI_DEFINE_HANDLER_SYMBOL(pangu_few_queries, pangu::FewQueries,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::Buffer<ffi::PRED>>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Ret<ffi::Buffer<ffi::F32>>());
#pragma GCC visibility pop
