// The CPU implementation: plain C++11 on raw pointers, without torch, so that it compiles in seconds and runs under any tool.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "sampling.h"

namespace centernet {

// Calls body(context, worker) for every worker in [0, workers), possibly at the same time.
typedef void (*Body)(void* context, int64_t worker);
struct Threads {
  int64_t workers;
  void (*run)(int64_t workers, Body body, void* context);
};

// Memory layouts of images: [channels, pixels] or [pixels, channels].
enum Layout { kChannelsFirst = 0, kChannelsLast = 1 };

// Computes the output. Results do not depend on the number of workers.
//   input   [batch, channels, height, width], each image in `layout`
//   offset  [batch, 2 * deformable_groups * taps, out_height, out_width]; dy, dx per deformable group and tap
//   mask    [batch, deformable_groups * taps, out_height, out_width]
//   weight  [out_channels, channels / groups, kernel_height, kernel_width]
//   bias    [out_channels] or null
//   output  [batch, out_channels, out_height, out_width], each image in `layout`
template <typename T>
void forward(const Shape& shape, const T* input, const T* offset, const T* mask, const T* weight, const T* bias, T* output,
             Layout layout, const Threads& threads);

// The instruction set in use: "plain", "avx2" or "avx512". The best that the processor has, unless choose() named another;
// choose() returns whether the build and the processor have it.
const char* instruction_set();
bool choose_instruction_set(const char* name);

// --- Between the operator and the kernels ---

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

// How products are computed: of numbers as they are, or of bfloat16 numbers with sums in float32.
template <typename T>
struct Products {
  int64_t bytes;     // of a factor
  int64_t multiple;  // depths are a multiple of it

  void (*convert)(const T* from, int64_t n, void* to);

  // c[row, column] = start[row * start_stride + column] + sum over k of a[row * a_row + k] * b(k, column), for a number of
  // rows that is padded to a multiple of rows / 3 and columns that are a multiple of `lanes`. b is packed (Kernels::pack),
  // for bfloat16 with two of the depth beside each other.
  void (*multiply)(int64_t rows, int64_t columns, int64_t depth, const void* a, int64_t a_row, const void* b, const T* start,
                   int64_t start_stride, T* c, int64_t c_stride);

  // A tile of 6 x 6 input pixels (row by row) to one row of each of 36 matrices. Channels are whole vectors. Not in float64.
  void (*winograd_input)(const float* const* pixels, int64_t channels, void* to, int64_t matrix);
};

// The operations that are compiled once per instruction set. Matrices are row-major.
template <typename T>
struct Kernels {
  int64_t lanes;  // of a vector; columns of a product are padded to a multiple
  int64_t rows;   // of a block of the product; a remainder is padded to a multiple of a third of it

  // to[column * to_stride + row] = from[row * from_stride + column]
  void (*transpose)(const T* from, int64_t from_stride, int64_t rows, int64_t columns, T* to, int64_t to_stride);

  // Fills the positions of a tile, whose offsets and masks begin at `offset` and `mask`, with `plane` numbers from one plane
  // to the next; `places` is scratch for 2 * stride numbers.
  void (*locate)(const Shape& shape, const T* offset, const T* mask, int64_t plane, Tile tile, int32_t* places,
                 const Positions<T>& positions);

  // Samples input channels [first_channel, first_channel + channels) at taps [first_tap, last_tap) of pixels
  // [first_pixel, last_pixel): to[(pixel - first_pixel) * to_stride + (tap - first_tap) * channels + channel].
  void (*sample)(const Shape& shape, const T* image, const Positions<T>& positions, int64_t first_pixel,
                 int64_t last_pixel, int64_t first_channel, int64_t channels, int64_t first_tap, int64_t last_tap, T* to,
                 int64_t to_stride);

  Products<T> products;

  // Packs columns [first, last) of the weight of one group, given as [outputs, channels, taps], for products: depth
  // (tap, channel), columns outputs, in panels [depth][2 * lanes] (the last may have lanes). `first` is a multiple of a panel.
  void (*pack)(const T* weight, int64_t outputs, int64_t channels, int64_t taps, int64_t first, int64_t last, T* to);
};

namespace plain { const Kernels<float>& kernels(float); const Kernels<double>& kernels(double); }
namespace avx2 { const Kernels<float>& kernels(float); const Kernels<double>& kernels(double); }
namespace avx512 { const Kernels<float>& kernels(float); const Kernels<double>& kernels(double); }

}  // namespace centernet
