// Attention inside windows with a bias: qkv [B, P, G, N, H, 3, K], of P windows along longitude and G kinds of them, and
// a bias [P or 1, G or 1, H, N, N], key by query. All windows that share a bias and a head are a part of the work, so
// that one thread adds up that bias' gradient.

#include "pool.h"
#include "windows.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace pangu {
namespace {

using Array = ffi::Buffer<ffi::F32>;

struct Windows {
  int64_t examples, along, kinds, tokens, heads, width, bias_along, bias_kinds;
  float scale;

  int64_t parts() const { return bias_along * bias_kinds * heads; }
  int64_t square() const { return tokens * tokens; }

  // run(window's number, Window) for all windows of a part.
  template <class Run>
  void each(int64_t part, const float* qkv, const float* bias, const Run& run) const {
    const int64_t head = part % heads, kind = part / heads % bias_kinds, place = part / heads / bias_kinds;
    const int64_t row = heads * 3 * width, out_row = heads * width;
    for (int64_t example = 0; example < examples; ++example)
      for (int64_t p = bias_along > 1 ? place : 0; p < (bias_along > 1 ? place + 1 : along); ++p)
        for (int64_t g = bias_kinds > 1 ? kind : 0; g < (bias_kinds > 1 ? kind + 1 : kinds); ++g) {
          const int64_t window = (example * along + p) * kinds + g;
          const int64_t at = window * tokens * row + head * 3 * width;
          const float* q = qkv + at;
          run(at, window * tokens * out_row + head * width, (window * heads + head) * 2 * tokens,
              Window{q, q + width, q + 2 * width, bias + part * square(), tokens, width, row, out_row, scale});
        }
  }
};

bool fits(const Array& qkv, const Array& bias) {
  const auto all = qkv.dimensions(), of = bias.dimensions();
  return all.size() == 7 && of.size() == 5 && all[5] == 3 && all[6] % kLanes == 0 && (of[0] == 1 || of[0] == all[1]) &&
         (of[1] == 1 || of[1] == all[2]) && of[2] == all[4] && of[3] == all[3] && of[4] == all[3];
}

Windows windows_of(const Array& qkv, const Array& bias) {
  const auto all = qkv.dimensions(), of = bias.dimensions();
  return {all[0], all[1], all[2], all[3], all[4], all[6], of[0], of[1], 1.0f / std::sqrt(float(all[6]))};
}

ffi::Error Forward(ffi::ThreadPool pool, Array qkv, Array bias, ffi::Result<Array> out, ffi::Result<Array> stats) {
  if (!fits(qkv, bias)) return ffi::Error::InvalidArgument("pangu_windows: shapes that do not fit");
  const Windows windows = windows_of(qkv, bias);
  on_pool(pool, windows.parts(), [&](int64_t part) {
    windows.each(part, qkv.typed_data(), bias.typed_data(), [&](int64_t, int64_t to, int64_t stat, const Window& of) {
      window_forward(of, out->typed_data() + to, stats->typed_data() + stat);
    });
  });
  return ffi::Error::Success();
}

ffi::Error Backward(ffi::ThreadPool pool, Array qkv, Array bias, Array stats, Array d_out, ffi::Result<Array> d_qkv,
                    ffi::Result<Array> d_bias) {
  if (!fits(qkv, bias)) return ffi::Error::InvalidArgument("pangu_windows_backward: shapes that do not fit");
  const Windows windows = windows_of(qkv, bias);
  on_pool(pool, windows.parts(), [&](int64_t part) {
    float* own = d_bias->typed_data() + part * windows.square();
    std::memset(own, 0, sizeof(float) * windows.square());
    windows.each(part, qkv.typed_data(), bias.typed_data(),
                 [&](int64_t at, int64_t to, int64_t stat, const Window& of) {
                   float* d = d_qkv->typed_data() + at;
                   window_backward(of, stats.typed_data() + stat, d_out.typed_data() + to, d, d + of.width,
                                   d + 2 * of.width, own);
                 });
  });
  return ffi::Error::Success();
}

}  // namespace
}  // namespace pangu

#pragma GCC visibility push(default)
XLA_FFI_DEFINE_HANDLER_SYMBOL(pangu_windows, pangu::Forward,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Ret<ffi::Buffer<ffi::F32>>()
                                  .Ret<ffi::Buffer<ffi::F32>>());
XLA_FFI_DEFINE_HANDLER_SYMBOL(pangu_windows_backward, pangu::Backward,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Ret<ffi::Buffer<ffi::F32>>()
                                  .Ret<ffi::Buffer<ffi::F32>>());
#pragma GCC visibility pop
