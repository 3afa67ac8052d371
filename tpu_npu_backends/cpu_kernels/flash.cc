// Attention of whole windows: of queries, keys and values, [B, T, H, K] as projections leave them, or of all three in
// one array [B, T, H, 3, K]. A head of an example is a part of the work.

#include "flash.h"
#include "pool.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace pangu {
namespace {

using Array = ffi::Buffer<ffi::F32>;
using Mask = ffi::Buffer<ffi::PRED>;

// Where a head of an example begins in every array.
struct Place {
  int64_t example, head, query, key, out, stats;
};

// The sizes that all heads share, and where one of them is.
struct Heads {
  int64_t examples, count, queries, keys, width, parts;  // `parts` of a head side by side: 1, or q, k and v
  const bool* mask;                                      // [B, T, S], or none

  Place place(int64_t part) const {
    const int64_t example = part / count, head = part % count, across = count * width;
    return {example,
            head,
            (example * queries * across + head * width) * parts,
            (example * keys * across + head * width) * parts,
            example * queries * across + head * width,
            part * queries * 2};
  }
  Head head(const Place& at, const float* q, const float* k, const float* v, float scale) const {
    const bool* seen = mask ? mask + at.example * queries * keys : nullptr;
    const int64_t row = count * width * parts;
    return {q + at.query, k + at.key, v + at.key, seen, queries, keys, width, row, row, count * width, scale};
  }
};

bool fits(const Array& q, const Array& k, const Array& v, const Mask& mask) {
  const auto queries = q.dimensions(), keys = k.dimensions(), seen = mask.dimensions();
  return queries[3] % kTileColumns == 0 && queries[3] == keys[3] && queries[0] == keys[0] && queries[2] == keys[2] &&
         k.element_count() == v.element_count() && seen[0] == queries[0] && seen[1] == queries[1] && seen[2] == keys[1];
}

Heads heads_of(const Array& q, const Array& k, const Mask& mask) {
  const auto queries = q.dimensions();
  return {queries[0], queries[2], queries[1], k.dimensions()[1], queries[3], 1, mask.typed_data()};
}

ffi::Error Forward(ffi::ThreadPool pool, Array q, Array k, Array v, Mask mask, ffi::Result<Array> out,
                   ffi::Result<Array> stats) {
  if (!fits(q, k, v, mask)) return ffi::Error::InvalidArgument("pangu_flash: shapes that do not fit");
  const Heads heads = heads_of(q, k, mask);
  on_pool(pool, heads.examples * heads.count, [&](int64_t part) {
    const Place at = heads.place(part);
    flash_forward(heads.head(at, q.typed_data(), k.typed_data(), v.typed_data(), 1.0f), out->typed_data() + at.out,
                  stats->typed_data() + at.stats);
  });
  return ffi::Error::Success();
}

ffi::Error Backward(ffi::ThreadPool pool, Array q, Array k, Array v, Mask mask, Array out, Array stats, Array d_out,
                    ffi::Result<Array> d_q, ffi::Result<Array> d_k, ffi::Result<Array> d_v) {
  if (!fits(q, k, v, mask)) return ffi::Error::InvalidArgument("pangu_flash_backward: shapes that do not fit");
  const Heads heads = heads_of(q, k, mask);
  on_pool(pool, heads.examples * heads.count, [&](int64_t part) {
    const Place at = heads.place(part);
    flash_backward(heads.head(at, q.typed_data(), k.typed_data(), v.typed_data(), 1.0f), out.typed_data() + at.out,
                   stats.typed_data() + at.stats, d_out.typed_data() + at.out, d_q->typed_data() + at.query,
                   d_k->typed_data() + at.key, d_v->typed_data() + at.key);
  });
  return ffi::Error::Success();
}

// Of qkv [B, T, H, 3, K], and a mask [B, T, T] or an empty one.
bool fits(const Array& qkv, const Mask& mask) {
  const auto all = qkv.dimensions();
  const int64_t square = all[0] * all[1] * all[1], seen = mask.element_count();
  return all.size() == 5 && all[3] == 3 && all[4] % kTileColumns == 0 && (seen == 0 || seen == square);
}

Heads heads_of(const Array& qkv, const Mask& mask) {
  const auto all = qkv.dimensions();
  return {all[0], all[2], all[1], all[1], all[4], 3, mask.element_count() ? mask.typed_data() : nullptr};
}

ffi::Error SelfForward(ffi::ThreadPool pool, Array qkv, Mask mask, ffi::Result<Array> out, ffi::Result<Array> stats,
                       float scale) {
  if (!fits(qkv, mask)) return ffi::Error::InvalidArgument("pangu_self_flash: shapes that do not fit");
  const Heads heads = heads_of(qkv, mask);
  const float* q = qkv.typed_data();
  on_pool(pool, heads.examples * heads.count, [&](int64_t part) {
    const Place at = heads.place(part);
    flash_forward(heads.head(at, q, q + heads.width, q + 2 * heads.width, scale), out->typed_data() + at.out,
                  stats->typed_data() + at.stats);
  });
  return ffi::Error::Success();
}

ffi::Error SelfBackward(ffi::ThreadPool pool, Array qkv, Mask mask, Array out, Array stats, Array d_out,
                        ffi::Result<Array> d_qkv, float scale) {
  if (!fits(qkv, mask)) return ffi::Error::InvalidArgument("pangu_self_flash_backward: shapes that do not fit");
  const Heads heads = heads_of(qkv, mask);
  const float* q = qkv.typed_data();
  on_pool(pool, heads.examples * heads.count, [&](int64_t part) {
    const Place at = heads.place(part);
    float* d = d_qkv->typed_data() + at.query;
    flash_backward(heads.head(at, q, q + heads.width, q + 2 * heads.width, scale), out.typed_data() + at.out,
                   stats.typed_data() + at.stats, d_out.typed_data() + at.out, d, d + heads.width,
                   d + 2 * heads.width);
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
XLA_FFI_DEFINE_HANDLER_SYMBOL(pangu_self_flash, pangu::SelfForward,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::Buffer<ffi::PRED>>()
                                  .Ret<ffi::Buffer<ffi::F32>>()
                                  .Ret<ffi::Buffer<ffi::F32>>()
                                  .Attr<float>("scale"));
XLA_FFI_DEFINE_HANDLER_SYMBOL(pangu_self_flash_backward, pangu::SelfBackward,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::Buffer<ffi::PRED>>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Ret<ffi::Buffer<ffi::F32>>()
                                  .Attr<float>("scale"));
#pragma GCC visibility pop
