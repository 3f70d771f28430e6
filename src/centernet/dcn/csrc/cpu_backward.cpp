// The backward pass on a CPU.
//
// An image is taken in chunks of output pixels, whose column matrices fit a bounded memory. For each chunk, first tile by
// tile: the gradients of the sampled values (grad_output times the weight), from them those of offset and mask, and the
// sampled values anew. Then the sums over pixels, where every worker owns a part of the result and adds to it pixel by
// pixel: channels of the input's gradient, columns of the weight's. So no sum depends on the number of workers.
#include "cpu_common.h"

namespace centernet {
namespace dcn {

namespace {

const int64_t kChunkBytes = 8 << 20;  // of one column matrix
const int64_t kTilePixels = 48;

template <typename T>
struct Plan {
  int64_t taps, group_channels, group_outputs, depth;
  int64_t padded_depth;    // of one group's columns
  int64_t padded_outputs;  // of one group's output channels
  int64_t columns, outputs;  // of all groups
  int64_t tile_pixels, chunk_tiles;

  Plan(const Shape& s, const Kernels<T>& kernels) {
    taps = taps_of(s);
    group_channels = s.channels / s.groups;
    group_outputs = s.out_channels / s.groups;
    depth = taps * group_channels;
    padded_depth = round_up(depth, kernels.lanes);
    padded_outputs = round_up(group_outputs, kernels.rows);
    columns = s.groups * padded_depth;
    outputs = s.groups * padded_outputs;
    tile_pixels = round_up(kTilePixels, kernels.rows);
    const int64_t tile_bytes = tile_pixels * columns * static_cast<int64_t>(sizeof(T));
    const int64_t tiles = divide_up(out_pixels_of(s), tile_pixels);
    chunk_tiles = std::min(tiles, std::max<int64_t>(kChunkBytes / tile_bytes, 1));
  }
};

// The weight [outputs, channels, taps] of one group as panels of columns (tap, channel), one output after another.
template <typename T>
void pack_transposed(const Plan<T>& plan, int64_t panel, const T* weight, T* to) {
  for (int64_t j = 0; j < plan.padded_depth; ++j) {
    const int64_t width = std::min(panel, plan.padded_depth - j / panel * panel);
    const int64_t tap = j / plan.group_channels, channel = j % plan.group_channels;
    T* column = to + j / panel * panel * plan.group_outputs + j % panel;
    for (int64_t o = 0; o < plan.group_outputs; ++o) {
      column[o * width] = j < plan.depth ? weight[o * plan.depth + channel * plan.taps + tap] : T(0);
    }
  }
}

template <typename T>
void bias_gradient(const Shape& s, const T* grad_output, T* grad_bias, const Threads& threads) {
  const int64_t pixels = out_pixels_of(s);
  for_each(threads, s.out_channels, [&](int64_t channel, int64_t) {
    double sums[8] = {0, 0, 0, 0, 0, 0, 0, 0};
    for (int64_t image = 0; image < s.batch; ++image) {
      const T* from = grad_output + (image * s.out_channels + channel) * pixels;
      int64_t p = 0;
      for (; p + 8 <= pixels; p += 8) {
        for (int i = 0; i < 8; ++i) sums[i] += from[p + i];
      }
      for (; p < pixels; ++p) sums[0] += from[p];
    }
    grad_bias[channel] = static_cast<T>(((sums[0] + sums[1]) + (sums[2] + sums[3])) +
                                        ((sums[4] + sums[5]) + (sums[6] + sums[7])));
  });
}

// The memory of one call, and what is done with it.
template <typename T>
class Backward {
 public:
  Backward(const Shape& shape, const Gradients<T>& gradients, const Threads& threads)
      : s_(shape), to_(gradients), threads_(threads), kernels_(selected_kernels<T>()), plan_(shape, kernels_),
        needs_columns_(gradients.input || gradients.offset || gradients.mask),
        chunk_pixels_(plan_.chunk_tiles * plan_.tile_pixels), positions_(shape, plan_.tile_pixels, plan_.chunk_tiles),
        image_(s_.channels * pixels_of(s_)), grad_out_(chunk_pixels_ * plan_.outputs) {
    grad_out_.clear(chunk_pixels_ * plan_.outputs);
    zeros_.allocate(plan_.padded_depth);
    zeros_.clear(plan_.padded_depth);
    if (needs_columns_) {
      packed_.allocate(plan_.columns * plan_.group_outputs);
      grad_columns_.allocate(chunk_pixels_ * plan_.columns);
    }
    if (to_.input) grad_image_.allocate(s_.channels * pixels_of(s_));
    if (to_.weight) {
      columns_.allocate(chunk_pixels_ * plan_.columns);
      columns_.clear(chunk_pixels_ * plan_.columns);
      grad_weight_.allocate(plan_.outputs * plan_.padded_depth);
      grad_weight_.clear(plan_.outputs * plan_.padded_depth);
    }
  }

