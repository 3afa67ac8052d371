#include "foreign_functions.h"

#include "hooks.h"
#include "inner_plugin.h"
#include "xla/pjrt/c/pjrt_c_api.h"
#include "xla/pjrt/c/pjrt_c_api_ffi_extension.h"

namespace pangu_ascend {
namespace {

// The platform under which the inner client looks functions up.
constexpr std::string_view kInnerPlatform = "Host";

const PJRT_FFI_Extension* FfiExtension() {
  for (const PJRT_Extension_Base* it = Inner().extension_start; it != nullptr; it = it->next) {
    if (it->type == PJRT_Extension_Type_FFI && it->struct_size >= PJRT_FFI_Extension_STRUCT_SIZE) {
      return reinterpret_cast<const PJRT_FFI_Extension*>(it);
    }
  }
  return nullptr;
}

std::string Message(const PJRT_Error* error) {
  auto args = Sized<PJRT_Error_Message_Args>(PJRT_Error_Message_Args_STRUCT_SIZE);
  args.error = error;
  Inner().PJRT_Error_Message(&args);
  return std::string(args.message, args.message_size);
}

}  // namespace

std::string RegisterFunction(std::string_view name, void* handler) {
  const PJRT_FFI_Extension* ffi = FfiExtension();
  if (ffi == nullptr) return "the inner CPU plugin takes no foreign functions";
  auto args = Sized<PJRT_FFI_Register_Handler_Args>(PJRT_FFI_Register_Handler_Args_STRUCT_SIZE);
  args.target_name = name.data();
  args.target_name_size = name.size();
  args.handler = handler;
  args.platform_name = kInnerPlatform.data();
  args.platform_name_size = kInnerPlatform.size();
  const Error error(ffi->register_handler(&args));
  return error ? Message(error.get()) : "";
}

}  // namespace pangu_ascend

extern "C" int pangu_ascend_register_function(const char* name, void* handler, char* said, size_t said_size) {
  const std::string wrong = pangu_ascend::RegisterFunction(name, handler);
  if (wrong.empty()) return kPanguGoOn;
  const size_t length = wrong.copy(said, said_size - 1);
  said[length] = '\0';
  return kPanguRefuse;
}
