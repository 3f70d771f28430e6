// The operator by column matrices and torch's matrix products: on CUDA, and on the CPU for the tests.
#pragma once

#include <ATen/ATen.h>

#include <vector>

#include "sampling.h"

namespace centernet {
namespace dcn {

// The output. An empty bias means none. `wide` takes indices of 64 bits even where 32 are enough (CPU only).
at::Tensor forward_by_columns(const Shape& s, const at::Tensor& input, const at::Tensor& offset, const at::Tensor& mask,
                              const at::Tensor& weight, const at::Tensor& bias, bool wide);

// The gradients of input, offset, mask, weight and bias, undefined where not wanted. float16 is computed in float32.
std::vector<at::Tensor> backward_by_columns(const Shape& s, const at::Tensor& input, const at::Tensor& offset,
                                            const at::Tensor& mask, const at::Tensor& weight, const at::Tensor& grad_output,
                                            const std::vector<bool>& wanted, bool wide);

}  // namespace dcn
}  // namespace centernet
