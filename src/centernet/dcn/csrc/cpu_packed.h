// Packed weights of a prepared convolution, and what its methods share.
#pragma once

#include <string.h>

#include <stdexcept>

#include "cpu_common.h"
#include "layers_kernels.h"

namespace centernet {
namespace dcn {

// [header: a cache line][bias, padded][matrices: panels as in cpu.h]
struct Packed {
  Method method;
  int64_t panel, padded_outputs;
  const float *bias, *matrices;
};

const int64_t kHeader = 16;

inline int64_t padded_outputs_of(int64_t outputs, const Kernels<float>& kernels) { return round_up(outputs, kernels.lanes); }

inline Packed read_packed(const float* packed, int64_t outputs, const Kernels<float>& kernels) {
  int32_t header[2];
  memcpy(header, packed, sizeof header);
  if (header[0] != kernels.lanes) throw std::runtime_error("the weights are packed for another instruction set");
  const int64_t padded = padded_outputs_of(outputs, kernels);
  const Packed result = {static_cast<Method>(header[1]), 2 * kernels.lanes, padded, packed + kHeader,
                         packed + kHeader + padded};
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

// [out_channels, channels, 3, 3] -> [36, out_channels, channels]
void transform_weight(const Window& window, const float* weight, float* to);

}  // namespace dcn
}  // namespace centernet