  void run(const T* input, const T* offset, const T* mask, const T* weight, const T* grad_output) {
    const int64_t image_size = s_.channels * pixels_of(s_), out_pixels = out_pixels_of(s_);
    if (needs_columns_) {
      for_each(threads_, s_.groups, [&](int64_t g, int64_t) {
        pack_transposed(plan_, 2 * kernels_.lanes, weight + g * plan_.group_outputs * plan_.depth,
                        packed_.data() + g * plan_.padded_depth * plan_.group_outputs);
      });
    }
    for (int64_t n = 0; n < s_.batch; ++n) {
      transpose_image(kernels_, threads_, input + n * image_size, s_.channels, pixels_of(s_), image_.data());
      if (to_.input) grad_image_.clear(image_size);
      for (int64_t first = 0; first < out_pixels; first += chunk_pixels_) {
        const int64_t count = std::min(chunk_pixels_, out_pixels - first);
        for_each(threads_, divide_up(count, plan_.tile_pixels), [&](int64_t index, int64_t) {
          const int64_t start = index * plan_.tile_pixels;
          const Tile tile = {n, first + start, std::min(plan_.tile_pixels, count - start)};
          take_tile(index, tile, offset, mask, grad_output);
        });
        if (to_.input) add_to_input(count);
        if (to_.weight) add_to_weight(count);
      }
      if (to_.input) {
        transpose_image(kernels_, threads_, grad_image_.data(), pixels_of(s_), s_.channels, to_.input + n * image_size);
      }
    }
    if (to_.weight) write_weight();
  }

 private:
  void take_tile(int64_t index, const Tile& tile, const T* offset, const T* mask, const T* grad_output) {
    const int64_t out_pixels = out_pixels_of(s_), start = index * plan_.tile_pixels;
    const int64_t rows = round_up(tile.count, kernels_.rows), panel = 2 * kernels_.lanes;
    const Positions<T> positions = positions_.tile(index);
    locate_tile(kernels_, s_, offset, mask, tile, true, positions_.places(index), positions);
    T* grad_out = grad_out_.data() + start * plan_.outputs;
    for (int64_t g = 0; g < s_.groups; ++g) {
      kernels_.transpose(grad_output + (tile.image * s_.out_channels + g * plan_.group_outputs) * out_pixels + tile.first,
                         out_pixels, plan_.group_outputs, tile.count, grad_out + g * plan_.padded_outputs, plan_.outputs);
    }
    if (needs_columns_) {
      T* grad_columns = grad_columns_.data() + start * plan_.columns;
      for (int64_t g = 0; g < s_.groups; ++g) {
        for (int64_t j = 0; j < plan_.padded_depth; j += panel) {
          kernels_.multiply(rows, std::min(panel, plan_.padded_depth - j), plan_.group_outputs,
                            grad_out + g * plan_.padded_outputs, plan_.outputs, 1,
                            packed_.data() + (g * plan_.padded_depth + j) * plan_.group_outputs, 0, plan_.group_outputs,
                            zeros_.data(), 0, grad_columns + g * plan_.padded_depth + j, plan_.columns);
        }
      }
      if (to_.offset || to_.mask) {
        kernels_.position_gradients(s_, image_.data(), offset, mask, tile, grad_columns, plan_.columns,
                                    plan_.padded_depth, to_.offset, to_.mask);
      }
    }
    if (to_.weight) {
      for (int64_t g = 0; g < s_.groups; ++g) {
        kernels_.sample(s_, image_.data(), positions, 0, tile.count, g * plan_.group_channels, plan_.group_channels, 0,
                        plan_.taps, columns_.data() + start * plan_.columns + g * plan_.padded_depth, plan_.columns);
      }
    }
  }

