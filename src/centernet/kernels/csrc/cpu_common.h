// What the operator and the layers on a CPU share: aligned memory, work over threads, layouts.
#pragma once

#include <stdlib.h>

#include <algorithm>
#include <atomic>
#include <new>

#include "cpu.h"

namespace centernet {

template <typename T>
const Kernels<T>& selected_kernels();

inline int64_t divide_up(int64_t value, int64_t by) { return (value + by - 1) / by; }
inline int64_t round_up(int64_t value, int64_t to) { return divide_up(value, to) * to; }

// An array of numbers that starts at a cache line; not initialised.
template <typename T>
class Array {
 public:
  explicit Array(int64_t count) {
    if (posix_memalign(&at_, 64, static_cast<size_t>(count) * sizeof(T)) != 0) throw std::bad_alloc();
  }
  ~Array() { free(at_); }
  Array(const Array&) = delete;
  Array& operator=(const Array&) = delete;

  T* data() const { return static_cast<T*>(at_); }
  void clear(int64_t count) { std::fill(data(), data() + count, T(0)); }

 private:
  void* at_;
};

// Calls work(item, worker) for every item in [0, items); workers take the next item when they are done with one. What an
// item computes must not depend on the worker.
template <typename F>
void for_each(const Threads& threads, int64_t items, F work) {
  struct Job {
    F* work;
    int64_t items;
    std::atomic<int64_t> next;
  };
  Job job;
  job.work = &work;
  job.items = items;
  job.next = 0;
  const Body body = [](void* context, int64_t worker) {
    Job& job = *static_cast<Job*>(context);
    for (int64_t item; (item = job.next++) < job.items;) (*job.work)(item, worker);
  };
  const int64_t workers = std::min(threads.workers, items);
  if (workers > 1) {
    threads.run(workers, body, &job);
  } else if (workers == 1) {
    body(&job, 0);
  }
}

// How many pieces to divide work into for several workers, if `pieces` are needed and `most` are possible: some for each.
inline int64_t balance(int64_t pieces, int64_t most, int64_t workers) {
  return std::min(pieces < 4 * workers ? round_up(pieces, workers) : pieces, most);
}

}  // namespace centernet
