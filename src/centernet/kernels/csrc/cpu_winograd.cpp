// Convolutions by minimal filtering: tiles of 6 x 6 input pixels, a vector of channels at a time, to rows of 36 matrices;
// 36 products with the transformed weights; and each row of them to a tile of 4 x 4 output pixels.
#include "cpu_packed.h"

namespace centernet {

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

const int64_t kOutputs = 32;  // at most in a panel

// G x, along one axis, for several outputs: rows (1, p, p^2) / the product of p's distances from the other points.
void transform_line(const double* x0, const double* x1, const double* x2, double to[6][kOutputs]) {
  const double a = 0.70710678118654752440, b = 1.41421356237309504880;
  const double scale_a = 1 / (2 * a * a * (a * a - b * b)), scale_b = 1 / (2 * b * b * (b * b - a * a));
  for (int64_t o = 0; o < kOutputs; ++o) {
    const double even_a = (x0[o] + 0.5 * x2[o]) * scale_a, odd_a = a * scale_a * x1[o];
    const double even_b = (x0[o] + 2 * x2[o]) * scale_b, odd_b = b * scale_b * x1[o];
    to[0][o] = x0[o];
    to[1][o] = even_a + odd_a;
    to[2][o] = even_a - odd_a;
    to[3][o] = even_b + odd_b;
    to[4][o] = even_b - odd_b;
    to[5][o] = x2[o];
  }
}

}  // namespace

void pack_winograd(const Window& w, const float* weight, const Packed& packed, char* matrices, const Threads& threads) {
  const Products<float>& products = packed.products;
  const int64_t step = products.multiple, matrix = packed.padded_outputs * w.channels * products.bytes;
  for_each(threads, divide_up(packed.padded_outputs, packed.panel), [&](int64_t item, int64_t) {
    const int64_t first = item * packed.panel, width = std::min(packed.panel, packed.padded_outputs - first);
    const int64_t outputs = std::min(width, w.out_channels - first);
    double kernel[9][kOutputs] = {}, columns[3][6][kOutputs], row[6][kOutputs];
    Array<float> factors(kMatrices * width * step);  // of each matrix, for `step` channels
    for (int64_t c = 0; c < w.channels; ++c) {
      for (int64_t o = 0; o < outputs; ++o) {
        for (int64_t tap = 0; tap < 9; ++tap) kernel[tap][o] = weight[((first + o) * w.channels + c) * 9 + tap];
      }
      for (int64_t x = 0; x < 3; ++x) transform_line(kernel[x], kernel[3 + x], kernel[6 + x], columns[x]);
      for (int64_t i = 0; i < kWindow; ++i) {
        transform_line(columns[0][i], columns[1][i], columns[2][i], row);
        for (int64_t j = 0; j < kWindow; ++j) {
          float* to = factors.data() + (i * kWindow + j) * width * step + c % step;
          for (int64_t o = 0; o < width; ++o) to[o * step] = static_cast<float>(row[j][o]);
        }
      }
      if (c % step != step - 1) continue;
      for (int64_t i = 0; i < kMatrices; ++i) {
        products.convert(factors.data() + i * width * step, width * step,
                         matrices + i * matrix + (first * w.channels + (c - c % step) * width) * products.bytes);
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
  const Products<float>& products = packed.products;
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

}  // namespace centernet
