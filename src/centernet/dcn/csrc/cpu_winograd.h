// Part of cpu_kernels.h and cpu_bf16.cpp: tiles of the input for F(4 x 4, 3 x 3). The points are 0, -a, a, -b, b and infinity; a
// is the root of 1/2 and b of 2, with which rounding errors are two fifths of those with 1 and 2.
#pragma once

#include "cpu_product.h"

namespace centernet {
namespace dcn {
namespace DCN_ISA {

const int64_t kLanes = DCN_VECTOR_BYTES / 4;

DCN_INLINE void store_factors(float* to, Floats v) { store(to, v); }

const float kA = 0.70710678118654752f, kB = 1.41421356237309505f;

struct Six {
  Floats v0, v1, v2, v3, v4, v5;
};

DCN_INLINE Six input_transform(Floats d0, Floats d1, Floats d2, Floats d3, Floats d4, Floats d5) {
  const Floats odd_a = kA * (d3 - 2.f * d1), even_a = d4 - 2.f * d2;
  const Floats odd_b = kB * (d3 - 0.5f * d1), even_b = d4 - 0.5f * d2;
  const Six result = {d0 - 2.5f * d2 + d4, even_a + odd_a, even_a - odd_a, even_b + odd_b, even_b - odd_b,
                      d1 - 2.5f * d3 + d5};
  return result;
}

template <typename Factor>
DCN_INLINE void store_six(Factor* to, int64_t matrix, const Six& row) {
  store_factors(to, row.v0);
  store_factors(to + matrix, row.v1);
  store_factors(to + 2 * matrix, row.v2);
  store_factors(to + 3 * matrix, row.v3);
  store_factors(to + 4 * matrix, row.v4);
  store_factors(to + 5 * matrix, row.v5);
}

template <typename Factor>
static void winograd_input(const float* const* pixels, int64_t channels, void* matrices, int64_t matrix) {
  for (int64_t c = 0; c < channels; c += kLanes) {
    Six s[6];
    for (int x = 0; x < 6; ++x) {
      s[x] = input_transform(load<Floats>(pixels[x] + c), load<Floats>(pixels[6 + x] + c),
                             load<Floats>(pixels[12 + x] + c), load<Floats>(pixels[18 + x] + c),
                             load<Floats>(pixels[24 + x] + c), load<Floats>(pixels[30 + x] + c));
    }
    Factor* to = static_cast<Factor*>(matrices) + c;
    store_six(to, matrix, input_transform(s[0].v0, s[1].v0, s[2].v0, s[3].v0, s[4].v0, s[5].v0));
    store_six(to + 6 * matrix, matrix, input_transform(s[0].v1, s[1].v1, s[2].v1, s[3].v1, s[4].v1, s[5].v1));
    store_six(to + 12 * matrix, matrix, input_transform(s[0].v2, s[1].v2, s[2].v2, s[3].v2, s[4].v2, s[5].v2));
    store_six(to + 18 * matrix, matrix, input_transform(s[0].v3, s[1].v3, s[2].v3, s[3].v3, s[4].v3, s[5].v3));
    store_six(to + 24 * matrix, matrix, input_transform(s[0].v4, s[1].v4, s[2].v4, s[3].v4, s[4].v4, s[5].v4));
    store_six(to + 30 * matrix, matrix, input_transform(s[0].v5, s[1].v5, s[2].v5, s[3].v5, s[4].v5, s[5].v5));
  }
}

}  // namespace DCN_ISA
}  // namespace dcn
}  // namespace centernet
