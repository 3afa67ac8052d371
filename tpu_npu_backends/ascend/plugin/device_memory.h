// Memory statistics of the simulated devices: what their arrays take, against what the real device has.

#ifndef PANGU_ASCEND_DEVICE_MEMORY_H_
#define PANGU_ASCEND_DEVICE_MEMORY_H_

#include "xla/pjrt/c/pjrt_c_api.h"

namespace pangu_ascend {

// Replaces the functions by which buffers come and go, and the one that reports.
void WrapDeviceMemory(PJRT_Api& table);

// For Execute, which makes buffers and consumes donated ones.
void CountBuffer(PJRT_Buffer* buffer);
void ForgetIfDeleted(PJRT_Buffer* buffer);

}  // namespace pangu_ascend

#endif  // PANGU_ASCEND_DEVICE_MEMORY_H_
