// Layers of a fused network without products.
#include <vector>

#include "cpu_packed.h"

namespace centernet {

namespace {

// The rows of an image that a window reaches on one axis: first and last tap.
struct Reach {
  int64_t first, last;
  Reach(int64_t start, int64_t kernel, int64_t size) : first(std::max<int64_t>(0, -start)), last(std::min(kernel, size - start)) {}
};

}  // namespace

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

}  // namespace centernet
