// Work in parts, on the thread that calls and on threads of our own.
#ifndef PANGU_CPU_KERNELS_PARALLEL_H_
#define PANGU_CPU_KERNELS_PARALLEL_H_

#include <cstdint>
#include <functional>

namespace pangu {

// run(0) ... run(count - 1), each once, in any order, on as many cores as the process may use.
void parallel(int64_t count, const std::function<void(int64_t)>& run);

}  // namespace pangu

#endif  // PANGU_CPU_KERNELS_PARALLEL_H_
