// The deformable convolution on a CPU: as the operator, and as a layer of a fused network.
//
// The channels of a pixel of the image lie side by side. A tile of output pixels is sampled, a few taps at a time, into a
// matrix [pixels, taps * channels] that stays in the second-level cache, and is multiplied by the weight's packed panels from
// there: no column matrix of the whole image exists.
#include <memory>
#include <vector>

#include "cpu_packed.h"

namespace centernet {

namespace {

const int64_t kTileBytes = 320 * 1024;  // of a tile's sampled values: within the second-level cache
const int64_t kTilePixels = 96;         // at most
const int64_t kDepth = 768;             // of the product at a time

// Of each group of the convolution.
template <typename T>
struct Plan {
  int64_t taps, channels, outputs, padded_outputs, depth;
  int64_t block_taps;  // sampled at a time
  int64_t stride;      // of the tile's matrix
  int64_t tile_pixels, tiles;
  int64_t planes, entries;  // of masks, and of the positions in a tile

  Plan(const Shape& s, const Kernels<T>& kernels, int64_t workers) {
    taps = taps_of(s);
    channels = s.channels / s.groups;
    outputs = s.out_channels / s.groups;
    padded_outputs = round_up(outputs, kernels.lanes);
    depth = taps * channels;
    block_taps = divide_up(taps, std::min(taps, divide_up(depth, kDepth)));
    // one more cache line, so that the rows of a block do not fall into the same sets of the cache
    stride = round_up(block_taps * channels, kernels.lanes) + 64 / static_cast<int64_t>(sizeof(T));
    const int64_t pixels = out_pixels_of(s), granule = kernels.rows / 3;
    const int64_t fitting = std::max<int64_t>(kTileBytes / (stride * static_cast<int64_t>(sizeof(T))), granule);
    tiles = balance(divide_up(pixels, std::min(kTilePixels, fitting)), divide_up(pixels, granule), workers);
    tile_pixels = round_up(divide_up(pixels, tiles), granule);
    tiles = divide_up(pixels, tile_pixels);
    planes = s.deformable_groups * taps;
    entries = planes * tile_pixels;
  }

  Tile tile(const Shape& s, int64_t image, int64_t index) const {
    return {image, index * tile_pixels, std::min(tile_pixels, out_pixels_of(s) - index * tile_pixels)};
  }
};

// What a worker needs to compute tiles; made when it takes its first.
template <typename T>
struct Workspace {
  Array<int32_t> places, pixels;
  Array<T> weights, planes, sampled, sums;
  Array<char> rounded;
  Positions<T> positions;

