// Products of groups of rows, each group with a matrix of its own: experts.

#include "matmul.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace pangu {
namespace {

const auto nothing_to_finish = [](int64_t, int64_t, int64_t) {};

// Calls run(group, first row, rows) for each group, and then run(-1, ...) for the rows behind the last; whether the
// sizes fit the rows.
template <class Run>
bool over_groups(ffi::Buffer<ffi::S32> sizes, int64_t rows, const Run& run) {
  int64_t first = 0;
  for (int64_t group = 0; group < int64_t(sizes.element_count()); ++group) {
    const int64_t size = sizes.typed_data()[group];
    if (size < 0 || first + size > rows) return false;
    run(group, first, size);
    first += size;
  }
  run(-1, first, rows - first);
  return true;
}

// c [R, N]: the rows of a [R, D] times b [E, D, N] of their group, or [E, N, D] where its transpose is meant; zeros
// behind the last group.
ffi::Error Grouped(ffi::ThreadPool pool, ffi::Buffer<ffi::F32> a, ffi::Buffer<ffi::F32> b,
                   ffi::Buffer<ffi::S32> sizes, ffi::Result<ffi::Buffer<ffi::F32>> c, bool transposed) {
  const auto left = a.dimensions(), right = b.dimensions(), out = c->dimensions();
  const int64_t rows = left[0], depth = left[1], columns = right[transposed ? 1 : 2];
  if (right[transposed ? 2 : 1] != depth || out[0] != rows || out[1] != columns ||
      right[0] != int64_t(sizes.element_count()))
    return ffi::Error::InvalidArgument("pangu_grouped: shapes that do not fit");
  const bool fit = over_groups(sizes, rows, [&](int64_t group, int64_t first, int64_t size) {
    float* to = c->typed_data() + first * columns;
    if (group < 0) {
      std::fill_n(to, size * columns, 0.0f);
    } else if (size > 0) {
      const float* weight = b.typed_data() + group * depth * columns;
      matmul(pool, size, columns, depth, Matrix{a.typed_data() + first * depth, depth, 1},
             transposed ? Matrix{weight, 1, depth} : Matrix{weight, columns, 1}, to, nothing_to_finish);
    }
  });
  return fit ? ffi::Error::Success() : ffi::Error::InvalidArgument("pangu_grouped: sizes that exceed the rows");
}

// c [E, D, N]: of each group, the transpose of its rows of a [R, D] times its rows of b [R, N].
ffi::Error GroupedGradient(ffi::ThreadPool pool, ffi::Buffer<ffi::F32> a, ffi::Buffer<ffi::F32> b,
                           ffi::Buffer<ffi::S32> sizes, ffi::Result<ffi::Buffer<ffi::F32>> c) {
  const auto left = a.dimensions(), right = b.dimensions(), out = c->dimensions();
  const int64_t rows = left[0], depth = left[1], columns = right[1];
  if (right[0] != rows || out[0] != int64_t(sizes.element_count()) || out[1] != depth || out[2] != columns)
    return ffi::Error::InvalidArgument("pangu_grouped_gradient: shapes that do not fit");
  const bool fit = over_groups(sizes, rows, [&](int64_t group, int64_t first, int64_t size) {
    if (group < 0) return;
    float* to = c->typed_data() + group * depth * columns;
    if (size == 0) return void(std::fill_n(to, depth * columns, 0.0f));
    matmul(pool, depth, columns, size, Matrix{a.typed_data() + first * depth, 1, depth},
           Matrix{b.typed_data() + first * columns, columns, 1}, to, nothing_to_finish);
  });
  if (fit) return ffi::Error::Success();
  return ffi::Error::InvalidArgument("pangu_grouped_gradient: sizes that exceed the rows");
}

}  // namespace
}  // namespace pangu

#pragma GCC visibility push(default)
XLA_FFI_DEFINE_HANDLER_SYMBOL(pangu_grouped, pangu::Grouped,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::Buffer<ffi::S32>>()
                                  .Ret<ffi::Buffer<ffi::F32>>()
                                  .Attr<bool>("transposed"));
XLA_FFI_DEFINE_HANDLER_SYMBOL(pangu_grouped_gradient, pangu::GroupedGradient,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::Buffer<ffi::S32>>()
                                  .Ret<ffi::Buffer<ffi::F32>>());
#pragma GCC visibility pop
