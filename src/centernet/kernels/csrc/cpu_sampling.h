// Part of cpu_kernels.h: positions and sampling.
#include "cpu.h"

namespace centernet {
namespace DCN_ISA {

// One tap of all pixels of a tile. Free of branches, so that it becomes vector code.
template <typename T>
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
    const bool counts = reaches(y, x, height, width);
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
static void locate(const Shape& s, const T* offset, const T* mask, int64_t plane_size, Tile tile, int32_t* places,
                   const Positions<T>& positions) {
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
    locate_tap(ys, xs, static_cast<int32_t>(tap / s.kernel_width * s.dilation_height),
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
  const int64_t row_size = s.channels, group_size = s.channels / s.deformable_groups;
  for (int64_t c = first_channel, last; c < end; c = last) {
    const int64_t group = c / group_size, plane = group * taps;
    last = (group + 1) * group_size < end ? (group + 1) * group_size : end;
    const int64_t n = last - c;
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
  }
}

}  // namespace DCN_ISA
}  // namespace centernet
