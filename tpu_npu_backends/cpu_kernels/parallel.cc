// Why not XLA's thread pool: its threads sleep between two calls, and waking one takes as long as a product.
// A decode step is some fifty calls of 100 microseconds. Ours look for work a little while before they sleep.

#include "parallel.h"

#include <sched.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>

namespace pangu {
namespace {

constexpr auto kAwake = std::chrono::microseconds(200);  // after the last work; then a thread sleeps
constexpr int kLooks = 64;                               // between two looks at the clock

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

class Pool {
 public:
  Pool() {
    cpu_set_t allowed;
    int cores = int(std::thread::hardware_concurrency());
    if (sched_getaffinity(0, sizeof(allowed), &allowed) == 0) cores = CPU_COUNT(&allowed);
    for (int core = 1; core < cores; ++core) std::thread([this] { serve(); }).detach();
    others_ = cores - 1;
  }

  void run(int64_t count, const std::function<void(int64_t)>& work) {
    if (others_ < 1 || count < 2) {
      for (int64_t part = 0; part < count; ++part) work(part);
      return;
    }
    // XLA may make two calls at a time: one after the other they are done sooner than side by side.
    std::lock_guard<std::mutex> alone(one_caller_);
    work_.store(&work, std::memory_order_relaxed);
    count_.store(count, std::memory_order_relaxed);
    done_.store(0, std::memory_order_relaxed);
    const uint64_t job = (next_.load(std::memory_order_relaxed) >> 32) + 1;
    next_.store(job << 32);
    if (sleeping_.load()) {
      std::lock_guard<std::mutex> lock(sleep_);
      wake_.notify_all();
    }
    drain(job);
    // What is missing is being computed now: microseconds, but where another process has taken the core.
    for (int looks = 0; done_.load(std::memory_order_acquire) < count; ++looks) {
      looks < 4096 ? pause() : std::this_thread::yield();
    }
  }

 private:
  // Takes parts of a job while there are any. A ticket is the job's number and the part's: who comes late, with
  // the number of an earlier job, gets none, and has not called anything of its caller's.
  void drain(uint64_t job) {
    const auto* work = work_.load(std::memory_order_relaxed);
    const int64_t count = count_.load(std::memory_order_relaxed);
    for (uint64_t ticket = next_.load(std::memory_order_acquire);;) {
      const int64_t part = int64_t(ticket & 0xffffffffu);
      if (ticket >> 32 != job || part >= count) return;
      if (!next_.compare_exchange_weak(ticket, ticket + 1, std::memory_order_acq_rel)) continue;
      (*work)(part);
      done_.fetch_add(1, std::memory_order_release);
      ticket = next_.load(std::memory_order_acquire);
    }
  }

  void serve() {
    for (uint64_t seen = 0;;) {
      seen = wait(seen);
      drain(seen);
    }
  }

  // The number of a job after `seen`.
  uint64_t wait(uint64_t seen) {
    const auto number = [this] { return next_.load() >> 32; };
    const auto until = std::chrono::steady_clock::now() + kAwake;
    do {
      for (int look = 0; look < kLooks; ++look, pause())
        if (number() != seen) return number();
    } while (std::chrono::steady_clock::now() < until);
    std::unique_lock<std::mutex> lock(sleep_);
    sleeping_.fetch_add(1);
    wake_.wait(lock, [&] { return number() != seen; });
    sleeping_.fetch_sub(1);
    return number();
  }

  int others_ = 0;
  std::mutex one_caller_, sleep_;
  std::condition_variable wake_;
  std::atomic<int> sleeping_{0};
  std::atomic<const std::function<void(int64_t)>*> work_{nullptr};
  std::atomic<int64_t> count_{0}, done_{0};
  std::atomic<uint64_t> next_{0};
};

}  // namespace

void parallel(int64_t count, const std::function<void(int64_t)>& run) {
  static Pool* pool = new Pool;  // never freed: its threads outlive main
  pool->run(count, run);
}

}  // namespace pangu
