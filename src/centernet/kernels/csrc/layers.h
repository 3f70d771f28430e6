// The layers of a network that is fused for inference, on a CPU: plain C++11 on raw pointers, float32, without torch.
//
// All images are [batch, height, width, channels]. Results do not depend on the number of workers.
#pragma once

#include "cpu.h"

namespace centernet {

// The sizes of a layer with a window: output pixel (y, x) sees input rows y * stride - padding_top + [0, kernel_height), and
// columns likewise. Pixels outside the image are 0.
struct Window {
  int64_t batch, height, width, channels;
  int64_t out_height, out_width, out_channels;
  int64_t kernel_height, kernel_width, stride, padding_top, padding_left;
};

// What follows a sum: output = relu(sum + residual), the latter two where wanted. Output pixel (y, x) is pixel
// (first_y + y * step, first_x + x * step) of images of [height, width]; the residual is laid out as the output.
struct Finish {
  const float* residual;  // or null
  bool relu;
  float* output;
  int64_t height, width, step, first_y, first_x;
};

// How a convolution is computed. With `winograd`, by minimal filtering: F(4 x 4, 3 x 3) of Lavin and Gray, "Fast Algorithms for
// Convolutional Neural Networks", 2015, a quarter of the products; for kernels of 3 x 3 with stride 1. Otherwise by products of
// the pixels and weights. With `bf16`, factors are rounded to bfloat16; sums are in float32 in any case.
struct Method {
  bool winograd, bf16;
};

// Whether the instruction set in use can compute such a convolution by a method.
bool has_method(const Window& window, Method method);

// The method, the bias [out_channels] and the weight [out_channels, channels, kernel_height, kernel_width] of a convolution
// as its products take them, for the instruction set in use: packed_size() numbers.
int64_t packed_size(const Window& window, Method method);
void pack_convolution(const Window& window, Method method, const float* weight, const float* bias, float* packed,
                      const Threads& threads);

// The method that weights were packed for; they are at least three numbers.
Method packed_method(const float* packed);

// A convolution by the method that its weights were packed for. Throws std::runtime_error if that was for another
// instruction set.
void convolve(const Window& window, const float* input, const float* packed, const Finish& finish, const Threads& threads);

// A deformable convolution with one group, as a layer: `predicted`, [batch, out_height, out_width, 3 * planes], is what the
// convolution of offsets and mask gives: 2 * planes offsets, dy and dx by turns, and the logits of planes masks. The weights
// are packed without `winograd`.
void deform(const Shape& shape, const float* input, const float* predicted, const float* packed, const Finish& finish,
            const Threads& threads);

// A transposed convolution of each channel on its own: every input pixel adds weight [kernel_height, kernel_width, channels]
// times its value at (y * stride - padding_top, x * stride - padding_left). out_channels is channels.
void spread(const Window& window, const float* input, const float* weight, const Finish& finish, const Threads& threads);

// The largest value in each window.
void max_pool(const Window& window, const float* input, float* output, const Threads& threads);

// --- Between the layers and the kernels ---

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

// In bfloat16, with AVX512_BF16; null where the build or the processor has not got it.
const Products<float>* bf16_products();

}  // namespace centernet
