// The operator's kernels on a GPU. What they compute is in columns.h.
#include <cuda_runtime.h>

#include "columns.h"

namespace centernet {
namespace dcn {

namespace {

struct AtomicAdder {
  static __device__ __forceinline__ void add(float* to, float value) { atomicAdd(to, value); }
  static __device__ __forceinline__ void add(double* to, double value) {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 600
    atomicAdd(to, value);
#else
    unsigned long long* bits = reinterpret_cast<unsigned long long*>(to);
    unsigned long long seen = *bits, expected;
    do {
      expected = seen;
      seen = atomicCAS(bits, expected, __double_as_longlong(value + __longlong_as_double(expected)));
    } while (seen != expected);
#endif
  }
};

template <template <typename> class W, typename I, typename T>
__global__ void __launch_bounds__(256) kernel(Columns<T> columns, I items) {
  const I step = static_cast<I>(gridDim.x) * static_cast<I>(blockDim.x);
  for (I i = static_cast<I>(blockIdx.x) * static_cast<I>(blockDim.x) + static_cast<I>(threadIdx.x); i < items; i += step) {
    W<AtomicAdder>::template item<I, T>(columns, i);
  }
}

template <template <typename> class W, typename T>
void launch(const Columns<T>& columns, const Launch& plan, cudaStream_t stream) {
  if (plan.narrow) {
    kernel<W, int32_t, T><<<plan.blocks, plan.threads, 0, stream>>>(columns, static_cast<int32_t>(plan.items));
  } else {
    kernel<W, int64_t, T><<<plan.blocks, plan.threads, 0, stream>>>(columns, plan.items);
  }
}

template <typename T>
void run(Work work, const ColumnData& data, const Launch& plan, cudaStream_t stream) {
  const Columns<T> columns = typed_columns<T>(data);
  if (work == kSample) {
    launch<SampleWork, T>(columns, plan, stream);
  } else if (work == kPositionGradients) {
    launch<PositionGradientWork, T>(columns, plan, stream);
  } else {
    launch<ScatterWork, T>(columns, plan, stream);
  }
}

}  // namespace

const char* run_on_cuda(Work work, Kind kind, const ColumnData& data, void* stream) {
  const Launch plan = plan_launch(data.shape, data.images, items_of(work, data.shape, data.images));
  if (plan.items == 0) return nullptr;
  if (kind == kFloat16) {
    if (work != kSample) return "gradients of float16 are computed in float32";
    launch<SampleWork, __half>(typed_columns<__half>(data), plan, static_cast<cudaStream_t>(stream));
  } else if (kind == kFloat32) {
    run<float>(work, data, plan, static_cast<cudaStream_t>(stream));
  } else {
    run<double>(work, data, plan, static_cast<cudaStream_t>(stream));
  }
  const cudaError_t error = cudaGetLastError();
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}

}  // namespace dcn
}  // namespace centernet
