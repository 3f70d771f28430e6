// The operator for torch 1.0.0 and torch 2.x. Checks of shapes are in centernet.dcn.arguments; what would read or write out
// of bounds is checked again here.
#include "binding.h"

#include "tensor.h"

#if defined(DCN_CUDA)
#include <ATen/DeviceGuard.h>
#endif
#include <ATen/Parallel.h>

#include <algorithm>
#include <vector>

#include "by_columns.h"
#include "columns_run.h"
#include "cpu.h"

namespace {

using centernet::dcn::data_of;
using centernet::dcn::Gradients;
using centernet::dcn::Layout;
using centernet::dcn::Shape;
using centernet::dcn::Threads;
using centernet::dcn::type_of;

using centernet::dcn::torch_threads;

#ifdef DCN_TORCH_2
int64_t thread_count() { return at::get_num_threads(); }
#else
int64_t thread_count() { return at::get_max_threads(); }
#endif

void run_on_threads(int64_t workers, centernet::dcn::Body body, void* context) {
  at::parallel_for(0, workers, 1, [&](int64_t first, int64_t last) {
    for (int64_t worker = first; worker < last; ++worker) body(context, worker);
  });
}

// sizes: kernel, stride, padding, dilation (vertical, horizontal each), groups, deformable groups, out_height, out_width
Shape shape_of(const at::Tensor& input, const at::Tensor& offset, const at::Tensor& mask, const at::Tensor& weight,
               const std::vector<int64_t>& sizes) {
  DCN_CHECK(sizes.size() == 10, "expected 10 sizes, got ", sizes.size());
  DCN_CHECK(input.dim() == 4 && weight.dim() == 4 && offset.dim() == 4 && mask.dim() == 4, "expected 4 dimensions");
  for (const at::Tensor* tensor : {&offset, &mask, &weight}) {
    DCN_CHECK(type_of(*tensor) == type_of(input) && tensor->device() == input.device(), "tensors differ in dtype or device");
  }
  Shape s;
  s.batch = input.size(0);
  s.channels = input.size(1);
  s.height = input.size(2);
  s.width = input.size(3);
  s.out_channels = weight.size(0);
  s.kernel_height = weight.size(2);
  s.kernel_width = weight.size(3);
  s.stride_height = sizes[0];
  s.stride_width = sizes[1];
  s.padding_height = sizes[2];
  s.padding_width = sizes[3];
  s.dilation_height = sizes[4];
  s.dilation_width = sizes[5];
  s.groups = sizes[6];
  s.deformable_groups = sizes[7];
  s.out_height = sizes[8];
  s.out_width = sizes[9];
  DCN_CHECK(s.channels > 0 && s.height > 0 && s.width > 0 && s.out_channels > 0 && s.kernel_height > 0 && s.kernel_width > 0 &&
                s.out_height > 0 && s.out_width > 0,
            "only the batch may be empty");
  const int64_t planes = s.deformable_groups * centernet::dcn::taps_of(s), limit = INT32_MAX;
  DCN_CHECK(s.groups > 0 && s.deformable_groups > 0 && s.channels % s.deformable_groups == 0 &&
                weight.size(1) * s.groups == s.channels && s.out_channels % s.groups == 0,
            "groups do not fit the channels");
  DCN_CHECK(offset.size(0) == s.batch && offset.size(1) == 2 * planes && offset.size(2) == s.out_height &&
                offset.size(3) == s.out_width && mask.size(0) == s.batch && mask.size(1) == planes &&
                mask.size(2) == s.out_height && mask.size(3) == s.out_width,
            "offset or mask does not fit the output");
  DCN_CHECK(s.height <= limit / std::max<int64_t>(s.width, 1) && s.out_height * s.stride_height <= limit / 4 &&
                s.out_width * s.stride_width <= limit / 4 && s.padding_height <= limit / 4 &&
                s.padding_width <= limit / 4 && s.kernel_height * s.dilation_height <= limit / 4 &&
                s.kernel_width * s.dilation_width <= limit / 4,
            "one image has more than 2^31 pixels");
  return s;
}

#ifdef DCN_TORCH_2
bool is_channels_last(const at::Tensor& tensor) {
  return !tensor.is_contiguous() && tensor.is_contiguous(at::MemoryFormat::ChannelsLast);
}
#endif

// --- What Python calls ---

// None for what was not wanted.
py::list to_python(const std::vector<at::Tensor>& tensors) {
  py::list list;
  for (const at::Tensor& tensor : tensors) {
    if (tensor.defined()) {
      list.append(py::cast(tensor));
    } else {
      list.append(py::none());
    }
  }
  return list;
}

at::Tensor forward(const at::Tensor& input, const at::Tensor& offset, const at::Tensor& mask, const at::Tensor& weight,
                   const at::Tensor& bias, const std::vector<int64_t>& sizes) {
  const Shape s = shape_of(input, offset, mask, weight, sizes);
  DCN_CHECK(!bias.numel() || (bias.numel() == s.out_channels && type_of(bias) == type_of(input)), "bias does not fit the output");
#if defined(DCN_CUDA)
  if (DCN_IS_ON_GPU(input)) {
    const c10::DeviceGuard guard(input.device());
    return centernet::dcn::forward_by_columns(s, input, offset, mask, weight, bias, false);
  }
#endif
  Layout layout = centernet::dcn::kChannelsFirst;
  at::Tensor images = input, output;
#ifdef DCN_TORCH_2
  if (is_channels_last(input)) {
    layout = centernet::dcn::kChannelsLast;
    output = at::empty({s.batch, s.out_channels, s.out_height, s.out_width}, input.options(),
                       at::MemoryFormat::ChannelsLast);
  }
#endif
  if (layout == centernet::dcn::kChannelsFirst) {
    images = input.contiguous();
    output = at::empty({s.batch, s.out_channels, s.out_height, s.out_width}, input.options());
  }
  const at::Tensor offsets = offset.contiguous(), masks = mask.contiguous(), weights = weight.contiguous();
  const at::Tensor biases = bias.contiguous();
  DCN_DISPATCH(input, "deform_conv2d", ([&] {
    centernet::dcn::forward<scalar_t>(s, data_of<scalar_t>(images), layout, data_of<scalar_t>(offsets),
                                      data_of<scalar_t>(masks), data_of<scalar_t>(weights),
                                      biases.numel() ? data_of<scalar_t>(biases) : nullptr, data_of<scalar_t>(output),
                                      layout, torch_threads());
  }));
  return output;
}

// Gradients of input, offset, mask, weight and bias; None where `wanted` is false.
py::list backward(const at::Tensor& input, const at::Tensor& offset, const at::Tensor& mask,
                                 const at::Tensor& weight, const at::Tensor& grad_output,
                                 const std::vector<int64_t>& sizes, const std::vector<bool>& wanted) {
  const Shape s = shape_of(input, offset, mask, weight, sizes);
  DCN_CHECK(wanted.size() == 5, "expected 5 flags, got ", wanted.size());
  DCN_CHECK(grad_output.dim() == 4 && grad_output.size(0) == s.batch && grad_output.size(1) == s.out_channels &&
                grad_output.size(2) == s.out_height && grad_output.size(3) == s.out_width && type_of(grad_output) == type_of(input),
            "grad_output does not fit the output");
#if defined(DCN_CUDA)
  if (DCN_IS_ON_GPU(input)) {
    const c10::DeviceGuard guard(input.device());
    return to_python(centernet::dcn::backward_by_columns(s, input, offset, mask, weight, grad_output, wanted, false));
  }
#endif
  const at::Tensor images = input.contiguous(), offsets = offset.contiguous(), masks = mask.contiguous();
  const at::Tensor weights = weight.contiguous(), grads = grad_output.contiguous();
  std::vector<at::Tensor> results(5);
  const at::Tensor* like[] = {&images, &offsets, &masks, &weights};
  for (int i = 0; i < 4; ++i) {
    if (wanted[i]) results[i] = at::empty(like[i]->sizes(), like[i]->options());
  }
  if (wanted[4]) results[4] = at::empty({s.out_channels}, weight.options());
  DCN_DISPATCH(input, "deform_conv2d_backward", ([&] {
    Gradients<scalar_t> gradients;
    scalar_t** to[] = {&gradients.input, &gradients.offset, &gradients.mask, &gradients.weight, &gradients.bias};
    for (int i = 0; i < 5; ++i) *to[i] = wanted[i] ? data_of<scalar_t>(results[i]) : nullptr;
    centernet::dcn::backward<scalar_t>(s, data_of<scalar_t>(images), data_of<scalar_t>(offsets), data_of<scalar_t>(masks),
                                       data_of<scalar_t>(weights), data_of<scalar_t>(grads), gradients, torch_threads());
  }));
  return to_python(results);
}

}  // namespace

