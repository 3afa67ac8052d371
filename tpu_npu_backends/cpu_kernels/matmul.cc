// Products of matrices as they are.

#include "matmul.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace pangu {
namespace {

// `transposed` is the operand whose transpose is meant: "left", "right" or neither.
ffi::Error Matmul(ffi::ThreadPool pool, ffi::Buffer<ffi::F32> a, ffi::Buffer<ffi::F32> b,
                  ffi::Result<ffi::Buffer<ffi::F32>> c, std::string_view transposed) {
  const auto left = a.dimensions(), right = b.dimensions(), out = c->dimensions();
  const bool of_left = transposed == "left", of_right = transposed == "right";
  const int64_t rows = left[of_left], depth = left[!of_left], columns = right[!of_right];
  if (right[of_right] != depth || out[0] != rows || out[1] != columns)
    return ffi::Error::InvalidArgument("pangu_matmul: shapes that do not fit");
  const Matrix first = of_left ? Matrix{a.typed_data(), 1, rows} : Matrix{a.typed_data(), depth, 1};
  const Matrix second = of_right ? Matrix{b.typed_data(), 1, depth} : Matrix{b.typed_data(), columns, 1};
  matmul(pool, rows, columns, depth, first, second, c->typed_data(), [](int64_t, int64_t, int64_t) {});
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
