// Products with what comes after them done while the result is in a cache: a bias, what is added, GELU, its slope.

#include "gelu.h"
#include "matmul.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace pangu {
namespace {

using Array = ffi::Buffer<ffi::F32>;

// What is multiplied: rows of a [M, K], and b [K, N] or, transposed, [N, K].
struct Operands {
  int64_t rows, columns, depth;
  Matrix a, b;

  Operands(const Array& first, const Array& second, bool transposed) {
    const auto left = first.dimensions(), right = second.dimensions();
    rows = left[0], depth = left[1], columns = right[!transposed];
    fit = right[transposed] == depth;
    a = {first.typed_data(), depth, 1};
    b = transposed ? Matrix{second.typed_data(), 1, depth} : Matrix{second.typed_data(), columns, 1};
  }
  // Whether the result is as large as `out` and, where they are given, `bias` [N] and `beside` [M, N].
  bool makes(const Array& out, const Array* bias, const Array* beside) const {
    const int64_t size = rows * columns;
    return fit && int64_t(out.element_count()) == size && (!bias || int64_t(bias->element_count()) == columns) &&
           (!beside || int64_t(beside->element_count()) == size);
  }

 private:
  bool fit;
};

template <class Each, class Rest>
void by_vectors(int64_t count, const Each& each, const Rest& rest) {
  int64_t j = 0;
  for (; j + kWideLanes <= count; j += kWideLanes) each(j);
  for (; j < count; ++j) rest(j);
}

// a b + bias + added; both may be empty.
ffi::Error Linear(ffi::ThreadPool pool, Array a, Array b, Array bias, Array added, ffi::Result<Array> out,
                  bool transposed) {
  const Operands of(a, b, transposed);
  const bool biased = bias.element_count(), adds = added.element_count();
  if (!of.makes(*out, biased ? &bias : nullptr, adds ? &added : nullptr))
    return ffi::Error::InvalidArgument("pangu_linear: shapes that do not fit");
  const float *shift = bias.typed_data(), *beside = added.typed_data();
  float* c = out->typed_data();
  matmul(pool, of.rows, of.columns, of.depth, of.a, of.b, c, [=](int64_t row, int64_t first, int64_t count) {
    float* to = c + row * of.columns + first;
    const float* plus = adds ? beside + row * of.columns + first : nullptr;
    const float* always = biased ? shift + first : nullptr;
    by_vectors(
        count,
        [=](int64_t j) {
          WideVec x = load<WideVec>(to + j);
          if (always) x += load<WideVec>(always + j);
          if (plus) x += load<WideVec>(plus + j);
          store(to + j, x);
        },
        [=](int64_t j) { to[j] += (always ? always[j] : 0.0f) + (plus ? plus[j] : 0.0f); });
  });
  return ffi::Error::Success();
}

// gelu(a b + bias), and the slope of gelu there.
ffi::Error LinearGelu(ffi::ThreadPool pool, Array a, Array b, Array bias, ffi::Result<Array> out,
                      ffi::Result<Array> slope, bool by_tanh) {
  const Operands of(a, b, false);
  if (!of.makes(*out, &bias, &*slope)) return ffi::Error::InvalidArgument("pangu_linear_gelu: shapes that do not fit");
  const float* shift = bias.typed_data();
  float *c = out->typed_data(), *slopes = slope->typed_data();
  matmul(pool, of.rows, of.columns, of.depth, of.a, of.b, c, [=](int64_t row, int64_t first, int64_t count) {
    float *to = c + row * of.columns + first, *steep = slopes + row * of.columns + first;
    const auto activated = [=](WideVec x) { return by_tanh ? gelu_by_tanh(x) : gelu(x); };
    by_vectors(
        count,
        [=](int64_t j) {
          const auto done = activated(load<WideVec>(to + j) + load<WideVec>(shift + first + j));
          store(to + j, done.value), store(steep + j, done.slope);
        },
        [=](int64_t j) {
          const auto done = activated(splat<WideVec>(to[j] + shift[first + j]));
          to[j] = done.value[0], steep[j] = done.slope[0];
        });
  });
  return ffi::Error::Success();
}

// a b times `factor`, element by element.
ffi::Error LinearTimes(ffi::ThreadPool pool, Array a, Array b, Array factor, ffi::Result<Array> out, bool transposed) {
  const Operands of(a, b, transposed);
  if (!of.makes(*out, nullptr, &factor))
    return ffi::Error::InvalidArgument("pangu_linear_times: shapes that do not fit");
  const float* by = factor.typed_data();
  float* c = out->typed_data();
  matmul(pool, of.rows, of.columns, of.depth, of.a, of.b, c, [=](int64_t row, int64_t first, int64_t count) {
    float* to = c + row * of.columns + first;
    const float* times = by + row * of.columns + first;
    by_vectors(
        count, [=](int64_t j) { store(to + j, load<WideVec>(to + j) * load<WideVec>(times + j)); },
        [=](int64_t j) { to[j] *= times[j]; });
  });
  return ffi::Error::Success();
}

}  // namespace
}  // namespace pangu

#pragma GCC visibility push(default)
XLA_FFI_DEFINE_HANDLER_SYMBOL(pangu_linear, pangu::Linear,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Ret<ffi::Buffer<ffi::F32>>()
                                  .Attr<bool>("transposed"));
XLA_FFI_DEFINE_HANDLER_SYMBOL(pangu_linear_gelu, pangu::LinearGelu,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Ret<ffi::Buffer<ffi::F32>>()
                                  .Ret<ffi::Buffer<ffi::F32>>()
                                  .Attr<bool>("by_tanh"));
XLA_FFI_DEFINE_HANDLER_SYMBOL(pangu_linear_times, pangu::LinearTimes,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Ret<ffi::Buffer<ffi::F32>>()
                                  .Attr<bool>("transposed"));
#pragma GCC visibility pop
