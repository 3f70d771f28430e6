// Convolutions of a prepared network: packing, and the direct method.
//
// A band of output rows needs a band of input rows, which is copied with its borders of zeros. The window of a pixel and one
// of its rows is then one run of numbers, and the runs of neighbouring pixels are the rows of a matrix, which overlap: the
// product is computed from the band, row of the window by row.
#include "cpu_packed.h"

namespace centernet {
namespace dcn {

namespace {

const int64_t kBandBytes = 384 * 1024;  // of input and of sums: within the second-level cache

// The size of one of the packed matrices.
int64_t depth_of(const Window& w, Method method) {
  return method == kWinograd ? w.channels : w.channels * w.kernel_height * w.kernel_width;
}

int64_t matrices_of(Method method) { return method == kWinograd ? 36 : 1; }

struct Plan {
  int64_t row;        // numbers in a row of the band
  int64_t rows;       // output rows of a band
  int64_t pixels;     // of an output row, padded
  int64_t bands, input_size, sums_size;

  Plan(const Window& w, const Kernels<float>& kernels, int64_t panel) {
    pixels = round_up(w.out_width, kernels.rows / 3);
    // the padded pixels at the end of the last row read beyond what is copied
    row = ((w.out_width - 1) * w.stride + w.kernel_width) * w.channels;
    const int64_t beyond = (pixels - w.out_width) * w.stride * w.channels;
    const int64_t bytes = (row * w.stride + pixels * panel) * static_cast<int64_t>(sizeof(float));
    rows = std::max<int64_t>(1, std::min(kBandBytes / bytes, w.out_height));
    // halves of small images, for two workers; not by the number of workers, so that sums do not depend on it
    rows = std::min(rows, std::max<int64_t>(divide_up(w.out_height, 2), 1));
    bands = divide_up(w.out_height, rows);
    input_size = row * ((rows - 1) * w.stride + w.kernel_height) + beyond;
    sums_size = rows * pixels * panel;
  }
};

void copy_band(const Window& w, const float* image, int64_t first_row, int64_t rows, int64_t row, float* to) {
  const int64_t before = std::min(std::max<int64_t>(w.padding_left, 0) * w.channels, row);
  const int64_t inside = std::min(w.width * w.channels, row - before);
  for (int64_t y = first_row; y < first_row + rows; ++y, to += row) {
    if (y < 0 || y >= w.height) {
      std::fill(to, to + row, 0.f);
    } else {
      std::fill(to, to + before, 0.f);
      memcpy(to + before, image + y * w.width * w.channels, inside * sizeof(float));
      std::fill(to + before + inside, to + row, 0.f);
    }
  }
}

}  // namespace

bool has_method(const Window& w, Method method) {
  return method == kDirect || (w.kernel_height == 3 && w.kernel_width == 3 && w.stride == 1 &&
                               w.channels % selected_kernels<float>().lanes == 0);
}

int64_t packed_size(const Window& w, Method method) {
  const int64_t padded = padded_outputs_of(w.out_channels, selected_kernels<float>());
  return kHeader + padded * (1 + matrices_of(method) * depth_of(w, method));
}

void pack_convolution(const Window& w, Method method, const float* weight, const float* bias, float* packed,
                      const Threads& threads) {
  const Kernels<float>& kernels = selected_kernels<float>();
  const int64_t padded = padded_outputs_of(w.out_channels, kernels), taps = w.kernel_height * w.kernel_width;
  const int32_t header[2] = {static_cast<int32_t>(kernels.lanes), method};
  std::fill(packed, packed + kHeader + padded, 0.f);
  memcpy(packed, header, sizeof header);
  std::copy(bias, bias + w.out_channels, packed + kHeader);
  Array<float> transformed(method == kWinograd ? 36 * w.out_channels * w.channels : 0);
  if (method == kWinograd) transform_weight(w, weight, transformed.data());
  const int64_t depth = depth_of(w, method), panel = 2 * kernels.lanes, panels = divide_up(padded, panel);
  for_each(threads, matrices_of(method) * panels, [&](int64_t item, int64_t) {
    const int64_t matrix = item / panels, first = item % panels * panel;
    const float* from = method == kWinograd ? transformed.data() + matrix * w.out_channels * w.channels : weight;
    kernels.pack(from, w.out_channels, w.channels, method == kWinograd ? 1 : taps, first, std::min(first + panel, padded),
                 packed + kHeader + padded + matrix * padded * depth);
  });
}

void convolve(const Window& w, const float* input, const float* packed, const Finish& finish, const Threads& threads) {
  if (w.batch == 0) return;
  const Packed weights = read_packed(packed, w.out_channels, selected_kernels<float>());
  (weights.method == kWinograd ? convolve_by_winograd : convolve_directly)(w, input, weights, finish, threads);
}

void convolve_directly(const Window& w, const float* input, const Packed& packed, const Finish& finish,
                       const Threads& threads) {
  const Kernels<float>& kernels = selected_kernels<float>();
  const LayerKernels& layers = selected_layer_kernels();
  const Plan plan(w, kernels, packed.panel);
  const int64_t run = w.kernel_width * w.channels, depth = w.kernel_height * run, pixel = w.stride * w.channels;
  Array<float> inputs(threads.workers * plan.input_size), sums(threads.workers * plan.sums_size);

  for_each(threads, w.batch * plan.bands, [&](int64_t item, int64_t worker) {
    const int64_t image = item / plan.bands, first = item % plan.bands * plan.rows;
    const int64_t rows = std::min(plan.rows, w.out_height - first);
    float* band = inputs.data() + worker * plan.input_size;
    float* sum = sums.data() + worker * plan.sums_size;
    copy_band(w, input + image * w.height * w.width * w.channels, first * w.stride - w.padding_top,
              (rows - 1) * w.stride + w.kernel_height, plan.row, band);
    for (int64_t column = 0; column < packed.padded_outputs; column += packed.panel) {
      const int64_t width = std::min(packed.panel, packed.padded_outputs - column);
      const float* panel = packed.matrices + column * depth;
      for (int64_t ky = 0; ky < w.kernel_height; ++ky) {
        for (int64_t y = 0; y < rows; ++y) {
          float* to = sum + y * plan.pixels * packed.panel;
          kernels.multiply(plan.pixels, width, run, band + (y * w.stride + ky) * plan.row, pixel, 1,
                           panel + ky * run * width, 0, depth, ky ? to : packed.bias + column, ky ? packed.panel : 0, to,
                           packed.panel);
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

}  // namespace dcn
}  // namespace centernet
