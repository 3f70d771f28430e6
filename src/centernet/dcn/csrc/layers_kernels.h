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

// How products are computed: of float32 numbers, or of bfloat16 numbers with sums in float32.
struct Products {
  int64_t bytes;  // of a factor
  int64_t multiple;  // depths are a multiple of it

  void (*convert)(const float* from, int64_t n, void* to);

  // c[row, column] = start[row * start_stride + column] + sum over k of a[row * a_row + k] * b(k, column); see Kernels.
  // b is packed, `width` columns side by side, and for bfloat16 two of the depth beside each other.
  void (*multiply)(int64_t rows, int64_t width, int64_t depth, const void* a, int64_t a_row, const void* b,
                   const float* start, int64_t start_stride, float* c, int64_t c_stride);

  // A tile of 6 x 6 input pixels (row by row) to one row of each of 36 matrices. Channels are whole vectors.
  void (*winograd_input)(const float* const* pixels, int64_t channels, void* to, int64_t matrix);
};

// `channels` and `columns` may be any number where not said otherwise, but sums and biases are padded to whole vectors.
struct LayerKernels {
  // output = relu(sums + residual), for `count` pixels
  void (*finish_row)(const float* sums, int64_t sums_stride, int64_t count, int64_t columns, const float* residual,
                     float* output, int64_t pixel_stride, bool relu);

  // One row of each of the 36 products to a tile of the output.
  void (*winograd_output)(const float* from, int64_t matrix, int64_t columns, const float* bias, const TileOutput& to);

  // to = the largest of several pixels, channel by channel
  void (*largest)(const float* const* pixels, int64_t count, int64_t channels, float* to);

  // to = relu(sum of weights * pixels + residual)
  void (*weighted_sum)(const float* const* pixels, const float* const* weights, int64_t count, int64_t channels,
                       const float* residual, bool relu, float* to);

  // in place
  void (*sigmoid)(int64_t n, float* values);

  Products products;  // in float32
};

namespace plain { const LayerKernels& layer_kernels(); }
namespace avx2 { const LayerKernels& layer_kernels(); }
namespace avx512 { const LayerKernels& layer_kernels(); }

const LayerKernels& selected_layer_kernels();

// In bfloat16, with AVX512_BF16; null where the build or the processor has not got it.
const Products* bf16_products();

}  // namespace dcn
}  // namespace centernet
