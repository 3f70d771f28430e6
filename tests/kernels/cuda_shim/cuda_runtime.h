// What cuda.cu uses of the CUDA runtime, on the CPU.
#pragma once

#include <string.h>

#include <atomic>
#include <thread>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(threads)

typedef void* cudaStream_t;
typedef int cudaError_t;
enum { cudaSuccess = 0 };
inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline const char* cudaGetErrorString(cudaError_t) { return "an error"; }

struct ShimIndex {
  unsigned x;
};
static thread_local ShimIndex blockIdx, threadIdx, blockDim, gridDim;

template <typename Kernel, typename Items>
void shim_launch(int blocks, int threads, Items items, const Kernel& kernel) {
  ++shim_launches[sizeof(Items) == 8];
  const int64_t step = static_cast<int64_t>(blocks) * threads, steps = (static_cast<int64_t>(items) + step - 1) / step;
  if (steps > shim_most_steps) shim_most_steps = steps;
  std::atomic<int> next(0);
  std::vector<std::thread> workers;
  for (int i = 0; i < 4; ++i) {
    workers.emplace_back([&] {
      gridDim.x = static_cast<unsigned>(blocks);
      blockDim.x = static_cast<unsigned>(threads);
      for (int block = next++; block < blocks; block = next++) {
        blockIdx.x = static_cast<unsigned>(block);
        for (int thread = 0; thread < threads; ++thread) {
          threadIdx.x = static_cast<unsigned>(thread);
          kernel();
        }
      }
    });
  }
  for (std::thread& worker : workers) worker.join();
}

template <typename Bits>
Bits shim_compare_and_swap(Bits* to, Bits expected, Bits value) {
  __atomic_compare_exchange_n(to, &expected, value, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
  return expected;  // what was there
}

template <typename Value, typename Bits>
Value shim_add(Value* to, Value value) {
  Bits seen, wanted;
  Value sum;
  memcpy(&seen, to, sizeof(seen));
  for (;;) {
    memcpy(&sum, &seen, sizeof(sum));
    const Value before = sum;
    sum += value;
    memcpy(&wanted, &sum, sizeof(sum));
    const Bits found = shim_compare_and_swap(reinterpret_cast<Bits*>(to), seen, wanted);
    if (found == seen) return before;
    seen = found;
  }
}

inline float atomicAdd(float* to, float value) { return shim_add<float, uint32_t>(to, value); }
#if __CUDA_ARCH__ >= 600
inline double atomicAdd(double* to, double value) { return shim_add<double, uint64_t>(to, value); }
#endif

inline unsigned long long atomicCAS(unsigned long long* to, unsigned long long expected, unsigned long long value) {
  return shim_compare_and_swap(to, expected, value);
}
inline long long __double_as_longlong(double value) {
  long long bits;
  memcpy(&bits, &value, sizeof(bits));
  return bits;
}
inline double __longlong_as_double(long long bits) {
  double value;
  memcpy(&value, &bits, sizeof(value));
  return value;
}
