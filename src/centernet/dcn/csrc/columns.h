// The operator by column matrices, as it is computed on CUDA: one function per piece of work ("item"), and how items are
// numbered and launched. Host and device code: cuda.cu runs the items on a GPU, columns_host.cpp on the CPU, for the tests.
//
// columns[image, channel * taps + tap, pixel] is the sampled value, so that the convolution is one product per image and
// group, of weight [outputs, channels * taps] and columns [channels * taps, pixels].
#pragma once

#include "columns_run.h"

#if defined(__CUDACC__)
#include <cuda_fp16.h>
#endif

namespace centernet {
namespace dcn {

// Arithmetic is done in at least float.
template <typename T> struct Wide { typedef T type; };
template <typename A, typename T> struct Narrow {
  DCN_SHARED T from(A value) { return value; }
};
DCN_SHARED float widen(float value) { return value; }
DCN_SHARED double widen(double value) { return value; }
#if defined(__CUDACC__)
template <> struct Wide<__half> { typedef float type; };
template <> struct Narrow<float, __half> {
  DCN_SHARED __half from(float value) { return __float2half(value); }
};
DCN_SHARED float widen(__half value) { return __half2float(value); }
#endif

// What the kernels work on: a number of images one after another, channels first, contiguous.
template <typename T>
struct Columns {
  typedef typename Wide<T>::type A;
  Shape shape;
  int64_t images;
  const T *input, *offset, *mask;
  T* columns;             // written by sampling; the gradients' kernels read grad_columns
  const T* grad_columns;
  A* grad_input;          // added to
  T *grad_offset, *grad_mask;
};

template <typename I>
struct Item {
  I image, deformable_group, slice, tap, pixel;
};

template <typename I>
DCN_SHARED Item<I> item_at(I number, const Shape& s, I slices) {
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
DCN_SHARED Place<typename Columns<T>::A, I> place_of(const Columns<T>& c, const Item<I>& item) {
  typedef typename Columns<T>::A A;
  const Shape& s = c.shape;
  const I pixels = static_cast<I>(out_pixels_of(s)), width = static_cast<I>(s.out_width);
  const I plane = (item.image * static_cast<I>(s.deformable_groups) + item.deformable_group) * static_cast<I>(taps_of(s)) + item.tap;
  Place<A, I> place;
  place.mask_at = plane * pixels + item.pixel;
  place.offset_at = 2 * plane * pixels + item.pixel;
  place.mask = widen(c.mask[place.mask_at]);
  place.y = static_cast<A>(tap_place(item.pixel / width, s.stride_height, s.padding_height, item.tap / static_cast<I>(s.kernel_width),
                                     s.dilation_height)) + widen(c.offset[place.offset_at]);
  place.x = static_cast<A>(tap_place(item.pixel % width, s.stride_width, s.padding_width, item.tap % static_cast<I>(s.kernel_width),
                                     s.dilation_width)) + widen(c.offset[place.offset_at + pixels]);
  return place;
}

// The channels of an item's slice, counted from the first of all: [first, last).
template <typename I>
DCN_SHARED void slice_channels(const Shape& s, const Item<I>& item, I* first, I* last) {
  const I size = static_cast<I>(s.channels / s.deformable_groups), start = item.slice * kSliceChannels;
  *first = item.deformable_group * size + start;
  *last = item.deformable_group * size + (start + kSliceChannels < size ? start + kSliceChannels : size);
}

template <typename I, typename T>
DCN_SHARED void sample_item(const Columns<T>& c, I number) {
  typedef typename Columns<T>::A A;
  const Shape& s = c.shape;
  const Item<I> item = item_at<I>(number, s, static_cast<I>(slices_of(s)));
  const Place<A, I> place = place_of<I, T>(c, item);
  const I taps = static_cast<I>(taps_of(s)), out_pixels = static_cast<I>(out_pixels_of(s)), pixels = static_cast<I>(pixels_of(s));
  I channel, last;
  slice_channels(s, item, &channel, &last);
  const T* image = c.input + (item.image * static_cast<I>(s.channels) + channel) * pixels;
  T* to = c.columns + ((item.image * static_cast<I>(s.channels) + channel) * taps + item.tap) * out_pixels + item.pixel;
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
    *to = Narrow<A, T>::from(value * place.mask);
  }
}

template <typename I, typename T>
DCN_SHARED void position_gradient_item(const Columns<T>& c, I number) {
  typedef typename Columns<T>::A A;
  const Shape& s = c.shape;
  const Item<I> item = item_at<I>(number, s, I(1));
  const Place<A, I> place = place_of<I, T>(c, item);
  const I taps = static_cast<I>(taps_of(s)), out_pixels = static_cast<I>(out_pixels_of(s)), pixels = static_cast<I>(pixels_of(s));
  const I channels = static_cast<I>(s.channels / s.deformable_groups);
  TapGradient<A> gradient = {A(0), A(0), A(0)};
  if (has_gradient(place.y, place.x, static_cast<int>(s.height), static_cast<int>(s.width))) {
    const Corners<A> corners = find_corners(place.y, place.x, static_cast<int>(s.height), static_cast<int>(s.width));
    const I first = item.image * static_cast<I>(s.channels) + item.deformable_group * channels;
    const T* image = c.input + first * pixels;
    const T* grad = c.grad_columns + (first * taps + item.tap) * out_pixels + item.pixel;
    A product[4] = {A(0), A(0), A(0), A(0)};
    for (I channel = 0; channel < channels; ++channel, image += pixels, grad += taps * out_pixels) {
      const A factor = widen(*grad);
      for (int i = 0; i < 4; ++i) product[i] += factor * widen(image[corners.pixel[i]]);
    }
    gradient = tap_gradient(corners, product, place.mask);
  }
  if (c.grad_offset) {
    c.grad_offset[place.offset_at] = Narrow<A, T>::from(gradient.y);
    c.grad_offset[place.offset_at + out_pixels] = Narrow<A, T>::from(gradient.x);
  }
  if (c.grad_mask) c.grad_mask[place.mask_at] = Narrow<A, T>::from(gradient.mask);
}

// Adder::add(address, value) has to be atomic where items run at the same time.
template <typename I, typename T, typename Adder>
DCN_SHARED void scatter_item(const Columns<T>& c, I number) {
  typedef typename Columns<T>::A A;
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
  A* image = c.grad_input + (item.image * static_cast<I>(s.channels) + channel) * pixels;
  const T* grad = c.grad_columns + ((item.image * static_cast<I>(s.channels) + channel) * taps + item.tap) * out_pixels + item.pixel;
  for (; channel < last; ++channel, image += pixels, grad += taps * out_pixels) {
    const A factor = widen(*grad) * place.mask;
    for (int i = 0; i < 4; ++i) {
      if (weight[i] != A(0)) Adder::add(image + corners.pixel[i], weight[i] * factor);
    }
  }
}

// One item of each kind of work; Adder as above.
template <typename Adder>
struct SampleWork {
  template <typename I, typename T>
  DCN_SHARED void item(const Columns<T>& c, I number) { sample_item<I, T>(c, number); }
};
template <typename Adder>
struct PositionGradientWork {
  template <typename I, typename T>
  DCN_SHARED void item(const Columns<T>& c, I number) { position_gradient_item<I, T>(c, number); }
};
template <typename Adder>
struct ScatterWork {
  template <typename I, typename T>
  DCN_SHARED void item(const Columns<T>& c, I number) { scatter_item<I, T, Adder>(c, number); }
};

template <typename T>
Columns<T> typed_columns(const ColumnData& data) {
  typedef typename Columns<T>::A A;
  const Columns<T> columns = {data.shape, data.images,
                              static_cast<const T*>(data.input), static_cast<const T*>(data.offset),
                              static_cast<const T*>(data.mask), static_cast<T*>(data.columns),
                              static_cast<const T*>(data.grad_columns), static_cast<A*>(data.grad_input),
                              static_cast<T*>(data.grad_offset), static_cast<T*>(data.grad_mask)};
  return columns;
}

}  // namespace dcn
}  // namespace centernet