  void add_to_input(int64_t count) {
    const int64_t slice = std::max(kernels_.lanes, round_up(divide_up(s_.channels, 2 * threads_.workers), kernels_.lanes));
    for_each(threads_, divide_up(s_.channels, slice), [&](int64_t item, int64_t) {
      for (int64_t start = 0; start < count; start += plan_.tile_pixels) {
        kernels_.scatter(s_, positions_.tile(start / plan_.tile_pixels), std::min(plan_.tile_pixels, count - start),
                         grad_columns_.data() + start * plan_.columns, plan_.columns, plan_.padded_depth, item * slice,
                         std::min(slice, s_.channels - item * slice), grad_image_.data());
      }
    });
  }

  void add_to_weight(int64_t count) {
    const int64_t panel = 2 * kernels_.lanes, panels = divide_up(plan_.padded_depth, panel);
    for_each(threads_, s_.groups * panels, [&](int64_t item, int64_t) {
      const int64_t g = item / panels, j = item % panels * panel;
      T* sums = grad_weight_.data() + g * plan_.padded_outputs * plan_.padded_depth + j;
      kernels_.multiply(plan_.padded_outputs, std::min(panel, plan_.padded_depth - j), count,
                        grad_out_.data() + g * plan_.padded_outputs, 1, plan_.outputs,
                        columns_.data() + g * plan_.padded_depth + j, plan_.columns, 0, sums, plan_.padded_depth, sums,
                        plan_.padded_depth);
    });
  }

  void write_weight() {
    for_each(threads_, s_.out_channels, [&](int64_t o, int64_t) {
      const int64_t row = o / plan_.group_outputs * plan_.padded_outputs + o % plan_.group_outputs;
      const T* from = grad_weight_.data() + row * plan_.padded_depth;
      for (int64_t c = 0; c < plan_.group_channels; ++c) {
        for (int64_t tap = 0; tap < plan_.taps; ++tap) {
          to_.weight[(o * plan_.group_channels + c) * plan_.taps + tap] = from[tap * plan_.group_channels + c];
        }
      }
    });
  }

  const Shape s_;
  const Gradients<T> to_;
  const Threads threads_;
  const Kernels<T>& kernels_;
  const Plan<T> plan_;
  const bool needs_columns_;
  const int64_t chunk_pixels_;
  PositionMemory<T> positions_;
  Array<T> image_;         // channels-last
  Array<T> grad_out_;      // [chunk_pixels, groups * padded_outputs]
  Array<T> zeros_, packed_;
  Array<T> grad_columns_;  // [chunk_pixels, groups * padded_depth]
  Array<T> columns_;       // as grad_columns_: the sampled values
  Array<T> grad_image_;    // channels-last
  Array<T> grad_weight_;   // [groups * padded_outputs, padded_depth]
};

}  // namespace

template <typename T>
void backward(const Shape& s, const T* input, const T* offset, const T* mask, const T* weight, const T* grad_output,
              const Gradients<T>& gradients, const Threads& threads) {
  if (gradients.bias) bias_gradient(s, grad_output, gradients.bias, threads);
  if (!gradients.input && !gradients.offset && !gradients.mask && !gradients.weight) return;
  if (s.batch == 0) {
    if (gradients.weight) std::fill(gradients.weight, gradients.weight + s.out_channels * s.channels / s.groups * taps_of(s), T(0));
    return;
  }
  Backward<T>(s, gradients, threads).run(input, offset, mask, weight, grad_output);
}

template void backward<float>(const Shape&, const float*, const float*, const float*, const float*, const float*,
                              const Gradients<float>&, const Threads&);
template void backward<double>(const Shape&, const double*, const double*, const double*, const double*, const double*,
                               const Gradients<double>&, const Threads&);

}  // namespace dcn
}  // namespace centernet
