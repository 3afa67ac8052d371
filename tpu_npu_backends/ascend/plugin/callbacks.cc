#include "callbacks.h"

#include <array>
#include <cstdint>
#include <vector>

#include "foreign_functions.h"
#include "hooks.h"
#include "programs.h"
#include "xla/ffi/api/ffi.h"
#include "xla/pjrt/c/pjrt_c_api.h"

namespace pangu_ascend {
namespace {

namespace ffi = xla::ffi;

// jaxlib registers this name with the CPU client that is part of it; the inner plugin has none.
constexpr const char* kName = "xla_ffi_python_cpu_callback";

// The two enumerations agree up to F64.
PJRT_Buffer_Type BufferType(ffi::DataType type) {
  switch (type) {
    case ffi::DataType::BF16:
      return PJRT_Buffer_Type_BF16;
    case ffi::DataType::C64:
      return PJRT_Buffer_Type_C64;
    case ffi::DataType::C128:
      return PJRT_Buffer_Type_C128;
    case ffi::DataType::TOKEN:
      return PJRT_Buffer_Type_TOKEN;
    default:
      return type <= ffi::DataType::F64 ? static_cast<PJRT_Buffer_Type>(type) : PJRT_Buffer_Type_INVALID;
  }
}

PanguArray View(const ffi::AnyBuffer& buffer) {
  return {buffer.untyped_data(), buffer.size_bytes(), static_cast<int32_t>(BufferType(buffer.element_type())),
          buffer.dimensions().size(), buffer.dimensions().begin()};
}

// Called by a thread of the inner client, which waits for the answer.
ffi::Error Call(uint64_t index, ffi::RemainingArgs arguments, ffi::RemainingRets results) {
  const auto hooks = CurrentHooks();
  if (!hooks || hooks->called == nullptr) return ffi::Error::Internal("Python, which is called back, has ended");
  std::vector<PanguArray> inputs, outputs;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const auto buffer = arguments.get<ffi::AnyBuffer>(i);
    if (!buffer) return buffer.error();
    inputs.push_back(View(*buffer));
  }
  for (size_t i = 0; i < results.size(); ++i) {
    auto buffer = results.get<ffi::AnyBuffer>(i);
    if (!buffer) return buffer.error();
    outputs.push_back(View(**buffer));
  }
  std::array<char, 4096> said{};
  const int answer = hooks->called(index, inputs.data(), inputs.size(), outputs.data(), outputs.size(),
                                   said.data(), said.size());
  return answer == kPanguRefuse ? ffi::Error::Internal(said.data()) : ffi::Error::Success();
}

XLA_FFI_DEFINE_HANDLER(kCall, Call, ffi::Ffi::Bind().Attr<uint64_t>("index").RemainingArgs().RemainingRets());

}  // namespace

std::string RegisterCallbacks() { return RegisterFunction(kName, reinterpret_cast<void*>(kCall)); }

}  // namespace pangu_ascend
