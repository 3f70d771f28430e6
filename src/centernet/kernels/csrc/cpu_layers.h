// Part of cpu_kernels.h: the layers around the products of a fused network (layers.h), in float32.
#include "cpu_winograd.h"
#include "layers.h"

namespace centernet {
namespace DCN_ISA {

DCN_INLINE Floats zeros() {
  const Floats v = {};
  return v;
}

// The first n numbers, and zeros. n is at most kLanes.
DCN_INLINE Floats load_first(const float* from, int64_t n) {
  if (n == kLanes) return load<Floats>(from);
  Floats v = {};
  for (int64_t i = 0; i < n; ++i) v[i] = from[i];
  return v;
}

DCN_INLINE void store_first(float* to, Floats v, int64_t n) {
  if (n == kLanes) {
    store(to, v);
  } else {
    for (int64_t i = 0; i < n; ++i) to[i] = v[i];
  }
}

DCN_INLINE Floats larger(Floats a, Floats b) { return a > b ? a : b; }

// A value that is not a number stays one, as in torch.
DCN_INLINE Floats rectify(Floats v) { return v < zeros() ? zeros() : v; }

DCN_INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

static void finish_row(const float* sums, int64_t sums_stride, int64_t count, int64_t columns, const float* residual,
                       float* output, int64_t pixel_stride, bool relu) {
  for (int64_t p = 0; p < count; ++p) {
    for (int64_t c = 0; c < columns; c += kLanes) {
      const int64_t n = least(kLanes, columns - c);
      Floats v = load<Floats>(sums + p * sums_stride + c);
      if (residual) v += load_first(residual + p * pixel_stride + c, n);
      if (relu) v = rectify(v);
      store_first(output + p * pixel_stride + c, v, n);
    }
  }
}

// --- The results of F(4 x 4, 3 x 3); see cpu_winograd.h.

// One axis of a tile: four numbers that are `step` apart, from six.
DCN_INLINE void output_transform(const Floats* m, Floats* to, int64_t step) {
  const Floats sum_a = m[1] + m[2], sum_b = m[3] + m[4], odd_a = kA * (m[1] - m[2]), odd_b = kB * (m[3] - m[4]);
  to[0] = m[0] + sum_a + sum_b;
  to[step] = odd_a + odd_b;
  to[2 * step] = 0.5f * sum_a + 2.f * sum_b;
  to[3 * step] = 0.5f * odd_a + 2.f * odd_b + m[5];
}

static void winograd_output(const float* from, int64_t matrix, int64_t columns, const float* bias, const TileOutput& to) {
  for (int64_t c = 0; c < columns; c += kLanes) {
    const int64_t n = least(kLanes, columns - c);
    Floats line[6], half[24], results[16];
    for (int x = 0; x < 6; ++x) {
      for (int y = 0; y < 6; ++y) line[y] = load<Floats>(from + (6 * y + x) * matrix + c);
      output_transform(line, half + x, 6);
    }
    for (int y = 0; y < 4; ++y) output_transform(half + 6 * y, results + 4 * y, 1);
    const Floats addend = load<Floats>(bias + c);
    for (int64_t y = 0; y < to.rows; ++y) {
      for (int64_t x = 0; x < to.columns; ++x) {
        const int64_t at = y * to.row_stride + x * to.pixel_stride + c;
        Floats v = results[4 * y + x] + addend;
        if (to.residual) v += load_first(to.residual + at, n);
        if (to.relu) v = rectify(v);
        store_first(to.output + at, v, n);
      }
    }
  }
}

// --- Layers without products ---

static void largest(const float* const* pixels, int64_t count, int64_t channels, float* to) {
  for (int64_t c = 0; c < channels; c += kLanes) {
    const int64_t n = least(kLanes, channels - c);
    Floats v = load_first(pixels[0] + c, n);
    for (int64_t i = 1; i < count; ++i) {
      const Floats other = load_first(pixels[i] + c, n);
      v = (v > other) | (v != v) ? v : other;
    }
    store_first(to + c, v, n);
  }
}

static void weighted_sum(const float* const* pixels, const float* const* weights, int64_t count, int64_t channels,
                         const float* residual, bool relu, float* to) {
  for (int64_t c = 0; c < channels; c += kLanes) {
    const int64_t n = least(kLanes, channels - c);
    Floats v = {};
    for (int64_t i = 0; i < count; ++i) v += load_first(weights[i] + c, n) * load_first(pixels[i] + c, n);
    if (residual) v += load_first(residual + c, n);
    if (relu) v = rectify(v);
    store_first(to + c, v, n);
  }
}

// exp(x) for x <= 0 by x = n ln 2 + r; the polynomial is Cephes' (expf.c), to 1e-7 of the value
DCN_INLINE float exp_of_negative(float x) {
  x = x < -87.f ? -87.f : x;
  const float magic = 12582912.f;  // 1.5 * 2^23: adding it rounds to an integer, in the lowest bits
  const float shifted = x * 1.44269504088896341f + magic, n = shifted - magic;
  const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.f;
  int32_t bits, exponent;
  __builtin_memcpy(&exponent, &shifted, 4);
  __builtin_memcpy(&bits, &p, 4);
  bits += static_cast<int32_t>(static_cast<uint32_t>(exponent) << 23);
  __builtin_memcpy(&p, &bits, 4);
  return p;
}

static void sigmoid(int64_t n, float* values) {
  for (int64_t i = 0; i < n; ++i) {
    const float x = values[i], e = exp_of_negative(x > 0.f ? -x : x);
    values[i] = x == x ? (x > 0.f ? 1.f : e) / (1.f + e) : x;  // exp_of_negative adds to the bits of any number
  }
}

const LayerKernels& layer_kernels() {
  static const LayerKernels kernels = {finish_row, winograd_output, largest, weighted_sum, sigmoid};
  return kernels;
}

}  // namespace DCN_ISA
}  // namespace centernet
