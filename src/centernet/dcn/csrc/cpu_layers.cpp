// Layers of a prepared network without products, and the deformable convolution as a layer.
#include <memory>
#include <vector>

#include "cpu_packed.h"

namespace centernet {
namespace dcn {

namespace {

const int64_t kTileBytes = 320 * 1024;  // of a tile's sampled values: within the second-level cache
const int64_t kTilePixels = 96;
const int64_t kDepth = 768;  // of the product at a time

struct Plan {
  int64_t taps, depth, block_taps, stride, tile_pixels, tiles;

  Plan(const Shape& s, const Kernels<float>& kernels, int64_t workers) {
    taps = taps_of(s);
    depth = taps * s.channels;
    block_taps = divide_up(taps, std::min(taps, divide_up(depth, kDepth)));
    // one more cache line, so that the rows of a block do not fall into the same sets of the cache
    stride = round_up(block_taps * s.channels, kernels.lanes) + 16;
    const int64_t pixels = out_pixels_of(s), granule = kernels.rows / 3;
    const int64_t fitting = std::max<int64_t>(kTileBytes / (stride * static_cast<int64_t>(sizeof(float))), granule);
    tiles = divide_up(pixels, std::min(kTilePixels, fitting));
    tiles = balance(tiles, divide_up(pixels, granule), divide_up(workers, s.batch));
    tile_pixels = round_up(divide_up(pixels, tiles), granule);
    tiles = divide_up(pixels, tile_pixels);
  }
};

// What a worker needs to compute tiles; made when it takes its first.
struct Workspace {
  PositionMemory<float> positions;
  Array<float> planes, sampled;
  Array<char> rounded;
  Array<float> sums;
  Workspace(const Shape& s, const Plan& plan, const Packed& packed)
      : positions(s, plan.tile_pixels, 1), planes(3 * s.deformable_groups * plan.taps * plan.tile_pixels),
        sampled((packed.method.bf16 ? 1 : plan.tile_pixels) * plan.stride),
        rounded(packed.method.bf16 ? plan.tile_pixels * plan.stride * packed.products.bytes : 0), sums(plan.tile_pixels * packed.padded_outputs) {}
};

// The rows of an image that a window reaches on one axis: first and last tap.
struct Reach {
  int64_t first, last;
  Reach(int64_t start, int64_t kernel, int64_t size) : first(std::max<int64_t>(0, -start)), last(std::min(kernel, size - start)) {}
};

}  // namespace

void deform(const Shape& s, const float* input, const float* predicted, const float* packed, const Finish& finish,
            const Threads& threads) {
  if (s.batch == 0) return;
  const Kernels<float>& kernels = selected_kernels<float>();
  const LayerKernels& layers = selected_layer_kernels();
  const Packed weights = read_packed(packed, s.out_channels, kernels);
  const Plan plan(s, kernels, threads.workers);
  const int64_t planes = s.deformable_groups * plan.taps;
  std::vector<std::unique_ptr<Workspace>> workspaces(threads.workers);

  for_each(threads, s.batch * plan.tiles, [&](int64_t item, int64_t worker) {
    if (!workspaces[worker]) workspaces[worker].reset(new Workspace(s, plan, weights));
    Workspace& work = *workspaces[worker];
    const int64_t start = item % plan.tiles * plan.tile_pixels, image = item / plan.tiles;
    const Tile tile = {image, start, std::min(plan.tile_pixels, out_pixels_of(s) - start)};
    const int64_t first_pixel = image * out_pixels_of(s) + start;
    float* plane = work.planes.data();
    kernels.transpose(predicted + first_pixel * 3 * planes, 3 * planes, tile.count, 3 * planes, plane, plan.tile_pixels);
    layers.sigmoid(planes * plan.tile_pixels, plane + 2 * planes * plan.tile_pixels);
    const Positions<float> positions = work.positions.tile(0);
    kernels.locate(s, plane, plane + 2 * planes * plan.tile_pixels, plan.tile_pixels, tile, false, work.positions.places(0),
                   positions);
    const Products& products = weights.products;
    float *sampled = work.sampled.data(), *sums = work.sums.data();
    const float* images = input + image * pixels_of(s) * s.channels;
    const void* factors = weights.method.bf16 ? static_cast<void*>(work.rounded.data()) : sampled;
    for (int64_t tap = 0; tap < plan.taps; tap += plan.block_taps) {
      const int64_t last_tap = std::min(tap + plan.block_taps, plan.taps);
      if (weights.method.bf16) {
        for (int64_t p = 0; p < tile.count; ++p) {
          kernels.sample(s, images, positions, p, p + 1, 0, s.channels, tap, last_tap, sampled, plan.stride);
          products.convert(sampled, (last_tap - tap) * s.channels,
                           work.rounded.data() + p * plan.stride * products.bytes);
        }
      } else {
        kernels.sample(s, images, positions, 0, tile.count, 0, s.channels, tap, last_tap, sampled, plan.stride);
      }
      for (int64_t column = 0; column < weights.padded_outputs; column += weights.panel) {
        const int64_t width = std::min(weights.panel, weights.padded_outputs - column);
        products.multiply(round_up(tile.count, kernels.rows / 3), width, (last_tap - tap) * s.channels, factors, plan.stride,
                          weights.panel_at(plan.depth, column, tap * s.channels), tap ? sums + column : weights.bias + column,
                          tap ? weights.padded_outputs : 0, sums + column, weights.padded_outputs);
      }
    }
    const int64_t at = first_pixel * s.out_channels;
    layers.finish_row(sums, weights.padded_outputs, tile.count, s.out_channels,
                      finish.residual ? finish.residual + at : nullptr, finish.output + at, s.out_channels, finish.relu);
  });
}

void spread(const Window& w, const float* input, const float* weight, const Finish& finish, const Threads& threads) {
  const LayerKernels& layers = selected_layer_kernels();
  const int64_t taps = w.kernel_height * w.kernel_width;
  for_each(threads, w.batch * w.out_height, [&](int64_t item, int64_t) {
    std::vector<const float*> pixels(taps), weights(taps);
    const int64_t image = item / w.out_height, out_y = item % w.out_height;
    const float* from = input + image * w.height * w.width * w.channels;
    for (int64_t out_x = 0; out_x < w.out_width; ++out_x) {
      int64_t count = 0;
      // the taps that reach this pixel are every stride-th
      for (int64_t ky = (out_y + w.padding_top) % w.stride; ky < w.kernel_height; ky += w.stride) {
        const int64_t y = (out_y + w.padding_top - ky) / w.stride;
        if (out_y + w.padding_top < ky || y >= w.height) continue;
        for (int64_t kx = (out_x + w.padding_left) % w.stride; kx < w.kernel_width; kx += w.stride) {
          const int64_t x = (out_x + w.padding_left - kx) / w.stride;
          if (out_x + w.padding_left < kx || x >= w.width) continue;
          pixels[count] = from + (y * w.width + x) * w.channels;
          weights[count++] = weight + (ky * w.kernel_width + kx) * w.channels;
        }
      }
      const int64_t at = row_of(finish, image, out_y, w.channels) + out_x * finish.step * w.channels;
      layers.weighted_sum(pixels.data(), weights.data(), count, w.channels, finish.residual ? finish.residual + at : nullptr,
                          finish.relu, finish.output + at);
    }
  });
}

void max_pool(const Window& w, const float* input, float* output, const Threads& threads) {
  const LayerKernels& layers = selected_layer_kernels();
  for_each(threads, w.batch * w.out_height, [&](int64_t item, int64_t) {
    std::vector<const float*> pixels(w.kernel_height * w.kernel_width);
    const float* image = input + item / w.out_height * w.height * w.width * w.channels;
    const int64_t y0 = item % w.out_height * w.stride - w.padding_top;
    const Reach down(y0, w.kernel_height, w.height);
    for (int64_t out_x = 0; out_x < w.out_width; ++out_x) {
      const int64_t x0 = out_x * w.stride - w.padding_left;
      const Reach across(x0, w.kernel_width, w.width);
      int64_t count = 0;
      for (int64_t ky = down.first; ky < down.last; ++ky) {
        for (int64_t kx = across.first; kx < across.last; ++kx) {
          pixels[count++] = image + ((y0 + ky) * w.width + x0 + kx) * w.channels;
        }
      }
      layers.largest(pixels.data(), count, w.channels, output + (item * w.out_width + out_x) * w.channels);
    }
  });
}

}  // namespace dcn
}  // namespace centernet
