// The forward pass on a CPU, and the choice of the instruction set.
//
// An image is laid out with the channels of a pixel side by side. A tile of output pixels is sampled, a few taps at a time,
// into a matrix [pixels, taps * channels] that stays in the second-level cache, and is multiplied by the weight's packed
// panels from there: no column matrix of the whole image exists.
#include <string.h>

#include <memory>
#include <vector>

#include "cpu_common.h"
#include "layers_kernels.h"

namespace centernet {
namespace dcn {

namespace {

// 0: plain, 1: AVX2, 2: AVX-512; -1: not chosen yet.
std::atomic<int> chosen_set(-1);
const char* const kSetNames[] = {"plain", "avx2", "avx512"};

bool processor_has(int set) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (set == 1) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (set == 2) {
    return processor_has(1) && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
  }
#endif
  return set == 0;
}

int selected_set() {
  int set = chosen_set;
  if (set < 0) {
    set = processor_has(2) ? 2 : processor_has(1) ? 1 : 0;
    chosen_set = set;
  }
  return set;
}

// Sizes in bytes that a tile's matrix should stay within: half of a small second-level cache.
const int64_t kTileBytes = 192 * 1024;
const int64_t kDepth = 768;       // of the product at a time
const int64_t kTilePixels = 96;   // at most
const int64_t kImageBytes = 16 << 20;  // of input laid out anew at a time, if there are several images

template <typename T>
struct Plan {
  int64_t taps, group_channels, group_outputs, depth;
  int64_t padded_outputs;  // columns of a group's product
  int64_t block_taps;      // sampled at a time
  int64_t stride;          // of the tile's matrix
  int64_t tile_pixels, tiles;

