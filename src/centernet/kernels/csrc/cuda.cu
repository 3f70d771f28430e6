// The operator by column matrices on a GPU: one function per piece of work ("item"), how items are numbered, and their launch.
//
// columns[image, channel * taps + tap, pixel] is the sampled value, so that the convolution is one product per image and
// group, of weight [outputs, channels * taps] and columns [channels * taps, pixels].
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include "columns_run.h"

#define DCN_DEVICE static __device__ __forceinline__

namespace centernet {

namespace {

// Arithmetic is done in at least float.
template <typename T> struct Wide { typedef T type; };
template <> struct Wide<__half> { typedef float type; };
DCN_DEVICE float widen(float value) { return value; }
DCN_DEVICE double widen(double value) { return value; }
DCN_DEVICE float widen(__half value) { return __half2float(value); }
DCN_DEVICE void put(float* to, float value) { *to = value; }
DCN_DEVICE void put(double* to, double value) { *to = value; }
DCN_DEVICE void put(__half* to, float value) { *to = __float2half(value); }

DCN_DEVICE void add(float* to, float value) { atomicAdd(to, value); }
DCN_DEVICE void add(double* to, double value) {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 600
  atomicAdd(to, value);
#else
  unsigned long long* bits = reinterpret_cast<unsigned long long*>(to);
  unsigned long long seen = *bits, expected;
  do {
    expected = seen;
    seen = atomicCAS(bits, expected, __double_as_longlong(value + __longlong_as_double(expected)));
  } while (seen != expected);
#endif
}

template <typename I>
struct Item {
  I image, deformable_group, slice, tap, pixel;
};

template <typename I>
DCN_DEVICE Item<I> item_at(I number, const Shape& s, I slices) {
  const I pixels = static_cast<I>(out_pixels_of(s)), taps = static_cast<I>(taps_of(s));
  const I groups = static_cast<I>(s.deformable_groups);
  Item<I> item;
  item.pixel = number % pixels;
  number /= pixels;
  item.tap = number % taps;
  number /= taps;
  item.slice = number % slices;
  number /= slices;
  item.deformable_group = number % groups;
  item.image = number / groups;
  return item;
}

// Where an item samples.
template <typename A, typename I>
struct Place {
  A y, x, mask;
  I mask_at, offset_at;  // of dy; dx is one plane on
};

template <typename I, typename T>
DCN_DEVICE Place<typename Wide<T>::type, I> place_of(const ColumnData& c, const Item<I>& item) {
  typedef typename Wide<T>::type A;
  const Shape& s = c.shape;
  const I pixels = static_cast<I>(out_pixels_of(s)), width = static_cast<I>(s.out_width);
  const I plane = (item.image * static_cast<I>(s.deformable_groups) + item.deformable_group) * static_cast<I>(taps_of(s)) + item.tap;
  Place<A, I> place;
  place.mask_at = plane * pixels + item.pixel;
  place.offset_at = 2 * plane * pixels + item.pixel;
  const T *offset = static_cast<const T*>(c.offset) + place.offset_at, *mask = static_cast<const T*>(c.mask);
  place.mask = widen(mask[place.mask_at]);
  place.y = static_cast<A>(tap_place(item.pixel / width, s.stride_height, s.padding_height, item.tap / static_cast<I>(s.kernel_width),
                                     s.dilation_height)) + widen(offset[0]);
  place.x = static_cast<A>(tap_place(item.pixel % width, s.stride_width, s.padding_width, item.tap % static_cast<I>(s.kernel_width),
                                     s.dilation_width)) + widen(offset[pixels]);
  return place;
}

// The channels of an item's slice, counted from the first of all: [first, last).
template <typename I>
DCN_DEVICE void slice_channels(const Shape& s, const Item<I>& item, I* first, I* last) {
  const I size = static_cast<I>(s.channels / s.deformable_groups), start = item.slice * kSliceChannels;
  *first = item.deformable_group * size + start;
  *last = item.deformable_group * size + (start + kSliceChannels < size ? start + kSliceChannels : size);
}

// One item of each kind of work.

struct Sample {
  template <typename I, typename T>
  static __device__ __forceinline__ void item(const ColumnData& c, I number) {
    typedef typename Wide<T>::type A;
    const Shape& s = c.shape;
    const Item<I> item = item_at<I>(number, s, static_cast<I>(slices_of(s)));
    const Place<A, I> place = place_of<I, T>(c, item);
    const I taps = static_cast<I>(taps_of(s)), out_pixels = static_cast<I>(out_pixels_of(s)), pixels = static_cast<I>(pixels_of(s));
    I channel, last;
    slice_channels(s, item, &channel, &last);
    const T* image = static_cast<const T*>(c.input) + (item.image * static_cast<I>(s.channels) + channel) * pixels;
    T* to = static_cast<T*>(c.columns) +
            ((item.image * static_cast<I>(s.channels) + channel) * taps + item.tap) * out_pixels + item.pixel;
    const bool inside = reaches(place.y, place.x, static_cast<int>(s.height), static_cast<int>(s.width));
    Corners<A> corners;
    A weight[4] = {A(0), A(0), A(0), A(0)};
    if (inside) {
      corners = find_corners(place.y, place.x, static_cast<int>(s.height), static_cast<int>(s.width));
      corner_weights(corners, weight);
    }
    for (; channel < last; ++channel, image += pixels, to += taps * out_pixels) {
      A value = A(0);
      if (inside) {
        for (int i = 0; i < 4; ++i) value += weight[i] * widen(image[corners.pixel[i]]);
      }
      put(to, value * place.mask);
    }
  }
};

struct PositionGradients {
  template <typename I, typename T>
  static __device__ __forceinline__ void item(const ColumnData& c, I number) {
    typedef typename Wide<T>::type A;
    const Shape& s = c.shape;
    const Item<I> item = item_at<I>(number, s, I(1));
    const Place<A, I> place = place_of<I, T>(c, item);
    const I taps = static_cast<I>(taps_of(s)), out_pixels = static_cast<I>(out_pixels_of(s)), pixels = static_cast<I>(pixels_of(s));
    const I channels = static_cast<I>(s.channels / s.deformable_groups);
    TapGradient<A> gradient = {A(0), A(0), A(0)};
    if (has_gradient(place.y, place.x, static_cast<int>(s.height), static_cast<int>(s.width))) {
      const Corners<A> corners = find_corners(place.y, place.x, static_cast<int>(s.height), static_cast<int>(s.width));
      const I first = item.image * static_cast<I>(s.channels) + item.deformable_group * channels;
      const T* image = static_cast<const T*>(c.input) + first * pixels;
      const T* grad = static_cast<const T*>(c.grad_columns) + (first * taps + item.tap) * out_pixels + item.pixel;
      A product[4] = {A(0), A(0), A(0), A(0)};
      for (I channel = 0; channel < channels; ++channel, image += pixels, grad += taps * out_pixels) {
        const A factor = widen(*grad);
        for (int i = 0; i < 4; ++i) product[i] += factor * widen(image[corners.pixel[i]]);
      }
      gradient = tap_gradient(corners, product, place.mask);
    }
    T *grad_offset = static_cast<T*>(c.grad_offset), *grad_mask = static_cast<T*>(c.grad_mask);
    if (grad_offset) {
      put(grad_offset + place.offset_at, gradient.y);
      put(grad_offset + place.offset_at + out_pixels, gradient.x);
    }
    if (grad_mask) put(grad_mask + place.mask_at, gradient.mask);
  }
};

struct Scatter {
  template <typename I, typename T>
  static __device__ __forceinline__ void item(const ColumnData& c, I number) {
    typedef typename Wide<T>::type A;
    const Shape& s = c.shape;
    const Item<I> item = item_at<I>(number, s, static_cast<I>(slices_of(s)));
    const Place<A, I> place = place_of<I, T>(c, item);
    if (!reaches(place.y, place.x, static_cast<int>(s.height), static_cast<int>(s.width))) return;
    const Corners<A> corners = find_corners(place.y, place.x, static_cast<int>(s.height), static_cast<int>(s.width));
    A weight[4];
    corner_weights(corners, weight);
    const I taps = static_cast<I>(taps_of(s)), out_pixels = static_cast<I>(out_pixels_of(s)), pixels = static_cast<I>(pixels_of(s));
    I channel, last;
    slice_channels(s, item, &channel, &last);
    A* image = static_cast<A*>(c.grad_input) + (item.image * static_cast<I>(s.channels) + channel) * pixels;
    const T* grad = static_cast<const T*>(c.grad_columns) +
                    ((item.image * static_cast<I>(s.channels) + channel) * taps + item.tap) * out_pixels + item.pixel;
    for (; channel < last; ++channel, image += pixels, grad += taps * out_pixels) {
      const A factor = widen(*grad) * place.mask;
      for (int i = 0; i < 4; ++i) {
        if (weight[i] != A(0)) add(image + corners.pixel[i], weight[i] * factor);
      }
    }
  }
};

template <typename W, typename I, typename T>
__global__ void __launch_bounds__(256) kernel(ColumnData columns, I items) {
  const I step = static_cast<I>(gridDim.x) * static_cast<I>(blockDim.x);
  for (I i = static_cast<I>(blockIdx.x) * static_cast<I>(blockDim.x) + static_cast<I>(threadIdx.x); i < items; i += step) {
    W::template item<I, T>(columns, i);
  }
}

template <typename W, typename T>
void launch(const ColumnData& columns, const Launch& plan, cudaStream_t stream) {
  if (plan.narrow) {
    kernel<W, int32_t, T><<<plan.blocks, plan.threads, 0, stream>>>(columns, static_cast<int32_t>(plan.items));
  } else {
    kernel<W, int64_t, T><<<plan.blocks, plan.threads, 0, stream>>>(columns, plan.items);
  }
}

template <typename T>
void run(Work work, const ColumnData& columns, const Launch& plan, cudaStream_t stream) {
  if (work == kSample) {
    launch<Sample, T>(columns, plan, stream);
  } else if (work == kPositionGradients) {
    launch<PositionGradients, T>(columns, plan, stream);
  } else {
    launch<Scatter, T>(columns, plan, stream);
  }
}

}  // namespace

const char* run_on_cuda(Work work, Kind kind, const ColumnData& data, void* stream) {
  const Launch plan = plan_launch(data.shape, data.images, items_of(work, data.shape, data.images));
  if (plan.items == 0) return nullptr;
  if (kind == kFloat16) {
    launch<Sample, __half>(data, plan, static_cast<cudaStream_t>(stream));
  } else if (kind == kFloat32) {
    run<float>(work, data, plan, static_cast<cudaStream_t>(stream));
  } else {
    run<double>(work, data, plan, static_cast<cudaStream_t>(stream));
  }
  const cudaError_t error = cudaGetLastError();
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}

}  // namespace centernet
