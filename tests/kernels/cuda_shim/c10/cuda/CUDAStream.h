// torch 2.x
#pragma once

#include "cuda_runtime.h"

namespace c10 {
namespace cuda {
inline cudaStream_t getCurrentCUDAStream() { return nullptr; }
}  // namespace cuda
}  // namespace c10
