// Packed weights of a convolution, and what its methods share.
#pragma once

#include <string.h>

#include <stdexcept>

#include "cpu_common.h"
#include "layers.h"

namespace centernet {

// [header: a cache line][bias, padded][matrices: panels as in cpu.h; for bfloat16, pairs of the depth side by side]
struct Packed {
  Method method;
  const Products<float>& products;
  int64_t panel, padded_outputs;
  const float* bias;
  const char* matrices;

  // Column `column` of a matrix; both `depth` and the product of `at` and the panel's width count factors.
  const char* panel_at(int64_t depth, int64_t column, int64_t at = 0) const {
    const int64_t width = std::min(panel, padded_outputs - column);
    return matrices + (column * depth + at * width) * products.bytes;
  }
};

const int64_t kHeader = 16;

inline int64_t padded_outputs_of(int64_t outputs, const Kernels<float>& kernels) { return round_up(outputs, kernels.lanes); }

inline Packed read_packed(const float* packed, int64_t outputs, const Kernels<float>& kernels) {
  int32_t lanes;
  memcpy(&lanes, packed, sizeof lanes);
  const Method method = packed_method(packed);
  const Products<float>* products = method.bf16 ? bf16_products() : &kernels.products;
  if (lanes != kernels.lanes || !products) throw std::runtime_error("the weights are packed for another instruction set");
  const int64_t padded = padded_outputs_of(outputs, kernels);
  const Packed result = {method, *products, 2 * kernels.lanes, padded, packed + kHeader,
                         reinterpret_cast<const char*>(packed + kHeader + padded)};
  return result;
}

// Where row y of the output of an image begins, as an offset.
inline int64_t row_of(const Finish& finish, int64_t image, int64_t y, int64_t channels) {
  return ((image * finish.height + finish.first_y + y * finish.step) * finish.width + finish.first_x) * channels;
}

void convolve_directly(const Window& window, const float* input, const Packed& packed, const Finish& finish,
                       const Threads& threads);
void convolve_by_winograd(const Window& window, const float* input, const Packed& packed, const Finish& finish,
                          const Threads& threads);

// Packs the transformed weights: 36 matrices.
void pack_winograd(const Window& window, const float* weight, const Packed& packed, char* matrices, const Threads& threads);

}  // namespace centernet
