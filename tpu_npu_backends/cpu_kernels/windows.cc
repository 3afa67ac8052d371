// Attention inside windows with a bias: qkv [B, W, Z, Y, H, 3, K] of a grid of longitudes, levels and latitudes, cut into
// windows here, which begin half a window further on where `roll` is not 0; and a bias [P or 1, G or 1, H, N, N], key by
// query, of P windows along longitude and G kinds of them, by level and latitude. All windows that share a bias are a
// part of the work, so that one thread adds up its gradient; where those are few parts, each head is one.

#include "pool.h"
#include "windows.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace pangu {
namespace {

using Array = ffi::Buffer<ffi::F32>;

constexpr int64_t kFew = 4;  // parts

struct Sides {
  int64_t level, latitude, longitude;
};

struct Windows {
  int64_t examples, heads, width, bias_along, bias_kinds;
  Sides grid, window;
  bool roll;
  float scale;

  int64_t along() const { return grid.longitude / window.longitude; }
  int64_t rows() const { return grid.latitude / window.latitude; }
  int64_t kinds() const { return grid.level / window.level * rows(); }
  int64_t tokens() const { return window.level * window.latitude * window.longitude; }
  int64_t square() const { return tokens() * tokens(); }
  int64_t biases() const { return bias_along * bias_kinds; }
  int64_t together() const { return biases() < kFew ? 1 : heads; }  // heads of a part: their rows lie side by side
  int64_t parts() const { return biases() * heads / together(); }

  // Where the tokens of a window are among all of the grid's, by level, latitude and longitude.
  void places(int64_t p, int64_t g, int64_t* to) const {
    const int64_t half = roll ? 2 : 0;
    const auto at = [&](int64_t first, int64_t i, int64_t side, int64_t size) {
      const int64_t place = first * side + i + (half ? side / half : 0);
      return place < size ? place : place - size;
    };
    for (int64_t z = 0; z < window.level; ++z)
      for (int64_t y = 0; y < window.latitude; ++y)
        for (int64_t w = 0; w < window.longitude; ++w)
          *to++ = (at(p, w, window.longitude, grid.longitude) * grid.level + at(g / rows(), z, window.level, grid.level)) *
                      grid.latitude +
                  at(g % rows(), y, window.latitude, grid.latitude);
  }