  Workspace(const Plan<T>& plan, const Products<T>& products)
      : places(2 * plan.tile_pixels), pixels(4 * plan.entries), weights(4 * plan.entries), planes(3 * plan.entries),
        sampled((products.bytes == sizeof(T) ? plan.tile_pixels : 1) * plan.stride),
        sums(plan.tile_pixels * plan.padded_outputs),
        rounded(products.bytes == sizeof(T) ? 0 : plan.tile_pixels * plan.stride * products.bytes),
        positions{plan.tile_pixels, plan.entries, pixels.data(), weights.data()} {}
};

template <typename T>
using Workspaces = std::vector<std::unique_ptr<Workspace<T>>>;

template <typename T>
Workspace<T>& workspace_of(Workspaces<T>& all, int64_t worker, const Plan<T>& plan, const Products<T>& products) {
  if (!all[worker]) all[worker].reset(new Workspace<T>(plan, products));
  return *all[worker];
}

// The sums of group g, [pixels, padded_outputs], of a tile of `count` pixels whose positions are known.
template <typename T>
void sum_tile(const Shape& s, const Plan<T>& plan, const Kernels<T>& kernels, const Products<T>& products, int64_t g,
              const T* image, int64_t count, const char* matrix, const T* bias, Workspace<T>& work) {
  T *sampled = work.sampled.data(), *sums = work.sums.data();
  const bool rounds = products.bytes != sizeof(T);
  const void* factors = rounds ? static_cast<const void*>(work.rounded.data()) : sampled;
  for (int64_t tap = 0; tap < plan.taps; tap += plan.block_taps) {
    const int64_t last_tap = std::min(tap + plan.block_taps, plan.taps), depth = (last_tap - tap) * plan.channels;
    for (int64_t p = 0; p < count; p += rounds ? 1 : count) {
      kernels.sample(s, image, work.positions, p, rounds ? p + 1 : count, g * plan.channels, plan.channels, tap, last_tap,
                     sampled, plan.stride);
      if (rounds) products.convert(sampled, depth, work.rounded.data() + p * plan.stride * products.bytes);
    }
    for (int64_t column = 0; column < plan.padded_outputs; column += 2 * kernels.lanes) {
      const int64_t width = std::min(2 * kernels.lanes, plan.padded_outputs - column);
      products.multiply(round_up(count, kernels.rows / 3), width, depth, factors, plan.stride,
                        matrix + (column * plan.depth + tap * plan.channels * width) * products.bytes,
                        (tap ? sums : bias) + column, tap ? plan.padded_outputs : 0, sums + column, plan.padded_outputs);
    }
  }
}

}  // namespace

template <typename T>
void forward(const Shape& s, const T* input, const T* offset, const T* mask, const T* weight, const T* bias, T* output,
             Layout layout, const Threads& threads) {
  if (s.batch == 0) return;
  const Kernels<T>& kernels = selected_kernels<T>();
  const Plan<T> plan(s, kernels, threads.workers);
  const int64_t image_size = s.channels * pixels_of(s), out_pixels = out_pixels_of(s), panel = 2 * kernels.lanes;
  const int64_t planes = plan.planes, group_size = plan.padded_outputs * plan.depth;

  Array<T> packed(s.groups * group_size), padded_bias(s.groups * plan.padded_outputs);
  const int64_t panels = divide_up(plan.padded_outputs, panel);
  for_each(threads, s.groups * panels, [&](int64_t item, int64_t) {
    const int64_t g = item / panels, first = item % panels * panel;
    kernels.pack(weight + g * plan.outputs * plan.depth, plan.outputs, plan.channels, plan.taps, first,
                 std::min(first + panel, plan.padded_outputs), packed.data() + g * group_size);
  });
  padded_bias.clear(s.groups * plan.padded_outputs);
  for (int64_t o = 0; bias && o < s.out_channels; ++o) {
    padded_bias.data()[o / plan.outputs * plan.padded_outputs + o % plan.outputs] = bias[o];
  }

  Array<T> laid_out(layout == kChannelsFirst ? image_size : 0);
  Workspaces<T> workspaces(threads.workers);
  for (int64_t n = 0; n < s.batch; ++n) {
    const T* image = input + n * image_size;
    if (layout == kChannelsFirst) {
      const int64_t piece = 256;
      for_each(threads, divide_up(pixels_of(s), piece), [&](int64_t item, int64_t) {
        const int64_t first = item * piece;
        kernels.transpose(image + first, pixels_of(s), s.channels, std::min(piece, pixels_of(s) - first),
                          laid_out.data() + first * s.channels, s.channels);
      });
      image = laid_out.data();
    }
    for_each(threads, plan.tiles, [&](int64_t item, int64_t worker) {
      Workspace<T>& work = workspace_of(workspaces, worker, plan, kernels.products);
      const Tile tile = plan.tile(s, n, item);
      const int64_t at = n * planes * out_pixels + tile.first;
      kernels.locate(s, offset + n * planes * out_pixels + at, mask + at, out_pixels, tile, work.places.data(), work.positions);
      for (int64_t g = 0; g < s.groups; ++g) {
        sum_tile(s, plan, kernels, kernels.products, g, image, tile.count,
                 reinterpret_cast<const char*>(packed.data() + g * group_size), padded_bias.data() + g * plan.padded_outputs, work);
        const T* sums = work.sums.data();
        if (layout == kChannelsFirst) {
          kernels.transpose(sums, plan.padded_outputs, tile.count, plan.outputs,
                            output + (n * s.out_channels + g * plan.outputs) * out_pixels + tile.first, out_pixels);
        } else {
          for (int64_t p = 0; p < tile.count; ++p) {
            std::copy(sums + p * plan.padded_outputs, sums + p * plan.padded_outputs + plan.outputs,
                      output + (n * out_pixels + tile.first + p) * s.out_channels + g * plan.outputs);
          }
        }
      }
    });
  }
}

template void forward<float>(const Shape&, const float*, const float*, const float*, const float*, const float*, float*, Layout,
                             const Threads&);
template void forward<double>(const Shape&, const double*, const double*, const double*, const double*, const double*, double*,
                              Layout, const Threads&);

void deform(const Shape& s, const float* input, const float* predicted, const float* packed, const Finish& finish,
            const Threads& threads) {
  if (s.batch == 0) return;
  const Kernels<float>& kernels = selected_kernels<float>();
  const LayerKernels& layers = selected_layer_kernels();
  const Packed weights = read_packed(packed, s.out_channels, kernels);
  const Plan<float> plan(s, kernels, divide_up(threads.workers, s.batch));
  const int64_t planes = plan.planes;
  Workspaces<float> workspaces(threads.workers);

  for_each(threads, s.batch * plan.tiles, [&](int64_t item, int64_t worker) {
    Workspace<float>& work = workspace_of(workspaces, worker, plan, weights.products);
    const Tile tile = plan.tile(s, item / plan.tiles, item % plan.tiles);
    const int64_t first_pixel = tile.image * out_pixels_of(s) + tile.first;
    float *offsets = work.planes.data(), *masks = offsets + 2 * planes * plan.tile_pixels;
    kernels.transpose(predicted + first_pixel * 3 * planes, 3 * planes, tile.count, 3 * planes, offsets, plan.tile_pixels);
    layers.sigmoid(planes * plan.tile_pixels, masks);
    kernels.locate(s, offsets, masks, plan.tile_pixels, tile, work.places.data(), work.positions);
    sum_tile(s, plan, kernels, weights.products, 0, input + tile.image * pixels_of(s) * s.channels, tile.count,
             weights.matrices, weights.bias, work);
    const int64_t at = first_pixel * s.out_channels;
    layers.finish_row(work.sums.data(), weights.padded_outputs, tile.count, s.out_channels, nullptr, finish.output + at,
                      s.out_channels, finish.relu);
  });
}

}  // namespace centernet
