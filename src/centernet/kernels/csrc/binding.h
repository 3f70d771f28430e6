// What the parts of the extension module share; for torch 1.0.0 and torch 2.x.
#pragma once

#include <torch/extension.h>

#include <stdexcept>
#include <vector>

#include "cpu.h"

#if defined(__has_include)
#if __has_include(<torch/version.h>)
#define DCN_TORCH_2 1
#endif
#endif

namespace centernet {

typedef std::vector<int64_t> Sizes;

template <typename T>
T* data_of(const at::Tensor& tensor) { return static_cast<T*>(tensor.data_ptr()); }

inline void check(bool condition, const char* otherwise) {
  if (!condition) throw std::runtime_error(otherwise);
}

// torch's own threads: a second pool beside it would compete for the same cores.
Threads torch_threads();

// Throws where places in an image do not fit 32 bits.
void check_places(const Shape& shape);

// Adds the layers of layers.h to the module.
void define_layers(py::module& module);

// The operator by column matrices and torch's matrix products, on CUDA: its output (an empty bias is none), and the gradients
// of input, offset, mask, weight and bias, undefined where not wanted. float16 gradients are computed in float32.
at::Tensor forward_by_columns(const Shape& s, const at::Tensor& input, const at::Tensor& offset, const at::Tensor& mask,
                              const at::Tensor& weight, const at::Tensor& bias);
std::vector<at::Tensor> backward_by_columns(const Shape& s, const at::Tensor& input, const at::Tensor& offset,
                                            const at::Tensor& mask, const at::Tensor& weight, const at::Tensor& grad_output,
                                            const std::vector<bool>& wanted);

}  // namespace centernet
