// The XLA CPU plugin that does the work, and its errors and events as C++ owns them.

#ifndef PANGU_ASCEND_INNER_PLUGIN_H_
#define PANGU_ASCEND_INNER_PLUGIN_H_

#include <memory>
#include <string>
#include <string_view>

#include "xla/pjrt/c/pjrt_c_api.h"

namespace pangu_ascend {

// Loads the plugin at `path`, once. Empty when it can be wrapped, else one line that says why not.
const std::string& OpenInner(const char* path);

// Its table of functions; only after OpenInner said nothing.
const PJRT_Api& Inner();

// An argument struct of the PJRT C API with its size set and all else zero.
template <typename Args>
Args Sized(size_t struct_size) {
  Args args{};
  args.struct_size = struct_size;
  return args;
}

struct ErrorDeleter {
  void operator()(PJRT_Error* error) const;
};
using Error = std::unique_ptr<PJRT_Error, ErrorDeleter>;

struct EventDeleter {
  void operator()(PJRT_Event* event) const;
};
using Event = std::unique_ptr<PJRT_Event, EventDeleter>;

// An error that the inner plugin owns, so that every function for errors works on it, those that are newer
// than our header included.
Error MakeError(PJRT_Error_Code code, std::string_view message);

// Waits until an event is ready; null or what went wrong.
Error Await(PJRT_Event* event);

}  // namespace pangu_ascend

#endif  // PANGU_ASCEND_INNER_PLUGIN_H_
