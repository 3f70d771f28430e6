// The arithmetic of deformable convolution v2, once for every processor: where a tap samples, the four corners and their
// weights, which of them count, and the gradients. Host and device code, C++11, no dependency.
//
// A sample at (y, x) is interpolated between the pixels (y0, x0), (y0, x1), (y1, x0), (y1, x1), with y0 = floor(y),
// y1 = y0 + 1 and the same for x; corners are numbered in this order. A corner counts if it lies inside the image.
#pragma once

#include <stdint.h>

#if defined(__CUDACC__)
#define DCN_SHARED static __host__ __device__ __forceinline__
#else
#define DCN_SHARED static inline __attribute__((always_inline, unused))
#endif

namespace centernet {

// The sizes of one operation. All tensors but the weight are [batch, channels, height, width] in one way or another.
struct Shape {
  int64_t batch, channels, height, width;
  int64_t out_channels, out_height, out_width;
  int64_t kernel_height, kernel_width;
  int64_t stride_height, stride_width;
  int64_t padding_height, padding_width;
  int64_t dilation_height, dilation_width;
  int64_t groups, deformable_groups;
};

DCN_SHARED int64_t taps_of(const Shape& s) { return s.kernel_height * s.kernel_width; }
DCN_SHARED int64_t pixels_of(const Shape& s) { return s.height * s.width; }
DCN_SHARED int64_t out_pixels_of(const Shape& s) { return s.out_height * s.out_width; }

// Where the undeformed tap lies, on one axis.
DCN_SHARED int64_t tap_place(int64_t out, int64_t stride, int64_t padding, int64_t tap, int64_t dilation) {
  return out * stride - padding + tap * dilation;
}

// Whether a sample at this coordinate has a value other than 0. False where it is not a number or infinite.
template <typename T>
DCN_SHARED bool reaches(T y, T x, int height, int width) {
  return (y > T(-1)) & (y < T(height)) & (x > T(-1)) & (x < T(width));
}

// Whether it has a gradient: at exactly -1 the value is 0, and the derivative is that of moving into the image.
template <typename T>
DCN_SHARED bool has_gradient(T y, T x, int height, int width) {
  return (y >= T(-1)) & (y < T(height)) & (x >= T(-1)) & (x < T(width));
}

// floor, for coordinates that fit an int; without a library call, so that loops over it vectorise.
template <typename T>
DCN_SHARED int floor_to_int(T value) {
  const int truncated = static_cast<int>(value);
  return truncated - (value < static_cast<T>(truncated) ? 1 : 0);
}

// The four corners of a sample for which has_gradient is true.
template <typename T>
struct Corners {
  int pixel[4];  // y * width + x of the corner; of another corner of the same sample where this one does not count
  T counts[4];   // 1 where the corner counts, else 0
  T low_y, low_x, high_y, high_x;  // 1 - fraction and fraction of the coordinate
};

template <typename T>
DCN_SHARED Corners<T> find_corners(T y, T x, int height, int width) {
  const int y0 = floor_to_int(y), x0 = floor_to_int(x);
  const int y1 = y0 + 1, x1 = x0 + 1;
  Corners<T> c;
  c.high_y = y - static_cast<T>(y0);
  c.high_x = x - static_cast<T>(x0);
  c.low_y = T(1) - c.high_y;
  c.low_x = T(1) - c.high_x;
  const int top = (y0 < 0 ? 0 : y0) * width, bottom = (y1 >= height ? height - 1 : y1) * width;
  const int left = x0 < 0 ? 0 : x0, right = x1 >= width ? width - 1 : x1;
  const T top_counts = y0 < 0 ? T(0) : T(1), bottom_counts = y1 >= height ? T(0) : T(1);
  const T left_counts = x0 < 0 ? T(0) : T(1), right_counts = x1 >= width ? T(0) : T(1);
  c.pixel[0] = top + left;
  c.pixel[1] = top + right;
  c.pixel[2] = bottom + left;
  c.pixel[3] = bottom + right;
  c.counts[0] = top_counts * left_counts;
  c.counts[1] = top_counts * right_counts;
  c.counts[2] = bottom_counts * left_counts;
  c.counts[3] = bottom_counts * right_counts;
  return c;
}

// What each corner contributes to the sample's value.
template <typename T>
DCN_SHARED void corner_weights(const Corners<T>& c, T weight[4]) {
  weight[0] = c.low_y * c.low_x * c.counts[0];
  weight[1] = c.low_y * c.high_x * c.counts[1];
  weight[2] = c.high_y * c.low_x * c.counts[2];
  weight[3] = c.high_y * c.high_x * c.counts[3];
}

// The gradients of one tap of one output pixel. `product[i]` is the sum over channels of the gradient of the tap's value
// times the input at corner i.
template <typename T>
struct TapGradient {
  T y, x, mask;
};

template <typename T>
DCN_SHARED TapGradient<T> tap_gradient(const Corners<T>& c, const T product[4], T mask) {
  T value[4], weight[4];
  for (int i = 0; i < 4; ++i) value[i] = c.counts[i] != T(0) ? product[i] : T(0);
  corner_weights(c, weight);
  TapGradient<T> gradient;
  gradient.y = mask * (c.low_x * (value[2] - value[0]) + c.high_x * (value[3] - value[1]));
  gradient.x = mask * (c.low_y * (value[1] - value[0]) + c.high_y * (value[3] - value[2]));
  gradient.mask = weight[0] * value[0] + weight[1] * value[1] + weight[2] * value[2] + weight[3] * value[3];
  return gradient;
}

}  // namespace centernet
