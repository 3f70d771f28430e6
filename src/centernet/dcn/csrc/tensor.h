// What differs between the tensors of torch 1.0.0 and torch 2.x.
#pragma once

#include <ATen/ATen.h>

#if defined(__has_include)
#if __has_include(<torch/version.h>)
#define DCN_TORCH_2 1
#endif
#endif

// The tests of the CUDA source take tensors of the CPU for those of a GPU.
#ifndef DCN_IS_ON_GPU
#define DCN_IS_ON_GPU(tensor) (tensor).is_cuda()
#endif

#ifdef DCN_TORCH_2
#define DCN_CHECK TORCH_CHECK
#define DCN_DISPATCH(tensor, name, ...) AT_DISPATCH_FLOATING_TYPES((tensor).scalar_type(), name, __VA_ARGS__)
#else
#define DCN_CHECK AT_CHECK
#define DCN_DISPATCH(tensor, name, ...) AT_DISPATCH_FLOATING_TYPES((tensor).type(), name, __VA_ARGS__)
#endif

namespace centernet {
namespace dcn {

#ifdef DCN_TORCH_2
template <typename T>
T* data_of(const at::Tensor& tensor) { return tensor.data_ptr<T>(); }
inline at::ScalarType type_of(const at::Tensor& tensor) { return tensor.scalar_type(); }
#else
template <typename T>
T* data_of(const at::Tensor& tensor) { return tensor.data<T>(); }
inline at::ScalarType type_of(const at::Tensor& tensor) { return tensor.type().scalarType(); }
#endif

}  // namespace dcn
}  // namespace centernet
