// Calls from programs back to Python: pure_callback, io_callback, jax.debug.

#ifndef PANGU_ASCEND_CALLBACKS_H_
#define PANGU_ASCEND_CALLBACKS_H_

#include <string>

namespace pangu_ascend {

// Makes known the function that JAX's lowering for a CPU calls. Empty, or why it cannot be.
std::string RegisterCallbacks();

}  // namespace pangu_ascend

#endif  // PANGU_ASCEND_CALLBACKS_H_
