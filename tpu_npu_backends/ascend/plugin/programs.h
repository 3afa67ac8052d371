// Programs on their way to the inner client: shown to the hooks when compiled, and when executed.

#ifndef PANGU_ASCEND_PROGRAMS_H_
#define PANGU_ASCEND_PROGRAMS_H_

#include <optional>

#include "hooks.h"
#include "xla/pjrt/c/pjrt_c_api.h"

namespace pangu_ascend {

// What Python has given, while it is there.
std::optional<PanguHooks> CurrentHooks();

// Replaces the functions that compile, execute and destroy programs.
void WrapPrograms(PJRT_Api& table);

}  // namespace pangu_ascend

#endif  // PANGU_ASCEND_PROGRAMS_H_
