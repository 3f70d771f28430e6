// What the forward and the backward pass on a CPU share: aligned memory, work over threads, layouts.
#pragma once

#include <stdlib.h>

#include <algorithm>
#include <atomic>
#include <new>

#include "cpu.h"

namespace centernet {
namespace dcn {

template <typename T>
const Kernels<T>& selected_kernels();

inline int64_t divide_up(int64_t value, int64_t by) { return (value + by - 1) / by; }
inline int64_t round_up(int64_t value, int64_t to) { return divide_up(value, to) * to; }

// Memory that starts at a cache line; not initialised.
class Memory {
 public:
  Memory() : at_(nullptr) {}
  explicit Memory(int64_t bytes) : at_(nullptr) { allocate(bytes); }
  ~Memory() { free(at_); }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  void allocate(int64_t bytes) {
    free(at_);
    at_ = nullptr;
    void* memory = nullptr;
    if (posix_memalign(&memory, 64, static_cast<size_t>(std::max<int64_t>(bytes, 64))) != 0) throw std::bad_alloc();
    at_ = memory;
  }
  void* data() const { return at_; }

 private:
  void* at_;
};

// An array of numbers.
template <typename T>
class Array {
 public:
  Array() {}
  explicit Array(int64_t count) : memory_(count * static_cast<int64_t>(sizeof(T))) {}
  void allocate(int64_t count) { memory_.allocate(count * static_cast<int64_t>(sizeof(T))); }
  T* data() const { return static_cast<T*>(memory_.data()); }
  void clear(int64_t count) { std::fill(data(), data() + count, T(0)); }

 private:
  Memory memory_;
};

// The memory for the positions of one tile after another.
template <typename T>
class PositionMemory {
 public:
  PositionMemory(const Shape& shape, int64_t tile_pixels, int64_t tiles)
      : entries_(shape.deformable_groups * taps_of(shape) * tile_pixels), stride_(tile_pixels),
        places_(2 * tile_pixels * tiles), pixels_(4 * entries_ * tiles), weights_(4 * entries_ * tiles) {}

  Positions<T> tile(int64_t index) const {
    const Positions<T> positions = {stride_, entries_, pixels_.data() + 4 * index * entries_,
                                    weights_.data() + 4 * index * entries_};
    return positions;
  }
  int32_t* places(int64_t index) const { return places_.data() + 2 * stride_ * index; }

 private:
  int64_t entries_, stride_;
  Array<int32_t> places_, pixels_;
  Array<T> weights_;
};

// Fills the positions of a tile of the whole planes that the operator takes.
template <typename T>
void locate_tile(const Kernels<T>& kernels, const Shape& shape, const T* offset, const T* mask, const Tile& tile, bool at_edge,
                 int32_t* places, const Positions<T>& positions) {
  const int64_t planes = shape.deformable_groups * taps_of(shape), pixels = out_pixels_of(shape);
  kernels.locate(shape, offset + 2 * tile.image * planes * pixels + tile.first,
                 mask + tile.image * planes * pixels + tile.first, pixels, tile, at_edge, places, positions);
}

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

// Transposes [rows, columns] to [columns, rows], in pieces of columns.
template <typename T>
void transpose_image(const Kernels<T>& kernels, const Threads& threads, const T* from, int64_t rows, int64_t columns,
                     T* to) {
  const int64_t piece = 256;
  for_each(threads, divide_up(columns, piece), [&](int64_t item, int64_t) {
    const int64_t first = item * piece;
    kernels.transpose(from + first, columns, rows, std::min(piece, columns - first), to + first * rows, rows);
  });
}

}  // namespace dcn
}  // namespace centernet
