// Part of cpu_kernels.h: positions, sampling, and their gradients.
#include "cpu.h"

namespace centernet {
namespace dcn {
namespace DCN_ISA {

// The input channels that a deformable group, a group of the convolution and a range have in common: [first, last).
struct Segment {
  int64_t first, last, deformable_group, group;
};

DCN_INLINE Segment segment_at(const Shape& s, int64_t channel, int64_t end) {
  const int64_t per_deformable = s.channels / s.deformable_groups, per_group = s.channels / s.groups;
  Segment segment = {channel, end, channel / per_deformable, channel / per_group};
  const int64_t deformable_end = (segment.deformable_group + 1) * per_deformable;
  const int64_t group_end = (segment.group + 1) * per_group;
  if (deformable_end < segment.last) segment.last = deformable_end;
  if (group_end < segment.last) segment.last = group_end;
  return segment;
}

// One tap of all pixels of a tile. Free of branches, so that it becomes vector code.
template <typename T, bool AtEdge>
static void locate_tap(const int32_t* __restrict__ ys, const int32_t* __restrict__ xs, int32_t tap_y, int32_t tap_x,
                       const T* __restrict__ dy, const T* __restrict__ dx, const T* __restrict__ mask, int32_t count,
                       int32_t height, int32_t width, int32_t* __restrict__ pixels, T* __restrict__ weights,
                       int64_t entries) {
  int32_t *pixel0 = pixels, *pixel1 = pixels + entries, *pixel2 = pixels + 2 * entries, *pixel3 = pixels + 3 * entries;
  T *weight0 = weights, *weight1 = weights + entries, *weight2 = weights + 2 * entries, *weight3 = weights + 3 * entries;
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC ivdep
#endif
  for (int32_t p = 0; p < count; ++p) {
    T y = static_cast<T>(ys[p] + tap_y) + dy[p], x = static_cast<T>(xs[p] + tap_x) + dx[p];
    const bool counts = AtEdge ? has_gradient(y, x, height, width) : reaches(y, x, height, width);
    y = counts ? y : T(0);  // a place that is no number cannot become an index
    x = counts ? x : T(0);
    const Corners<T> corners = find_corners(y, x, height, width);
    T weight[4];
    corner_weights(corners, weight);
    const T factor = mask[p], nothing = T(0) * mask[p];
    pixel0[p] = counts ? corners.pixel[0] : -1;
    pixel1[p] = corners.pixel[1];
    pixel2[p] = corners.pixel[2];
    pixel3[p] = corners.pixel[3];
    weight0[p] = counts ? weight[0] * factor : nothing;
    weight1[p] = weight[1] * factor;
    weight2[p] = weight[2] * factor;
    weight3[p] = weight[3] * factor;
  }
}

template <typename T>
static void locate(const Shape& s, const T* offset, const T* mask, int64_t plane_size, Tile tile, bool at_edge,
                   int32_t* places, const Positions<T>& positions) {
  int32_t* ys = places;
  int32_t* xs = places + positions.stride;
  int64_t y = tile.first / s.out_width, x = tile.first % s.out_width;
  for (int64_t p = 0; p < tile.count; ++p) {
    ys[p] = static_cast<int32_t>(tap_place(y, s.stride_height, s.padding_height, 0, 0));
    xs[p] = static_cast<int32_t>(tap_place(x, s.stride_width, s.padding_width, 0, 0));
    if (++x == s.out_width) {
      x = 0;
      ++y;
    }
  }
  const int64_t taps = taps_of(s), planes = s.deformable_groups * taps;
  for (int64_t plane = 0; plane < planes; ++plane) {
    const int64_t tap = plane % taps, at = plane * positions.stride;
    const T* dy = offset + 2 * plane * plane_size;
    const T* factor = mask + plane * plane_size;
    (at_edge ? locate_tap<T, true> : locate_tap<T, false>)(
        ys, xs, static_cast<int32_t>(tap / s.kernel_width * s.dilation_height),
        static_cast<int32_t>(tap % s.kernel_width * s.dilation_width), dy, dy + plane_size, factor,
        static_cast<int32_t>(tile.count), static_cast<int32_t>(s.height), static_cast<int32_t>(s.width),
        positions.pixels + at, positions.weights + at, positions.entries);
  }
}

// to = w0 * a + w1 * b + w2 * c + w3 * d, over n channels
template <typename T>
DCN_INLINE void combine(const T* a, const T* b, const T* c, const T* d, T w0, T w1, T w2, T w3, int64_t n, T* to) {
  typedef typename Vector<T>::type V;
  int64_t i = 0;
  for (; i + lanes<T>() <= n; i += lanes<T>()) {
    V sum = w0 * load<V>(a + i);
    sum += w1 * load<V>(b + i);
    sum += w2 * load<V>(c + i);
    sum += w3 * load<V>(d + i);
    store(to + i, sum);
  }
  for (; i < n; ++i) to[i] = w0 * a[i] + w1 * b[i] + w2 * c[i] + w3 * d[i];
}

template <typename T>
static void sample(const Shape& s, const T* image, const Positions<T>& positions, int64_t first_pixel, int64_t last_pixel,
                   int64_t first_channel, int64_t channels, int64_t first_tap, int64_t last_tap, T* to,
                   int64_t to_stride) {
  const int64_t taps = taps_of(s), end = first_channel + channels, stride = positions.stride, entries = positions.entries;
  const int64_t row_size = s.channels;
  for (int64_t c = first_channel; c < end;) {
    const Segment segment = segment_at(s, c, end);
    const int64_t n = segment.last - c, plane = segment.deformable_group * taps;
    const T* origin = image + c;
    // All taps of a pixel, then those of the next: they read much the same rows, which stay in the first-level cache.
    for (int64_t p = first_pixel; p < last_pixel; ++p) {
      T* row = to + (p - first_pixel) * to_stride + (c - first_channel);
      const int32_t* pixel = positions.pixels + (plane + first_tap) * stride + p;
      const T* weight = positions.weights + (plane + first_tap) * stride + p;
      for (int64_t tap = first_tap; tap < last_tap; ++tap, row += channels, pixel += stride, weight += stride) {
        if (pixel[0] < 0) {
          for (int64_t i = 0; i < n; ++i) row[i] = weight[0];
        } else {
          combine(origin + pixel[0] * row_size, origin + pixel[entries] * row_size, origin + pixel[2 * entries] * row_size,
                  origin + pixel[3 * entries] * row_size, weight[0], weight[entries], weight[2 * entries],
                  weight[3 * entries], n, row);
        }
      }
    }
    c = segment.last;
  }
}

template <typename T>
DCN_INLINE T dot(const T* a, const T* b, int64_t n) {
  typedef typename Vector<T>::type V;
  V sums = {};
  int64_t i = 0;
  for (; i + lanes<T>() <= n; i += lanes<T>()) sums += load<V>(a + i) * load<V>(b + i);
  T sum = T(0);
  for (int64_t lane = 0; lane < lanes<T>(); ++lane) sum += sums[lane];
  for (; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

template <typename T>
static void position_gradients(const Shape& s, const T* image, const T* offset, const T* mask, Tile tile,
                               const T* grad_columns, int64_t stride, int64_t group_stride, T* grad_offset,
                               T* grad_mask) {
  const int64_t taps = taps_of(s), pixels = out_pixels_of(s), planes = s.deformable_groups * taps;
  const int64_t per_deformable = s.channels / s.deformable_groups, per_group = s.channels / s.groups;
  for (int64_t plane = 0; plane < planes; ++plane) {
    const int64_t tap = plane % taps, tap_y = tap / s.kernel_width, tap_x = tap % s.kernel_width;
    const int64_t first_channel = plane / taps * per_deformable, end = first_channel + per_deformable;
    const int64_t mask_at = (tile.image * planes + plane) * pixels + tile.first, y_at = mask_at * 2 - tile.first;
    for (int64_t p = 0; p < tile.count; ++p) {
      const int64_t out_y = (tile.first + p) / s.out_width, out_x = (tile.first + p) % s.out_width;
      const T y = offset[y_at + p] +
                  static_cast<T>(tap_place(out_y, s.stride_height, s.padding_height, tap_y, s.dilation_height));
      const T x = offset[y_at + pixels + p] +
                  static_cast<T>(tap_place(out_x, s.stride_width, s.padding_width, tap_x, s.dilation_width));
      TapGradient<T> gradient = {T(0), T(0), T(0)};
      if (has_gradient(y, x, static_cast<int>(s.height), static_cast<int>(s.width))) {
        const Corners<T> corners = find_corners(y, x, static_cast<int>(s.height), static_cast<int>(s.width));
        T product[4] = {T(0), T(0), T(0), T(0)};
        for (int64_t c = first_channel; c < end;) {
          const Segment segment = segment_at(s, c, end);
          const T* grad = grad_columns + p * stride + segment.group * group_stride + tap * per_group +
                          (c - segment.group * per_group);
          for (int i = 0; i < 4; ++i) {
            product[i] += dot(grad, image + corners.pixel[i] * s.channels + c, segment.last - c);
          }
          c = segment.last;
        }
        gradient = tap_gradient(corners, product, mask[mask_at + p]);
      }
      if (grad_offset) {
        grad_offset[y_at + p] = gradient.y;
        grad_offset[y_at + pixels + p] = gradient.x;
      }
      if (grad_mask) grad_mask[mask_at + p] = gradient.mask;
    }
  }
}

// to += factor * from, over n channels
template <typename T>
DCN_INLINE void add(T factor, const T* from, int64_t n, T* to) {
  typedef typename Vector<T>::type V;
  int64_t i = 0;
  for (; i + lanes<T>() <= n; i += lanes<T>()) store(to + i, load<V>(to + i) + factor * load<V>(from + i));
  for (; i < n; ++i) to[i] += factor * from[i];
}

template <typename T>
static void scatter(const Shape& s, const Positions<T>& positions, int64_t count, const T* grad_columns, int64_t stride,
                    int64_t group_stride, int64_t first_channel, int64_t channels, T* grad_image) {
  const int64_t taps = taps_of(s), end = first_channel + channels, per_group = s.channels / s.groups;
  for (int64_t c = first_channel; c < end;) {
    const Segment segment = segment_at(s, c, end);
    const int64_t n = segment.last - c;
    for (int64_t p = 0; p < count; ++p) {
      const T* grad = grad_columns + p * stride + segment.group * group_stride + (c - segment.group * per_group);
      for (int64_t tap = 0; tap < taps; ++tap, grad += per_group) {
        const int64_t e = (segment.deformable_group * taps + tap) * positions.stride + p;
        if (positions.pixels[e] < 0) continue;
        for (int i = 0; i < 4; ++i) {
          const T weight = positions.weights[i * positions.entries + e];
          // 0 also where the corner does not count, and stands for another one
          if (weight != T(0)) add(weight, grad, n, grad_image + positions.pixels[i * positions.entries + e] * s.channels + c);
        }
      }
    }
    c = segment.last;
  }
}

}  // namespace DCN_ISA
}  // namespace dcn
}  // namespace centernet
