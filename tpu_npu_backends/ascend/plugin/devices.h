// How many devices the simulated machine has.

#ifndef PANGU_ASCEND_DEVICES_H_
#define PANGU_ASCEND_DEVICES_H_

#include "xla/pjrt/c/pjrt_c_api.h"

namespace pangu_ascend {

// Replaces the function that creates a client.
void WrapDevices(PJRT_Api& table);

}  // namespace pangu_ascend

#endif  // PANGU_ASCEND_DEVICES_H_
