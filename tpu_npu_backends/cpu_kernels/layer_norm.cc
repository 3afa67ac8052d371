// LayerNorm (Ba et al., arXiv 1607.06450), and RMSNorm (Zhang and Sennrich, arXiv 1910.07467) as the same with a mean
// of 0 and no bias: forward and backward while a row is in a cache; and sums of columns.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "pool.h"
#include "vectors.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace pangu {
namespace {

using Array = ffi::Buffer<ffi::F32>;

constexpr int64_t kRows = 128;  // that a thread takes at once, and whose sums are added up in fp32

// each(j, lanes) for whole vectors of a row, then single elements: `lanes` is a WideVec or a float.
template <class Each>
void along(int64_t width, const Each& each) {
  int64_t j = 0;
  for (; j + kWideLanes <= width; j += kWideLanes) each(j, WideVec{});
  for (; j < width; ++j) each(j, 0.0f);
}

template <class V>
V at(const float* from, V) {
  return load<V>(from);
}
template <class V>
void add(WideVec& total, float& rest, V x) {
  if constexpr (sizeof(V) == sizeof(WideVec))
    total += x;
  else
    rest += x;
}

// The sum of of(j, lanes) over a row.
template <class Of>
float over(int64_t width, const Of& of) {
  WideVec total = {};
  float rest = 0;
  along(width, [&](int64_t j, auto lanes) { add(total, rest, of(j, lanes)); });
  return sum(total) + rest;
}

// Adds the parts of a sum, [parts, width] each, to one: in the same order whoever computed them.
void add_parts(const float* parts, int64_t count, int64_t stride, int64_t width, float* to) {
  std::fill(to, to + width, 0.0f);
  for (int64_t part = 0; part < count; ++part)
    for (int64_t j = 0; j < width; ++j) to[j] += parts[part * stride + j];
}

int64_t parts_of(int64_t rows) { return (rows + kRows - 1) / kRows; }

// (x - mean) * inverse * scale + bias, and of each row the mean and the inverse of the deviation. Without a bias the
// mean is 0: RMSNorm.
ffi::Error Forward(ffi::ThreadPool pool, Array x, Array scale, Array bias, ffi::Result<Array> out,
                   ffi::Result<Array> stats, float epsilon) {
  const int64_t width = scale.element_count(), rows = stats->element_count() / 2;
  const bool centred = bias.element_count();
  if (int64_t(x.element_count()) != rows * width || (centred && bias.element_count() != scale.element_count()))
    return ffi::Error::InvalidArgument("pangu_layer_norm: shapes that do not fit");
  const float *gain = scale.typed_data(), *shift = bias.typed_data();
  on_pool(pool, parts_of(rows), [&](int64_t part) {
    for (int64_t i = part * kRows; i < std::min(rows, (part + 1) * kRows); ++i) {
      const float* row = x.typed_data() + i * width;
      float* to = out->typed_data() + i * width;
      const float total = centred ? over(width, [=](int64_t j, auto lanes) { return at(row + j, lanes); }) : 0.0f;
      const float mean = total / width;
      const float variance = over(width, [=](int64_t j, auto lanes) {
                               const auto d = at(row + j, lanes) - mean;
                               return d * d;
                             }) / width;
      const float inverse = 1.0f / std::sqrt(variance + epsilon);
      along(width, [=](int64_t j, auto lanes) {
        const auto normed = (at(row + j, lanes) - mean) * inverse * at(gain + j, lanes);
        store(to + j, centred ? normed + at(shift + j, lanes) : normed);
      });
      stats->typed_data()[2 * i] = mean, stats->typed_data()[2 * i + 1] = inverse;
    }
  });
  return ffi::Error::Success();
}

// Of dy: dx + added, d scale and d bias, which is of no use to RMSNorm.
ffi::Error Backward(ffi::ThreadPool pool, Array dy, Array x, Array stats, Array scale, Array added,
                    ffi::Result<Array> dx, ffi::Result<Array> d_scale, ffi::Result<Array> d_bias, bool centred) {
  const int64_t width = scale.element_count(), rows = stats.element_count() / 2;
  const bool adds = added.element_count();
  if (int64_t(x.element_count()) != rows * width || dy.element_count() != x.element_count() ||
      (adds && added.element_count() != x.element_count()))
    return ffi::Error::InvalidArgument("pangu_layer_norm_backward: shapes that do not fit");
  const float* gain = scale.typed_data();
  std::vector<float> parts(parts_of(rows) * 2 * width);
  on_pool(pool, parts_of(rows), [&](int64_t part) {
    float *scales = parts.data() + part * 2 * width, *biases = scales + width;
    for (int64_t i = part * kRows; i < std::min(rows, (part + 1) * kRows); ++i) {
      const float *row = x.typed_data() + i * width, *d = dy.typed_data() + i * width;
      const float* plus = adds ? added.typed_data() + i * width : nullptr;
      float* to = dx->typed_data() + i * width;
      const float mean = stats.typed_data()[2 * i], inverse = stats.typed_data()[2 * i + 1];
      WideVec total = {}, along_x = {};
      float rest = 0, rest_x = 0;
      along(width, [&](int64_t j, auto lanes) {
        const auto given = at(d + j, lanes), normed = (at(row + j, lanes) - mean) * inverse;
        store(scales + j, at(scales + j, lanes) + given * normed);
        store(biases + j, at(biases + j, lanes) + given);
        const auto weighed = given * at(gain + j, lanes);
        add(total, rest, weighed), add(along_x, rest_x, weighed * normed);
      });
      const float middle = centred ? (sum(total) + rest) / width : 0.0f, slope = (sum(along_x) + rest_x) / width;
      along(width, [=](int64_t j, auto lanes) {
        const auto normed = (at(row + j, lanes) - mean) * inverse;
        const auto here = (at(d + j, lanes) * at(gain + j, lanes) - middle - normed * slope) * inverse;
        store(to + j, plus ? here + at(plus + j, lanes) : here);
      });
    }
  });
  add_parts(parts.data(), parts_of(rows), 2 * width, width, d_scale->typed_data());
  add_parts(parts.data() + width, parts_of(rows), 2 * width, width, d_bias->typed_data());
  return ffi::Error::Success();
}

// The sum over the rows of [rows, width]: the gradient of a bias.
ffi::Error ColumnSums(ffi::ThreadPool pool, Array x, ffi::Result<Array> out) {
  const int64_t width = out->element_count(), rows = width ? x.element_count() / width : 0;
  std::vector<float> parts(parts_of(rows) * width);
  on_pool(pool, parts_of(rows), [&](int64_t part) {
    float* sums = parts.data() + part * width;
    const int64_t end = std::min(rows, (part + 1) * kRows);
    int64_t i = part * kRows;
    for (; i + 4 <= end; i += 4) {
      const float* row = x.typed_data() + i * width;
      along(width, [=](int64_t j, auto lanes) {
        const auto even = at(row + j, lanes) + at(row + width + j, lanes);
        const auto odd = at(row + 2 * width + j, lanes) + at(row + 3 * width + j, lanes);
        store(sums + j, at(sums + j, lanes) + (even + odd));
      });
    }
    for (; i < end; ++i)
      for (int64_t j = 0; j < width; ++j) sums[j] += x.typed_data()[i * width + j];
  });
  add_parts(parts.data(), parts_of(rows), width, width, out->typed_data());
  return ffi::Error::Success();
}

}  // namespace
}  // namespace pangu

#pragma GCC visibility push(default)
XLA_FFI_DEFINE_HANDLER_SYMBOL(pangu_layer_norm, pangu::Forward,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Ret<ffi::Buffer<ffi::F32>>()
                                  .Ret<ffi::Buffer<ffi::F32>>()
                                  .Attr<float>("epsilon"));
XLA_FFI_DEFINE_HANDLER_SYMBOL(pangu_layer_norm_backward, pangu::Backward,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Ret<ffi::Buffer<ffi::F32>>()
                                  .Ret<ffi::Buffer<ffi::F32>>()
                                  .Ret<ffi::Buffer<ffi::F32>>()
                                  .Attr<bool>("centred"));
XLA_FFI_DEFINE_HANDLER_SYMBOL(pangu_column_sums, pangu::ColumnSums,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Ret<ffi::Buffer<ffi::F32>>());
#pragma GCC visibility pop
