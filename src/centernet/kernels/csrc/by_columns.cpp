// Column matrices and products, for GPUs.
#if defined(DCN_CUDA)
#include "binding.h"

#if defined(DCN_TORCH_2)
#include <c10/cuda/CUDAStream.h>
using c10::cuda::getCurrentCUDAStream;
#else
#include <ATen/cuda/CUDAStream.h>
using at::cuda::getCurrentCUDAStream;
#endif

#include <algorithm>
#include <string>

#include "columns_run.h"

namespace centernet {

namespace {

// Of the column matrices in memory at a time, unless one image needs more.
#ifndef DCN_COLUMN_BYTES
#define DCN_COLUMN_BYTES (256 << 20)
#endif

void run_columns(Work work, const ColumnData& data, const at::Tensor& input) {
  const at::ScalarType type = input.scalar_type();
  cudaStream_t stream = getCurrentCUDAStream();
  const char* error = run_on_cuda(work, type == at::kHalf ? kFloat16 : type == at::kFloat ? kFloat32 : kFloat64, data, stream);
  if (error) throw std::runtime_error(std::string("deformable convolution: ") + error);
}

// [groups, a, b] as [count * groups, a, b], the same for every image; a view if there is one group.
at::Tensor for_images(const at::Tensor& matrices, int64_t count) {
  const int64_t groups = matrices.size(0), a = matrices.size(1), b = matrices.size(2);
  return matrices.unsqueeze(0).expand({count, groups, a, b}).reshape({count * groups, a, b});
}

// The tensors of one call as column matrices see them, and the images that are taken at a time.
struct Call {
  Shape s;
  at::Tensor input, offset, mask, weight;  // weight: [groups, outputs of a group, rows]
  int64_t at_once, rows, pixels;           // of the column matrix of one group of one image: channels * taps, out pixels
  at::Tensor columns;                      // [at_once * groups, rows, pixels]

  Call(const Shape& shape, const at::Tensor& in, const at::Tensor& offsets, const at::Tensor& masks, const at::Tensor& w)
      : s(shape), input(in.contiguous()), offset(offsets.contiguous()), mask(masks.contiguous()),
        rows(s.channels / s.groups * taps_of(s)), pixels(out_pixels_of(s)) {
    weight = w.contiguous().view({s.groups, s.out_channels / s.groups, rows});
    const int64_t bytes = s.groups * rows * pixels * (in.scalar_type() == at::kDouble ? 8 : 4), most = DCN_COLUMN_BYTES;
    at_once = std::min(std::max<int64_t>(most / bytes, 1), s.batch);
    columns = at::empty({at_once * s.groups, rows, pixels}, input.options());
  }

  int64_t count_from(int64_t first) const { return std::min(at_once, s.batch - first); }

  // The column matrices of the first `count` images.
  at::Tensor columns_of(int64_t count) const { return columns.narrow(0, 0, count * s.groups); }

  // Of an [batch, out_channels, out_height, out_width] tensor, `count` images from `first` on: [count * groups, outputs, pixels]
  at::Tensor outputs_of(const at::Tensor& tensor, int64_t first, int64_t count) const {
    return tensor.narrow(0, first, count).view({count * s.groups, s.out_channels / s.groups, pixels});
  }

  // `count` images from `first` on, without any result.
  ColumnData data(int64_t first, int64_t count) const {
    ColumnData data = {s, count, input.narrow(0, first, count).data_ptr(), offset.narrow(0, first, count).data_ptr(),
                       mask.narrow(0, first, count).data_ptr(), nullptr, nullptr, nullptr, nullptr, nullptr};
    return data;
  }
};

}  // namespace

at::Tensor forward_by_columns(const Shape& s, const at::Tensor& input, const at::Tensor& offset, const at::Tensor& mask,
                              const at::Tensor& weight, const at::Tensor& bias) {
  const at::Tensor output = at::empty({s.batch, s.out_channels, s.out_height, s.out_width}, input.options());
  if (s.batch == 0) return output;
  const Call call(s, input, offset, mask, weight);
  for (int64_t first = 0; first < s.batch; first += call.at_once) {
    const int64_t count = call.count_from(first);
    ColumnData data = call.data(first, count);
    data.columns = call.columns.data_ptr();
    run_columns(kSample, data, input);
    const at::Tensor weights = for_images(call.weight, count), columns = call.columns_of(count);
    at::Tensor product = call.outputs_of(output, first, count);
    if (bias.numel()) {
      const at::Tensor start = for_images(bias.contiguous().view({s.groups, s.out_channels / s.groups, 1}), count);
      at::baddbmm_out(product, start.expand(product.sizes()), weights, columns);
    } else {
      at::bmm_out(product, weights, columns);
    }
  }
  return output;
}

std::vector<at::Tensor> backward_by_columns(const Shape& s, const at::Tensor& input, const at::Tensor& offset,
                                            const at::Tensor& mask, const at::Tensor& weight, const at::Tensor& grad_output,
                                            const std::vector<bool>& wanted) {
  if (input.scalar_type() == at::kHalf) {
    // sums of thousands of products need more than float16's range and precision
    std::vector<at::Tensor> results =
        backward_by_columns(s, input.to(at::kFloat), offset.to(at::kFloat), mask.to(at::kFloat), weight.to(at::kFloat),
                            grad_output.to(at::kFloat), wanted);
    for (at::Tensor& result : results) {
      if (result.defined()) result = result.to(at::kHalf);
    }
    return results;
  }
  std::vector<at::Tensor> results(5);
  if (wanted[0]) results[0] = at::zeros(input.sizes(), input.options());
  if (wanted[1]) results[1] = at::empty(offset.sizes(), offset.options());
  if (wanted[2]) results[2] = at::empty(mask.sizes(), mask.options());
  if (wanted[3]) results[3] = at::zeros(weight.sizes(), weight.options());
  if (wanted[4]) results[4] = grad_output.sum(3).sum(2).sum(0);
  const bool positions = wanted[1] || wanted[2];
  if (s.batch == 0 || !(wanted[0] || positions || wanted[3])) return results;
  const Call call(s, input, offset, mask, weight);
  const at::Tensor grads = grad_output.contiguous();
  for (int64_t first = 0; first < s.batch; first += call.at_once) {
    const int64_t count = call.count_from(first);
    const at::Tensor grad = call.outputs_of(grads, first, count);
    at::Tensor columns = call.columns_of(count);
    ColumnData data = call.data(first, count);
    if (wanted[3]) {
      data.columns = call.columns.data_ptr();
      run_columns(kSample, data, input);
      const at::Tensor products = at::bmm(grad, columns.transpose(1, 2));
      results[3] += products.view({count, s.groups, s.out_channels / s.groups, call.rows}).sum(0).view(weight.sizes());
    }
    if (!wanted[0] && !positions) continue;
    at::bmm_out(columns, for_images(call.weight.transpose(1, 2), count), grad);
    data.grad_columns = call.columns.data_ptr();
    if (positions) {
      if (wanted[1]) data.grad_offset = results[1].narrow(0, first, count).data_ptr();
      if (wanted[2]) data.grad_mask = results[2].narrow(0, first, count).data_ptr();
      run_columns(kPositionGradients, data, input);
    }
    if (wanted[0]) {
      data.grad_input = results[0].narrow(0, first, count).data_ptr();
      run_columns(kScatter, data, input);
    }
  }
  return results;
}

}  // namespace centernet
#endif
