// Between the layers (cpu_convolution.cpp, cpu_winograd.cpp, cpu_layers.cpp) and what is compiled once per instruction set.
#pragma once

#include "layers.h"

namespace centernet {
namespace dcn {

// Where a tile of 4 x 4 output pixels goes: `rows` and `columns` of it lie inside the image.
struct TileOutput {
  const float* residual;  // or null
  bool relu;
  float* output;
  int64_t rows, columns, row_stride, pixel_stride;
};

// `channels` and `columns` may be any number where not said otherwise, but sums and biases are padded to whole vectors.
struct LayerKernels {
  // output = relu(sums + residual), for `count` pixels
  void (*finish_row)(const float* sums, int64_t sums_stride, int64_t count, int64_t columns, const float* residual,
                     float* output, int64_t pixel_stride, bool relu);

  // A tile of 6 x 6 input pixels (row by row) to one row of each of 36 matrices. Channels are whole vectors.
  void (*winograd_input)(const float* const* pixels, int64_t channels, float* to, int64_t matrix);

  // One row of each of the 36 products to a tile of the output.
  void (*winograd_output)(const float* from, int64_t matrix, int64_t columns, const float* bias, const TileOutput& to);

  // to = the largest of several pixels, channel by channel
  void (*largest)(const float* const* pixels, int64_t count, int64_t channels, float* to);

  // to = relu(sum of weights * pixels + residual)
  void (*weighted_sum)(const float* const* pixels, const float* const* weights, int64_t count, int64_t channels,
                       const float* residual, bool relu, float* to);

  // in place
  void (*sigmoid)(int64_t n, float* values);
};

namespace plain { const LayerKernels& layer_kernels(); }
namespace avx2 { const LayerKernels& layer_kernels(); }
namespace avx512 { const LayerKernels& layer_kernels(); }

const LayerKernels& selected_layer_kernels();

}  // namespace dcn
}  // namespace centernet
