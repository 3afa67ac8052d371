#include "inner_plugin.h"

#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>
#include <mutex>

namespace pangu_ascend {
namespace {

// The newest table that was tried. A newer one may only add to it, by PJRT's own rules, but names and kinds
// that new functions tell would not be ours: it is refused until someone has looked.
constexpr int kNewestMinor = 115;

const PJRT_Api* inner = nullptr;

std::string Version(int major, int minor) { return std::to_string(major) + "." + std::to_string(minor); }

std::string Load(const char* path) {
  if (path == nullptr || *path == '\0') {
    return "no inner CPU plugin is named: set PANGU_ASCEND_INNER, or pip install 'pangu-jax[ascend]'";
  }
  // Never closed: XLA's threads and registries live until the process ends.
  void* library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) return "the inner CPU plugin cannot be loaded: " + std::string(dlerror());
  auto* get_api = reinterpret_cast<const PJRT_Api* (*)()>(dlsym(library, "GetPjrtApi"));
  if (get_api == nullptr) return std::string(path) + " is no PJRT plugin: it has no GetPjrtApi";
  const PJRT_Api* api = get_api();
  if (api == nullptr) return std::string(path) + " gives no table of functions";
  const int major = api->pjrt_api_version.major_version, minor = api->pjrt_api_version.minor_version;
  if (major != PJRT_API_MAJOR || minor < PJRT_API_MINOR || minor > kNewestMinor) {
    return "the inner CPU plugin speaks PJRT API " + Version(major, minor) + ", and this wrapper knows " +
           Version(PJRT_API_MAJOR, PJRT_API_MINOR) + " to " + Version(PJRT_API_MAJOR, kNewestMinor) +
           ": pip install 'pangu-jax[ascend]' installs one that fits (" + path + ")";
  }
  if (api->struct_size < PJRT_Api_STRUCT_SIZE) {
    return "the inner CPU plugin's table of functions has " + std::to_string(api->struct_size) + " bytes, " +
           std::to_string(PJRT_Api_STRUCT_SIZE) + " were promised by PJRT API " + Version(major, minor) +
           ": pip install 'pangu-jax[ascend]' installs one that fits (" + path + ")";
  }
  inner = api;
  return "";
}

}  // namespace

const std::string& OpenInner(const char* path) {
  static std::once_flag once;
  static std::string wrong;
  std::call_once(once, [path] { wrong = Load(path); });
  return wrong;
}

const PJRT_Api& Inner() { return *inner; }

void ErrorDeleter::operator()(PJRT_Error* error) const {
  auto args = Sized<PJRT_Error_Destroy_Args>(PJRT_Error_Destroy_Args_STRUCT_SIZE);
  args.error = error;
  Inner().PJRT_Error_Destroy(&args);
}

void EventDeleter::operator()(PJRT_Event* event) const {
  auto args = Sized<PJRT_Event_Destroy_Args>(PJRT_Event_Destroy_Args_STRUCT_SIZE);
  args.event = event;
  Error ignored(Inner().PJRT_Event_Destroy(&args));
}

Error MakeError(PJRT_Error_Code code, std::string_view message) {
  // PJRT has no function that makes an error. An event that is set to one gives it back.
  auto create = Sized<PJRT_Event_Create_Args>(PJRT_Event_Create_Args_STRUCT_SIZE);
  if (Error failed{Inner().PJRT_Event_Create(&create)}) return failed;
  const Event event(create.event);
  auto set = Sized<PJRT_Event_Set_Args>(PJRT_Event_Set_Args_STRUCT_SIZE);
  set.event = event.get();
  set.error_code = code;
  set.error_message = message.data();
  set.error_message_size = message.size();
  if (Error failed{Inner().PJRT_Event_Set(&set)}) return failed;
  return Await(event.get());
}

Error Await(PJRT_Event* event) {
  auto args = Sized<PJRT_Event_Await_Args>(PJRT_Event_Await_Args_STRUCT_SIZE);
  args.event = event;
  return Error(Inner().PJRT_Event_Await(&args));
}

}  // namespace pangu_ascend
