// Part of cpu_kernels.h and cpu_bf16.cpp: tiles of the input for F(4 x 4, 3 x 3). The points are 0, -a, a, -b, b and infinity; a
// is the root of 1/2 and b of 2, with which rounding errors are two fifths of those with 1 and 2.
#pragma once

#include "cpu_product.h"

namespace centernet {
namespace DCN_ISA {

const int64_t kLanes = DCN_VECTOR_BYTES / 4;

const float kA = 0.70710678118654752f, kB = 1.41421356237309505f;

// One axis of a tile: six numbers that are `step` apart, from six.
DCN_INLINE void input_transform(const Floats* d, Floats* to, int64_t step) {
  const Floats odd_a = kA * (d[3] - 2.f * d[1]), even_a = d[4] - 2.f * d[2];
  const Floats odd_b = kB * (d[3] - 0.5f * d[1]), even_b = d[4] - 0.5f * d[2];
  to[0] = d[0] - 2.5f * d[2] + d[4];
  to[step] = even_a + odd_a;
  to[2 * step] = even_a - odd_a;
  to[3 * step] = even_b + odd_b;
  to[4 * step] = even_b - odd_b;
  to[5 * step] = d[1] - 2.5f * d[3] + d[5];
}

template <typename F>
static void winograd_input(const float* const* pixels, int64_t channels, void* matrices, int64_t matrix) {
  for (int64_t c = 0; c < channels; c += kLanes) {
    Floats half[36], line[6];
    F* to = static_cast<F*>(matrices) + c;
    for (int x = 0; x < 6; ++x) {
      for (int y = 0; y < 6; ++y) line[y] = load<Floats>(pixels[6 * y + x] + c);
      input_transform(line, half + x, 6);
    }
    for (int y = 0; y < 6; ++y, to += 6 * matrix) {
      input_transform(half + 6 * y, line, 1);
      for (int x = 0; x < 6; ++x) Factors<F>::keep(to + x * matrix, line[x]);
    }
  }
}

}  // namespace DCN_ISA
}  // namespace centernet
