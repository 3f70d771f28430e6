// The CPU implementation: plain C++11 on raw pointers, without torch, so that it compiles in seconds and runs under any tool.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "sampling.h"

namespace centernet {
namespace dcn {

// Calls body(context, worker) for every worker in [0, workers), possibly at the same time.
typedef void (*Body)(void* context, int64_t worker);
struct Threads {
  int64_t workers;
  void (*run)(int64_t workers, Body body, void* context);
};

// Memory layouts of an image: [channels, pixels] or [pixels, channels].
enum Layout { kChannelsFirst = 0, kChannelsLast = 1 };

// Computes the output. Results do not depend on the number of workers.
//   input   [batch, channels, height, width], each image in input_layout
//   offset  [batch, 2 * deformable_groups * taps, out_height, out_width]; dy, dx per deformable group and tap
//   mask    [batch, deformable_groups * taps, out_height, out_width]
//   weight  [out_channels, channels / groups, kernel_height, kernel_width]
//   bias    [out_channels] or null
//   output  [batch, out_channels, out_height, out_width], each image in output_layout
template <typename T>
void forward(const Shape& shape, const T* input, Layout input_layout, const T* offset, const T* mask, const T* weight,
             const T* bias, T* output, Layout output_layout, const Threads& threads);

// Computes the gradients that are not null; each has the shape of its tensor, channels first. bias needs no more than
// grad_output, and the others need all the tensors.
template <typename T>
struct Gradients {
  T *input, *offset, *mask, *weight, *bias;
};
template <typename T>
void backward(const Shape& shape, const T* input, const T* offset, const T* mask, const T* weight, const T* grad_output,
              const Gradients<T>& gradients, const Threads& threads);

// The instruction set in use: "plain", "avx2" or "avx512". The best that the processor has, unless choose() named another;
// choose() returns whether the build and the processor have it.
const char* instruction_set();
bool choose_instruction_set(const char* name);

// --- Between cpu.cpp and the kernels ---

// Positions of every tap of a tile of output pixels: corner i of entry (deformable group, tap, pixel) is input pixel
// pixels[i * entries + entry], and weighs weights[i * entries + entry] (bilinear weight times mask). Entries are at
// (deformable group * taps + tap) * stride + pixel. Corner 0 is -1 where nothing is reached: the value is then its weight.
template <typename T>
struct Positions {
  int64_t stride, entries;
  int32_t* pixels;
  T* weights;
};

// A tile: output pixels [first, first + count) of one image, row by row.
struct Tile {
  int64_t image, first, count;
};

// The operations that are compiled once per instruction set. Matrices are row-major.
template <typename T>
struct Kernels {
  const char* name;
  int64_t lanes;  // of a vector; columns of a product are padded to a multiple
  int64_t rows;   // of a block of the product; a remainder is padded to a multiple of a third of it

  // to[column * to_stride + row] = from[row * from_stride + column]
  void (*transpose)(const T* from, int64_t from_stride, int64_t rows, int64_t columns, T* to, int64_t to_stride);

  // Fills the positions of a tile, whose offsets and masks begin at `offset` and `mask`, with `plane` numbers from one plane
  // to the next; `places` is scratch for 2 * stride numbers. With `at_edge`, samples at coordinates of exactly -1 are kept,
  // because they have a gradient.
  void (*locate)(const Shape& shape, const T* offset, const T* mask, int64_t plane, Tile tile, bool at_edge,
                 int32_t* places, const Positions<T>& positions);

  // Samples input channels [first_channel, first_channel + channels) at taps [first_tap, last_tap) of pixels
  // [first_pixel, last_pixel): to[(pixel - first_pixel) * to_stride + (tap - first_tap) * channels + channel].
  void (*sample)(const Shape& shape, const T* image, const Positions<T>& positions, int64_t first_pixel,
                 int64_t last_pixel, int64_t first_channel, int64_t channels, int64_t first_tap, int64_t last_tap, T* to,
                 int64_t to_stride);

  // c[row, column] = start[row * start_stride + column] + sum over k of a[row * a_row + k * a_depth] * b(k, column), for a
  // number of rows that is padded to a multiple of rows / 3 and columns that are a multiple of `lanes`. b is packed (see pack_column)
  // where b_stride is 0, else a matrix [depth, b_stride]. packed_depth is the depth of the whole packed matrix.
  void (*multiply)(int64_t rows, int64_t columns, int64_t depth, const T* a, int64_t a_row, int64_t a_depth, const T* b,
                   int64_t b_stride, int64_t packed_depth, const T* start, int64_t start_stride, T* c, int64_t c_stride);

  // Packs columns [first, last) of the weight of one group, given as [outputs, channels, taps], for multiply: depth
  // (tap, channel), columns outputs. `first` is a multiple of 2 * lanes.
  void (*pack)(const T* weight, int64_t outputs, int64_t channels, int64_t taps, int64_t first, int64_t last, T* to);

  // Gradients of offset and mask of a tile (either may be null), from the gradients of the sampled values:
  // grad_columns[pixel * stride + group * group_stride + tap * group_channels + channel].
  void (*position_gradients)(const Shape& shape, const T* image, const T* offset, const T* mask, Tile tile,
                             const T* grad_columns, int64_t stride, int64_t group_stride, T* grad_offset, T* grad_mask);

  // Adds the gradients of the sampled values to channels [first_channel, first_channel + channels) of a channels-last image.
  void (*scatter)(const Shape& shape, const Positions<T>& positions, int64_t count, const T* grad_columns, int64_t stride,
                  int64_t group_stride, int64_t first_channel, int64_t channels, T* grad_image);
};

// Columns are packed in panels of 2 * lanes (the last may have lanes): [panel][depth][columns of the panel].

namespace plain { const Kernels<float>& kernels(float); const Kernels<double>& kernels(double); }
namespace avx2 { const Kernels<float>& kernels(float); const Kernels<double>& kernels(double); }
namespace avx512 { const Kernels<float>& kernels(float); const Kernels<double>& kernels(double); }

}  // namespace dcn
}  // namespace centernet
