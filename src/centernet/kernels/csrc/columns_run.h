// Column matrices of images on a device: what is computed, how many items of work that is, and how they are launched.
#pragma once

#include "sampling.h"

namespace centernet {

enum Kind { kFloat16, kFloat32, kFloat64 };

// Images one after another, channels first, contiguous, all of one kind; float16 is only sampled.
struct ColumnData {
  Shape shape;
  int64_t images;
  const void *input, *offset, *mask;
  void* columns;             // written by kSample
  const void* grad_columns;  // read by the other two
  void *grad_offset, *grad_mask;  // written by kPositionGradients, where not null
  void* grad_input;               // added to by kScatter
};

enum Work { kSample, kPositionGradients, kScatter };

// Channels of one deformable group that one item samples: enough items for a small image, and one position for several.
static const int kSliceChannels = 8;

DCN_SHARED int64_t slices_of(const Shape& s) {
  return (s.channels / s.deformable_groups + kSliceChannels - 1) / kSliceChannels;
}

// Items of sampling and scattering: [image, deformable group, slice, tap, pixel]; of the gradients of positions: without slices.
inline int64_t items_of(Work work, const Shape& s, int64_t images) {
  return images * s.deformable_groups * (work == kPositionGradients ? 1 : slices_of(s)) * taps_of(s) * out_pixels_of(s);
}

// How many blocks of threads; every thread takes items `blocks * threads` apart. Indices have 32 bits where everything fits.
struct Launch {
  int64_t items;
  int blocks, threads;
  bool narrow;
};

// The tests of the CUDA source lower them.
#ifndef DCN_MOST_BLOCKS
#define DCN_MOST_BLOCKS (1 << 20)
#define DCN_MOST_NARROW INT32_MAX
#endif

inline Launch plan_launch(const Shape& s, int64_t images, int64_t items) {
  const int64_t most_blocks = DCN_MOST_BLOCKS, limit = DCN_MOST_NARROW;
  Launch launch;
  launch.items = items;
  launch.threads = 256;
  const int64_t blocks = (items + launch.threads - 1) / launch.threads;
  launch.blocks = static_cast<int>(blocks < most_blocks ? blocks : most_blocks);
  const int64_t planes = s.deformable_groups * taps_of(s) * 2, columns = s.channels * taps_of(s);
  const int64_t out_elements = images * out_pixels_of(s) * (planes > columns ? planes : columns);
  // an index may pass the end by one step before it is compared
  launch.narrow = items + static_cast<int64_t>(launch.blocks) * launch.threads <= limit && out_elements <= limit &&
                  images * s.channels * pixels_of(s) <= limit;
  return launch;
}

// Does the work on the current GPU; `stream` is a cudaStream_t. Returns null, or what went wrong.
const char* run_on_cuda(Work work, Kind kind, const ColumnData& data, void* stream);

}  // namespace centernet