  Plan(const Shape& s, const Kernels<T>& kernels, int64_t workers) {
    taps = taps_of(s);
    group_channels = s.channels / s.groups;
    group_outputs = s.out_channels / s.groups;
    depth = taps * group_channels;
    padded_outputs = round_up(group_outputs, kernels.lanes);
    block_taps = divide_up(taps, std::min(taps, divide_up(depth, kDepth)));
    // one more cache line, so that the rows of a block do not fall into the same sets of the cache
    stride = round_up(block_taps * group_channels, kernels.lanes) + 64 / static_cast<int64_t>(sizeof(T));
    const int64_t fitting = kTileBytes / (stride * static_cast<int64_t>(sizeof(T)));
    const int64_t shared = divide_up(out_pixels_of(s) * s.batch, 4 * workers);  // leaves every worker some tiles
    tile_pixels = std::min(std::min(kTilePixels, fitting), workers > 1 ? shared : kTilePixels);
    tile_pixels = std::max(tile_pixels / kernels.rows, int64_t(2)) * kernels.rows;
    tiles = divide_up(out_pixels_of(s), tile_pixels);
  }
};

// What a worker needs to compute tiles; made when it takes its first.
template <typename T>
struct Workspace {
  PositionMemory<T> positions;
  Array<T> sampled, product;
  Workspace(const Shape& s, const Plan<T>& plan, const Kernels<T>& kernels)
      : positions(s, plan.tile_pixels, 1), sampled(kernels.rows * plan.stride),
        product(plan.tile_pixels * plan.padded_outputs) {
    sampled.clear(kernels.rows * plan.stride);  // rows beyond the image are multiplied too
  }
};

}  // namespace

template <>
const Kernels<float>& selected_kernels<float>() {
#if defined(__x86_64__)
  if (selected_set() == 2) return avx512::kernels(0.f);
  if (selected_set() == 1) return avx2::kernels(0.f);
#endif
  return plain::kernels(0.f);
}

template <>
const Kernels<double>& selected_kernels<double>() {
#if defined(__x86_64__)
  if (selected_set() == 2) return avx512::kernels(0.0);
  if (selected_set() == 1) return avx2::kernels(0.0);
#endif
  return plain::kernels(0.0);
}

const LayerKernels& selected_layer_kernels() {
#if defined(__x86_64__)
  if (selected_set() == 2) return avx512::layer_kernels();
  if (selected_set() == 1) return avx2::layer_kernels();
#endif
  return plain::layer_kernels();
}

const char* instruction_set() { return kSetNames[selected_set()]; }

bool choose_instruction_set(const char* name) {
  for (int set = 0; set < 3; ++set) {
    if (strcmp(name, kSetNames[set]) == 0 && processor_has(set)) {
      chosen_set = set;
      return true;
    }
  }
  return false;
}

template <typename T>
static void forward_tile(const Shape& s, const Plan<T>& plan, const Kernels<T>& kernels, const Tile& tile, const T* image,
                         const T* offset, const T* mask, const T* packed, const T* bias, Workspace<T>& workspace,
                         T* output, Layout output_layout) {
  const Positions<T> positions = workspace.positions.tile(0);
  locate_tile(kernels, s, offset, mask, tile, false, workspace.positions.places(0), positions);
  const int64_t panel = 2 * kernels.lanes, out_pixels = out_pixels_of(s);
  T* sampled = workspace.sampled.data();
  T* product = workspace.product.data();
  for (int64_t g = 0; g < s.groups; ++g) {
    const T* panels = packed + g * plan.padded_outputs * plan.depth;
    for (int64_t tap = 0; tap < plan.taps; tap += plan.block_taps) {
      const int64_t last_tap = std::min(tap + plan.block_taps, plan.taps);
      for (int64_t first = 0; first < tile.count; first += kernels.rows) {
        // The last block may have fewer pixels: what its other rows hold does not matter.
        kernels.sample(s, image, positions, first, std::min(first + kernels.rows, tile.count), g * plan.group_channels,
                       plan.group_channels, tap, last_tap, sampled, plan.stride);
        T* block = product + first * plan.padded_outputs;
        for (int64_t j = 0; j < plan.padded_outputs; j += panel) {
          const int64_t width = std::min(panel, plan.padded_outputs - j);
          const T* start = tap ? block + j : bias + g * plan.padded_outputs + j;
          kernels.multiply(kernels.rows, width, (last_tap - tap) * plan.group_channels, sampled, plan.stride, 1,
                           panels + j * plan.depth + tap * plan.group_channels * width, 0, plan.depth, start,
                           tap ? plan.padded_outputs : 0, block + j, plan.padded_outputs);
        }
      }
    }
    const int64_t first_output = g * plan.group_outputs;
    if (output_layout == kChannelsFirst) {
      kernels.transpose(product, plan.padded_outputs, tile.count, plan.group_outputs,
                        output + (tile.image * s.out_channels + first_output) * out_pixels + tile.first, out_pixels);
    } else {
      for (int64_t p = 0; p < tile.count; ++p) {
        const T* row = product + p * plan.padded_outputs;
        std::copy(row, row + plan.group_outputs,
                  output + (tile.image * out_pixels + tile.first + p) * s.out_channels + first_output);
      }
    }
  }
}

template <typename T>
void forward(const Shape& s, const T* input, Layout input_layout, const T* offset, const T* mask, const T* weight,
             const T* bias, T* output, Layout output_layout, const Threads& threads) {
  if (s.batch == 0 || s.out_channels == 0) return;
  const Kernels<T>& kernels = selected_kernels<T>();
  const Plan<T> plan(s, kernels, threads.workers);
  const int64_t image_size = s.channels * pixels_of(s), panel = 2 * kernels.lanes;

  Array<T> packed(s.groups * plan.padded_outputs * plan.depth);
  const int64_t panels = divide_up(plan.padded_outputs, panel);
  for_each(threads, s.groups * panels, [&](int64_t item, int64_t) {
    const int64_t g = item / panels, first = item % panels * panel;
    kernels.pack(weight + g * plan.group_outputs * plan.depth, plan.group_outputs, plan.group_channels, plan.taps, first,
                 std::min(first + panel, plan.padded_outputs), packed.data() + g * plan.padded_outputs * plan.depth);
  });
  Array<T> padded_bias(s.groups * plan.padded_outputs);
  padded_bias.clear(s.groups * plan.padded_outputs);
  for (int64_t o = 0; bias && o < s.out_channels; ++o) {
    padded_bias.data()[o / plan.group_outputs * plan.padded_outputs + o % plan.group_outputs] = bias[o];
  }

  const int64_t image_bytes = std::max<int64_t>(image_size * sizeof(T), 1);
  const int64_t at_once = std::min(s.batch, std::max<int64_t>(kImageBytes / image_bytes, 1));
  Array<T> images(input_layout == kChannelsFirst ? at_once * image_size : 0);
  std::vector<std::unique_ptr<Workspace<T>>> workspaces(threads.workers);

  for (int64_t first = 0; first < s.batch; first += at_once) {
    const int64_t count = std::min(at_once, s.batch - first);
    const T* from = input + first * image_size;
    if (input_layout == kChannelsFirst) {
      for (int64_t i = 0; i < count; ++i) {
        transpose_image(kernels, threads, from + i * image_size, s.channels, pixels_of(s), images.data() + i * image_size);
      }
      from = images.data();
    }
    for_each(threads, count * plan.tiles, [&](int64_t item, int64_t worker) {
      if (!workspaces[worker]) workspaces[worker].reset(new Workspace<T>(s, plan, kernels));
      const int64_t start = item % plan.tiles * plan.tile_pixels;
      const Tile tile = {first + item / plan.tiles, start, std::min(plan.tile_pixels, out_pixels_of(s) - start)};
      forward_tile(s, plan, kernels, tile, from + item / plan.tiles * image_size, offset, mask, packed.data(),
                   padded_bias.data(), *workspaces[worker], output, output_layout);
    });
  }
}

template void forward<float>(const Shape&, const float*, Layout, const float*, const float*, const float*, const float*,
                             float*, Layout, const Threads&);
template void forward<double>(const Shape&, const double*, Layout, const double*, const double*, const double*,
                              const double*, double*, Layout, const Threads&);

}  // namespace dcn
}  // namespace centernet