  // run(first token of the example, first head, places of the window's tokens, where its stats are) of a part.
  template <class Run>
  void each(int64_t part, const Run& run) const {
    const int64_t groups = heads / together(), head = part % groups * together();
    const int64_t kind = part / groups % bias_kinds, place = part / groups / bias_kinds;
    const int64_t all = grid.level * grid.latitude * grid.longitude;
    std::vector<int64_t>& to = window_memory().places;
    to.resize(tokens());
    for (int64_t p = bias_along > 1 ? place : 0; p < (bias_along > 1 ? place + 1 : along()); ++p)
      for (int64_t g = bias_kinds > 1 ? kind : 0; g < (bias_kinds > 1 ? kind + 1 : kinds()); ++g) {
        places(p, g, to.data());
        for (int64_t example = 0; example < examples; ++example)
          run(example * all, head, to.data(), (((example * along() + p) * kinds() + g) * heads + head) * 2 * tokens());
      }
  }
  // Of the first head of a part.
  int64_t bias_of(int64_t part) const { return part * together() * square(); }
};

// `count` pieces of a row, `width` each, of every token: [count][tokens][width] brought together, or laid back.
inline void bring(const float* from, int64_t row, const int64_t* places, int64_t tokens, int64_t count, int64_t width,
                  float* to) {
  for (int64_t i = 0; i < tokens; ++i) {
    const float* piece = from + places[i] * row;
    for (int64_t n = 0; n < count; ++n, piece += width)
      for (int64_t c = 0; c < width; c += kLanes) store(to + (n * tokens + i) * width + c, load<Vec>(piece + c));
  }
}
inline void lay(const float* from, int64_t row, const int64_t* places, int64_t tokens, int64_t count, int64_t width,
                float* to) {
  for (int64_t i = 0; i < tokens; ++i) {
    float* piece = to + places[i] * row;
    for (int64_t n = 0; n < count; ++n, piece += width)
      for (int64_t c = 0; c < width; c += kLanes) store(piece + c, load<Vec>(from + (n * tokens + i) * width + c));
  }
}

bool fits(const Windows& of, const Array& qkv, const Array& bias) {
  const auto all = qkv.dimensions(), table = bias.dimensions();
  return all.size() == 7 && table.size() == 5 && all[5] == 3 && all[6] % kLanes == 0 &&
         of.grid.level % of.window.level == 0 && of.grid.latitude % of.window.latitude == 0 &&
         of.grid.longitude % of.window.longitude == 0 && (table[0] == 1 || table[0] == of.along()) &&
         (table[1] == 1 || table[1] == of.kinds()) && table[2] == all[4] && table[3] == of.tokens() &&
         table[4] == of.tokens();
}

Windows windows_of(const Array& qkv, const Array& bias, const Sides& window, int64_t roll) {
  const auto all = qkv.dimensions(), of = bias.dimensions();
  return {all[0], all[4], all[6], of[0], of[1], {all[2], all[3], all[1]}, window, roll != 0, 1.0f / std::sqrt(float(all[6]))};
}

ffi::Error Forward(ffi::ThreadPool pool, Array qkv, Array bias, ffi::Result<Array> out, ffi::Result<Array> stats,
                   int64_t level, int64_t latitude, int64_t longitude, int64_t roll) {
  const Windows windows = windows_of(qkv, bias, {level, latitude, longitude}, roll);
  if (!fits(windows, qkv, bias)) return ffi::Error::InvalidArgument("pangu_windows: shapes that do not fit");
  const int64_t tokens = windows.tokens(), width = windows.width, size = tokens * width, row = windows.heads * width;
  const int64_t heads = windows.together(), square = windows.square();
  on_pool(pool, windows.parts(), [&](int64_t part) {
    float *rows = sized(window_memory().rows, 3 * heads * size), *made = sized(window_memory().more, heads * size);
    windows.each(part, [&](int64_t first, int64_t head, const int64_t* places, int64_t stat) {
      bring(qkv.typed_data() + (first * row + head * width) * 3, 3 * row, places, tokens, 3 * heads, width, rows);
      for (int64_t h = 0; h < heads; ++h) {
        const float *q = rows + 3 * h * size, *own = bias.typed_data() + windows.bias_of(part) + h * square;
        window_forward({q, q + size, q + 2 * size, own, tokens, width, windows.scale}, made + h * size,
                       stats->typed_data() + stat + h * 2 * tokens);
      }
      lay(made, row, places, tokens, heads, width, out->typed_data() + first * row + head * width);
    });
  });
  return ffi::Error::Success();
}

ffi::Error Backward(ffi::ThreadPool pool, Array qkv, Array bias, Array stats, Array d_out, ffi::Result<Array> d_qkv,
                    ffi::Result<Array> d_bias, int64_t level, int64_t latitude, int64_t longitude, int64_t roll) {
  const Windows windows = windows_of(qkv, bias, {level, latitude, longitude}, roll);
  if (!fits(windows, qkv, bias)) return ffi::Error::InvalidArgument("pangu_windows_backward: shapes that do not fit");
  const int64_t tokens = windows.tokens(), width = windows.width, size = tokens * width, row = windows.heads * width;
  const int64_t heads = windows.together(), square = windows.square();
  on_pool(pool, windows.parts(), [&](int64_t part) {
    float* own = d_bias->typed_data() + windows.bias_of(part);
    std::memset(own, 0, sizeof(float) * heads * square);
    float *rows = sized(window_memory().rows, 4 * heads * size), *made = sized(window_memory().more, 3 * heads * size);
    float* d_rows = rows + 3 * heads * size;
    windows.each(part, [&](int64_t first, int64_t head, const int64_t* places, int64_t stat) {
      const int64_t at = (first * row + head * width) * 3;
      bring(qkv.typed_data() + at, 3 * row, places, tokens, 3 * heads, width, rows);
      bring(d_out.typed_data() + at / 3, row, places, tokens, heads, width, d_rows);
      for (int64_t h = 0; h < heads; ++h) {
        const float *q = rows + 3 * h * size, *table = bias.typed_data() + windows.bias_of(part) + h * square;
        float* d = made + 3 * h * size;
        window_backward({q, q + size, q + 2 * size, table, tokens, width, windows.scale},
                        stats.typed_data() + stat + h * 2 * tokens, d_rows + h * size, d, d + size, d + 2 * size,
                        own + h * square);
      }
      lay(made, 3 * row, places, tokens, 3 * heads, width, d_qkv->typed_data() + at);
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
                                  .Ret<ffi::Buffer<ffi::F32>>()
                                  .Attr<int64_t>("level")
                                  .Attr<int64_t>("latitude")
                                  .Attr<int64_t>("longitude")
                                  .Attr<int64_t>("roll"));
XLA_FFI_DEFINE_HANDLER_SYMBOL(pangu_windows_backward, pangu::Backward,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Ret<ffi::Buffer<ffi::F32>>()
                                  .Ret<ffi::Buffer<ffi::F32>>()
                                  .Attr<int64_t>("level")
                                  .Attr<int64_t>("latitude")
                                  .Attr<int64_t>("longitude")
                                  .Attr<int64_t>("roll"));
#pragma GCC visibility pop
