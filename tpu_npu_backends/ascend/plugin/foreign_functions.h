// Functions of other libraries that programs call by name (XLA's typed foreign function interface).

#ifndef PANGU_ASCEND_FOREIGN_FUNCTIONS_H_
#define PANGU_ASCEND_FOREIGN_FUNCTIONS_H_

#include <string>
#include <string_view>

namespace pangu_ascend {

// Makes an XLA_FFI_Handler* known to the inner client. Empty, or why it cannot be.
std::string RegisterFunction(std::string_view name, void* handler);

}  // namespace pangu_ascend

#endif  // PANGU_ASCEND_FOREIGN_FUNCTIONS_H_