namespace centernet {
namespace dcn {

Threads torch_threads() {
  Threads threads;
  threads.workers = at::in_parallel_region() ? 1 : thread_count();
  threads.run = run_on_threads;
  return threads;
}

}  // namespace dcn
}  // namespace centernet

PYBIND11_MODULE(TORCH_EXTENSION_NAME, module) {
  module.def("forward", &forward);
  module.def("backward", &backward);
  module.def("columns_forward", [](const at::Tensor& input, const at::Tensor& offset, const at::Tensor& mask,
                                   const at::Tensor& weight, const at::Tensor& bias, const std::vector<int64_t>& sizes,
                                   bool wide) {
    const Shape s = shape_of(input, offset, mask, weight, sizes);
    return centernet::dcn::forward_by_columns(s, input, offset, mask, weight, bias, wide);
  });
  module.def("columns_backward", [](const at::Tensor& input, const at::Tensor& offset, const at::Tensor& mask,
                                    const at::Tensor& weight, const at::Tensor& grad_output,
                                    const std::vector<int64_t>& sizes, const std::vector<bool>& wanted, bool wide) {
    const Shape s = shape_of(input, offset, mask, weight, sizes);
    return to_python(centernet::dcn::backward_by_columns(s, input, offset, mask, weight, grad_output, wanted, wide));
  });
  module.def("plan_launch", [](const std::vector<int64_t>& sizes, int64_t images) {
    DCN_CHECK(sizes.size() == 6, "expected channels, height, width, out_height, out_width, taps");
    const Shape s = {images, sizes[0], sizes[1], sizes[2], 1, sizes[3], sizes[4], sizes[5], 1, 1, 1, 0, 0, 1, 1, 1, 1};
    const centernet::dcn::Launch plan = plan_launch(s, images, centernet::dcn::sampling_items(s, images));
    return std::vector<int64_t>{plan.items, plan.blocks, plan.threads, plan.narrow};
  });
  module.def("has_cuda", [] {
#ifdef DCN_CUDA
    return true;
#else
    return false;
#endif
  });
  module.def("why_no_cuda", []() -> std::string {
#ifdef DCN_WITHOUT_CUDA
    return DCN_WITHOUT_CUDA;
#else
    return "";
#endif
  });
  module.def("instruction_set", &centernet::dcn::instruction_set);
  module.def("choose_instruction_set", &centernet::dcn::choose_instruction_set);
  centernet::dcn::define_layers(module);
}
