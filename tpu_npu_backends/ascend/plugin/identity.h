// Under which names the simulated devices appear.

#ifndef PANGU_ASCEND_IDENTITY_H_
#define PANGU_ASCEND_IDENTITY_H_

#include "xla/pjrt/c/pjrt_c_api.h"

namespace pangu_ascend {

// Replaces every function of the table that tells a name, a kind or a description.
void WrapIdentity(PJRT_Api& table);

}  // namespace pangu_ascend

#endif  // PANGU_ASCEND_IDENTITY_H_
