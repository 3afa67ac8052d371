// The PJRT plugin `libpjrt_ascend.so`: platform "npu", simulated on the CPU.
//
// It hands out a copy of the inner XLA CPU plugin's table of functions in which some are replaced. All that
// is not replaced, what is newer than our header included, goes straight to the inner plugin.

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <string>
#include <vector>

#include "callbacks.h"
#include "device_memory.h"
#include "devices.h"
#include "hooks.h"
#include "identity.h"
#include "inner_plugin.h"
#include "xla/pjrt/c/pjrt_c_api.h"
#include "programs.h"

namespace {

const PJRT_Api* WrappedTable() {
  static const std::vector<char> bytes = [] {
    const PJRT_Api& inner = pangu_ascend::Inner();
    const char* start = reinterpret_cast<const char*>(&inner);
    std::vector<char> copy(start, start + inner.struct_size);
    PJRT_Api& table = *reinterpret_cast<PJRT_Api*>(copy.data());
    pangu_ascend::WrapIdentity(table);
    pangu_ascend::WrapDevices(table);
    pangu_ascend::WrapDeviceMemory(table);
    pangu_ascend::WrapPrograms(table);
    return copy;
  }();
  return reinterpret_cast<const PJRT_Api*>(bytes.data());
}

}  // namespace

extern "C" const char* pangu_ascend_open(const char* inner_path) {
  if (const std::string& wrong = pangu_ascend::OpenInner(inner_path); !wrong.empty()) return wrong.c_str();
  static const std::string wrong = pangu_ascend::RegisterCallbacks();
  return wrong.empty() ? nullptr : wrong.c_str();
}

// What every PJRT plugin exports. Who loads this library without Python names the inner plugin in
// PANGU_ASCEND_INNER.
extern "C" __attribute__((visibility("default"))) const PJRT_Api* GetPjrtApi() {
  if (const char* wrong = pangu_ascend_open(std::getenv("PANGU_ASCEND_INNER"))) {
    std::fprintf(stderr, "libpjrt_ascend.so: %s\n", wrong);
    return nullptr;
  }
  return WrappedTable();
}
