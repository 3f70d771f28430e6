// Convolutions by minimal filtering: tiles of 6 x 6 input pixels, a vector of channels at a time, to rows of 36 matrices;
// 36 products with the transformed weights; and each row of them to a tile of 4 x 4 output pixels.
#include "cpu_packed.h"

namespace centernet {
namespace dcn {

namespace {

const int64_t kTile = 4, kWindow = 6, kMatrices = 36;
const int64_t kBlock = 48, kChunkPanels = 8;  // measured; times hardly depend on them

struct Plan {
  int64_t across, tiles;    // of an image
  int64_t block, blocks;    // tiles of all images that are computed at a time
  int64_t chunk, chunks;    // outputs that are computed at a time
  int64_t in_matrix, out_matrix;  // numbers, with a cache line more: 36 rows must not share one set of the cache

  Plan(const Window& w, const Kernels<float>& kernels, const Packed& packed, int64_t workers) {
    across = divide_up(w.out_width, kTile);
    tiles = across * divide_up(w.out_height, kTile);
    chunk = std::min(packed.padded_outputs, kChunkPanels * packed.panel);
    chunks = divide_up(packed.padded_outputs, chunk);
    const int64_t all = tiles * w.batch, granule = kernels.rows / 3;
    blocks = balance(divide_up(all, kBlock), divide_up(all, granule), divide_up(workers, chunks));
    block = round_up(divide_up(all, blocks), granule);
    blocks = divide_up(all, block);
    in_matrix = block * w.channels + 16;
    out_matrix = block * chunk + 16;
  }
};

// The 3 x 3 numbers of a pair of channels to one number of each matrix.
void transform_kernel(const float* weight, float* to, int64_t stride) {
  // rows: (1, p, p^2) / the product of p's distances from the other points
  const double a = 0.70710678118654752440, b = 1.41421356237309504880;
  const double na = 2 * a * a * (a * a - b * b), nb = 2 * b * b * (b * b - a * a);
  const double g[6][3] = {{1 / (a * a * b * b), 0, 0},  {1 / na, a / na, a * a / na},  {1 / na, -a / na, a * a / na},
                          {1 / nb, b / nb, b * b / nb}, {1 / nb, -b / nb, b * b / nb}, {0, 0, 1}};
  for (int i = 0; i < 6; ++i) {
    double half[3];
    for (int x = 0; x < 3; ++x) half[x] = g[i][0] * weight[x] + g[i][1] * weight[3 + x] + g[i][2] * weight[6 + x];
    for (int j = 0; j < 6; ++j) {
      to[(i * 6 + j) * stride] = static_cast<float>(half[0] * g[j][0] + half[1] * g[j][1] + half[2] * g[j][2]);
    }
  }
}

}  // namespace

void pack_winograd(const Window& w, const float* weight, const Packed& packed, char* matrices, const Threads& threads) {
  const Products& products = packed.products;
  const int64_t step = products.multiple, matrix = packed.padded_outputs * w.channels * products.bytes;
  for_each(threads, divide_up(packed.padded_outputs, packed.panel), [&](int64_t item, int64_t) {
    const int64_t first = item * packed.panel, width = std::min(packed.panel, packed.padded_outputs - first);
    Array<float> rows(kMatrices * width * step);  // of each matrix, for `step` channels
    rows.clear(kMatrices * width * step);
    char* to = matrices + first * w.channels * products.bytes;
    for (int64_t c = 0; c < w.channels; ++c) {
      for (int64_t o = 0; o < std::min(width, w.out_channels - first); ++o) {
        transform_kernel(weight + ((first + o) * w.channels + c) * 9, rows.data() + o * step + c % step, width * step);
      }
      if (c % step != step - 1) continue;
      for (int64_t i = 0; i < kMatrices; ++i) {
        products.convert(rows.data() + i * width * step, width * step,
                         to + i * matrix + (c - c % step) * width * products.bytes);
      }
    }
  });
}

void convolve_by_winograd(const Window& w, const float* input, const Packed& packed, const Finish& finish,
                          const Threads& threads) {
  const Kernels<float>& kernels = selected_kernels<float>();
  const LayerKernels& layers = selected_layer_kernels();
  const Plan plan(w, kernels, packed, threads.workers);
  const int64_t image_size = w.height * w.width * w.channels;
  const int64_t most = std::max(w.channels, plan.chunk);
  const Products& products = packed.products;
  Array<char> ins(threads.workers * kMatrices * plan.in_matrix * products.bytes);
  Array<float> zeros(most), outs(threads.workers * kMatrices * plan.out_matrix);
  zeros.clear(most);

  for_each(threads, plan.blocks * plan.chunks, [&](int64_t item, int64_t worker) {
    const int64_t first = item % plan.blocks * plan.block, count = std::min(plan.block, plan.tiles * w.batch - first);
    const int64_t column = item / plan.blocks * plan.chunk;
    const int64_t width = std::min(plan.chunk, packed.padded_outputs - column);
    char* in = ins.data() + worker * kMatrices * plan.in_matrix * products.bytes;
    float* out = outs.data() + worker * kMatrices * plan.out_matrix;
    for (int64_t t = 0; t < count; ++t) {
      const int64_t tile = (first + t) % plan.tiles;
      const float* image = input + (first + t) / plan.tiles * image_size;
      const int64_t y0 = tile / plan.across * kTile - w.padding_top, x0 = tile % plan.across * kTile - w.padding_left;
      const float* pixels[kMatrices];
      for (int64_t i = 0; i < kMatrices; ++i) {
        const int64_t y = y0 + i / kWindow, x = x0 + i % kWindow;
        const bool inside = y >= 0 && y < w.height && x >= 0 && x < w.width;
        pixels[i] = inside ? image + (y * w.width + x) * w.channels : zeros.data();
      }
      products.winograd_input(pixels, w.channels, in + t * w.channels * products.bytes, plan.in_matrix);
    }
    for (int64_t i = 0; i < kMatrices; ++i) {
      products.multiply(round_up(count, kernels.rows / 3), width, w.channels, in + i * plan.in_matrix * products.bytes,
                        w.channels, packed.matrices + (i * packed.padded_outputs + column) * w.channels * products.bytes,
                        zeros.data(), 0, out + i * plan.out_matrix, plan.chunk);
    }
    for (int64_t t = 0; t < count; ++t) {
      const int64_t tile = (first + t) % plan.tiles;
      const int64_t y = tile / plan.across * kTile, x = tile % plan.across * kTile;
      const int64_t at = row_of(finish, (first + t) / plan.tiles, y, w.out_channels) +
                         x * finish.step * w.out_channels + column;
      const TileOutput to = {finish.residual ? finish.residual + at : nullptr, finish.relu, finish.output + at,
                             std::min(kTile, w.out_height - y), std::min(kTile, w.out_width - x),
                             finish.step * finish.width * w.out_channels, finish.step * w.out_channels};
      layers.winograd_output(out + t * plan.chunk, plan.out_matrix, std::min(width, w.out_channels - column),
                             packed.bias + column, to);
    }
  });
}

}  // namespace dcn
}  // namespace centernet
