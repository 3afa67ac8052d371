// A copy of a device buffer in host memory.

#ifndef PANGU_ASCEND_HOST_ARRAY_H_
#define PANGU_ASCEND_HOST_ARRAY_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "hooks.h"
#include "inner_plugin.h"
#include "xla/pjrt/c/pjrt_c_api.h"

namespace pangu_ascend {

struct HostArray {
  std::vector<char> bytes;
  std::vector<int64_t> dims;
  PJRT_Buffer_Type type = PJRT_Buffer_Type_INVALID;

  // Points into this; valid as long as it is.
  PanguArray View() const;
};

// Waits for the buffer and copies it, row-major.
Error CopyToHost(PJRT_Buffer* buffer, HostArray* array);

}  // namespace pangu_ascend

#endif  // PANGU_ASCEND_HOST_ARRAY_H_
