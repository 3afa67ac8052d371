// Work in parts, on the thread that calls and on those of XLA's pool.
#ifndef PANGU_CPU_KERNELS_POOL_H_
#define PANGU_CPU_KERNELS_POOL_H_

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <thread>

#include "xla/ffi/api/ffi.h"

namespace pangu {

// run(0) ... run(count - 1), each once, in any order. A thread of the pool that wakes too late finds nothing left, and
// calls nothing of the caller's.
inline void on_pool(xla::ffi::ThreadPool& pool, int64_t count, const std::function<void(int64_t)>& run) {
  struct Parts {
    std::function<void(int64_t)> run;
    int64_t count;
    std::atomic<int64_t> next{0}, done{0};
    void drain() {
      for (int64_t part; (part = next.fetch_add(1)) < count; done.fetch_add(1)) run(part);
    }
  };
  auto parts = std::make_shared<Parts>();
  parts->run = run, parts->count = count;
  for (int64_t thread = 1; thread < std::min(count, pool.num_threads()); ++thread)
    pool.Schedule([parts] { parts->drain(); });
  parts->drain();
  while (parts->done.load() < count) std::this_thread::yield();
}

}  // namespace pangu

#endif  // PANGU_CPU_KERNELS_POOL_H_
