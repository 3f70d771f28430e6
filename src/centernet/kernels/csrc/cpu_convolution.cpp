// Convolutions of a fused network: packing, and the direct method.
//
// A band of output rows needs a band of input rows, which is copied with its borders of zeros. The window of a pixel and one
// of its rows is then one run of numbers, and the runs of neighbouring pixels are the rows of a matrix, which overlap: the
// product is computed from the band, row of the window by row.
#include "cpu_packed.h"

namespace centernet {

namespace {

const int64_t kBandBytes = 384 * 1024;  // of input and of sums: within the second-level cache

struct Plan {
  int64_t row;        // numbers in a row of the band
  int64_t rows;       // output rows of a band
  int64_t pixels;     // of an output row, padded
  int64_t bands, input_size, sums_size;

  Plan(const Window& w, const Kernels<float>& kernels, const Packed& packed, int64_t workers) {
    pixels = round_up(w.out_width, kernels.rows / 3);
    // the padded pixels at the end of the last row read beyond what is copied
    row = ((w.out_width - 1) * w.stride + w.kernel_width) * w.channels;
    const int64_t beyond = (pixels - w.out_width) * w.stride * w.channels;
    const int64_t bytes = row * w.stride * packed.products.bytes + pixels * packed.panel * static_cast<int64_t>(sizeof(float));
    rows = std::max<int64_t>(1, std::min(kBandBytes / bytes, w.out_height));
    bands = balance(divide_up(w.out_height, rows), w.out_height, divide_up(workers, w.batch));
    rows = divide_up(w.out_height, bands);
    bands = divide_up(w.out_height, rows);
    input_size = row * ((rows - 1) * w.stride + w.kernel_height) + beyond;
    sums_size = rows * pixels * packed.panel;
  }
};

void copy_band(const Window& w, const Products<float>& products, const float* image, int64_t first_row, int64_t rows, int64_t row,
               char* to) {
  const int64_t before = std::min(w.padding_left * w.channels, row), inside = std::min(w.width * w.channels, row - before);
  for (int64_t y = first_row; y < first_row + rows; ++y, to += row * products.bytes) {
    if (y < 0 || y >= w.height) {
      memset(to, 0, row * products.bytes);
    } else {
      memset(to, 0, before * products.bytes);
      products.convert(image + y * w.width * w.channels, inside, to + before * products.bytes);
      memset(to + (before + inside) * products.bytes, 0, (row - before - inside) * products.bytes);
    }
  }
}

// Lays the depth out in pairs, and rounds to bfloat16.
void pack_pairs(const Products<float>& products, const float* panel, int64_t depth, int64_t width, char* to) {
  Array<float> pairs(2 * width);
  for (int64_t k = 0; k < depth; k += 2, to += 2 * width * products.bytes) {
    for (int64_t i = 0; i < 2 * width; ++i) pairs.data()[i] = panel[(k + i % 2) * width + i / 2];
    products.convert(pairs.data(), 2 * width, to);
  }
}

}  // namespace

bool has_method(const Window& w, Method method) {
  if (method.bf16 && !(bf16_products() && w.channels % bf16_products()->multiple == 0)) return false;
  return !method.winograd || (w.kernel_height == 3 && w.kernel_width == 3 && w.stride == 1 &&
                              w.channels % selected_kernels<float>().lanes == 0);
}

int64_t packed_size(const Window& w, Method method) {
  const int64_t padded = padded_outputs_of(w.out_channels, selected_kernels<float>());
  const int64_t taps = method.winograd ? 36 : w.kernel_height * w.kernel_width, factors = padded * w.channels * taps;
  return kHeader + padded + (method.bf16 ? divide_up(factors, 2) : factors);
}

Method packed_method(const float* packed) {
  int32_t header[3];
  memcpy(header, packed, sizeof header);
  const Method method = {header[1] != 0, header[2] != 0};
  return method;
}

void pack_convolution(const Window& w, Method method, const float* weight, const float* bias, float* packed,
                      const Threads& threads) {
  const Kernels<float>& kernels = selected_kernels<float>();
  const int32_t header[3] = {static_cast<int32_t>(kernels.lanes), method.winograd, method.bf16};
  std::fill(packed, packed + kHeader + padded_outputs_of(w.out_channels, kernels), 0.f);
  memcpy(packed, header, sizeof header);
  std::copy(bias, bias + w.out_channels, packed + kHeader);
  const Packed to = read_packed(packed, w.out_channels, kernels);
  char* matrices = const_cast<char*>(to.matrices);
  if (method.winograd) {
    pack_winograd(w, weight, to, matrices, threads);
    return;
  }
  const int64_t taps = w.kernel_height * w.kernel_width, depth = w.channels * taps;
  for_each(threads, divide_up(to.padded_outputs, to.panel), [&](int64_t item, int64_t) {
    const int64_t first = item * to.panel, width = std::min(to.panel, to.padded_outputs - first);
    Array<float> panel(width * depth);
    kernels.pack(weight + first * depth, w.out_channels - first, w.channels, taps, 0, width, panel.data());
    char* at = matrices + first * depth * to.products.bytes;
    if (method.bf16) {
      pack_pairs(to.products, panel.data(), depth, width, at);
    } else {
      memcpy(at, panel.data(), width * depth * sizeof(float));
    }
  });
}

void convolve(const Window& w, const float* input, const float* packed, const Finish& finish, const Threads& threads) {
  if (w.batch == 0) return;
  const Packed weights = read_packed(packed, w.out_channels, selected_kernels<float>());
  (weights.method.winograd ? convolve_by_winograd : convolve_directly)(w, input, weights, finish, threads);
}

void convolve_directly(const Window& w, const float* input, const Packed& packed, const Finish& finish,
                       const Threads& threads) {
  const Kernels<float>& kernels = selected_kernels<float>();
  const LayerKernels& layers = selected_layer_kernels();
  const Plan plan(w, kernels, packed, threads.workers);
  const int64_t run = w.kernel_width * w.channels, depth = w.kernel_height * run, pixel = w.stride * w.channels;
  const Products<float>& products = packed.products;
  Array<char> inputs(threads.workers * plan.input_size * products.bytes);
  Array<float> sums(threads.workers * plan.sums_size);

  for_each(threads, w.batch * plan.bands, [&](int64_t item, int64_t worker) {
    const int64_t image = item / plan.bands, first = item % plan.bands * plan.rows;
    const int64_t rows = std::min(plan.rows, w.out_height - first);
    char* band = inputs.data() + worker * plan.input_size * products.bytes;
    float* sum = sums.data() + worker * plan.sums_size;
    copy_band(w, products, input + image * w.height * w.width * w.channels, first * w.stride - w.padding_top,
              (rows - 1) * w.stride + w.kernel_height, plan.row, band);
    for (int64_t column = 0; column < packed.padded_outputs; column += packed.panel) {
      const int64_t width = std::min(packed.panel, packed.padded_outputs - column);
      for (int64_t ky = 0; ky < w.kernel_height; ++ky) {
        for (int64_t y = 0; y < rows; ++y) {
          float* to = sum + y * plan.pixels * packed.panel;
          products.multiply(plan.pixels, width, run, band + (y * w.stride + ky) * plan.row * products.bytes, pixel,
                            packed.panel_at(depth, column, ky * run), ky ? to : packed.bias + column, ky ? packed.panel : 0,
                            to, packed.panel);
        }
      }
      const int64_t columns = std::min(width, w.out_channels - column);
      for (int64_t y = 0; y < rows; ++y) {
        const int64_t at = row_of(finish, image, first + y, w.out_channels) + column;
        layers.finish_row(sum + y * plan.pixels * packed.panel, packed.panel, w.out_width, columns,
                          finish.residual ? finish.residual + at : nullptr, finish.output + at,
                          finish.step * w.out_channels, finish.relu);
      }
    }
  });
}

}  // namespace centernet
