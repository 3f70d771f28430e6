// The operator for torch 1.0.0 and torch 2.x. centernet.kernels.arguments checks what Python passes.
#include "binding.h"

#if defined(DCN_CUDA)
#include <ATen/DeviceGuard.h>
#endif
#include <ATen/Parallel.h>

#include <string>

namespace centernet {

namespace {

#ifdef DCN_TORCH_2
int64_t thread_count() { return at::get_num_threads(); }
bool is_channels_last(const at::Tensor& tensor) {
  return !tensor.is_contiguous() && tensor.is_contiguous(at::MemoryFormat::ChannelsLast);
}
#else
int64_t thread_count() { return at::get_max_threads(); }
bool is_channels_last(const at::Tensor&) { return false; }
#endif

void run_on_threads(int64_t workers, Body body, void* context) {
  at::parallel_for(0, workers, 1, [&](int64_t first, int64_t last) {
    for (int64_t worker = first; worker < last; ++worker) body(context, worker);
  });
}

// sizes: out_height, out_width, stride, padding, dilation (vertical, horizontal each), groups, deformable groups
Shape shape_of(const at::Tensor& input, const at::Tensor& weight, const Sizes& sizes) {
  const Shape s = {input.size(0), input.size(1), input.size(2), input.size(3), weight.size(0), sizes[0], sizes[1],
                   weight.size(2), weight.size(3), sizes[2], sizes[3], sizes[4], sizes[5], sizes[6], sizes[7],
                   sizes[8], sizes[9]};
  check_places(s);
  return s;
}

// On a CPU. An empty bias is none.
at::Tensor run_forward(const at::Tensor& input, const at::Tensor& offset, const at::Tensor& mask, const at::Tensor& weight,
                       const at::Tensor& bias, const Sizes& sizes) {
  const Shape s = shape_of(input, weight, sizes);
  const Layout layout = is_channels_last(input) ? kChannelsLast : kChannelsFirst;
  const at::Tensor image = layout == kChannelsLast ? input.permute({0, 2, 3, 1}) : input.contiguous();
  const at::Tensor offsets = offset.contiguous(), masks = mask.contiguous(), weights = weight.contiguous();
  const at::Tensor biases = bias.contiguous();
  at::Tensor output = layout == kChannelsLast
                          ? at::empty({s.batch, s.out_height, s.out_width, s.out_channels}, input.options()).permute({0, 3, 1, 2})
                          : at::empty({s.batch, s.out_channels, s.out_height, s.out_width}, input.options());
  if (input.scalar_type() == at::kDouble) {
    forward<double>(s, data_of<double>(image), data_of<double>(offsets), data_of<double>(masks), data_of<double>(weights),
                    biases.numel() ? data_of<double>(biases) : nullptr, data_of<double>(output), layout, torch_threads());
  } else {
    forward<float>(s, data_of<float>(image), data_of<float>(offsets), data_of<float>(masks), data_of<float>(weights),
                   biases.numel() ? data_of<float>(biases) : nullptr, data_of<float>(output), layout, torch_threads());
  }
  return output;
}

#if defined(DCN_CUDA)
at::Tensor run_forward_on_gpu(const at::Tensor& input, const at::Tensor& offset, const at::Tensor& mask,
                              const at::Tensor& weight, const at::Tensor& bias, const Sizes& sizes) {
  const c10::DeviceGuard guard(input.device());
  return forward_by_columns(shape_of(input, weight, sizes), input, offset, mask, weight, bias);
}

// Gradients of input, offset, mask, weight and bias; None where `wanted` is false.
py::list run_backward(const at::Tensor& input, const at::Tensor& offset, const at::Tensor& mask, const at::Tensor& weight,
                      const at::Tensor& grad_output, const Sizes& sizes, const std::vector<bool>& wanted) {
  const c10::DeviceGuard guard(input.device());
  const Shape s = shape_of(input, weight, sizes);
  py::list list;
  for (const at::Tensor& tensor : backward_by_columns(s, input, offset, mask, weight, grad_output, wanted)) {
    list.append(tensor.defined() ? py::cast(tensor) : py::none());
  }
  return list;
}
#endif

}  // namespace

void check_places(const Shape& s) {
  const int64_t limit = INT32_MAX / 4, down = s.height + 2 * s.padding_height, across = s.width + 2 * s.padding_width;
  check(down <= limit && across <= limit && s.height <= limit / s.width, "one image has more than 2^29 pixels");
}

Threads torch_threads() { return {at::in_parallel_region() ? 1 : thread_count(), run_on_threads}; }

}  // namespace centernet

PYBIND11_MODULE(TORCH_EXTENSION_NAME, module) {
  module.def("forward", &centernet::run_forward);
#if defined(DCN_CUDA)
  module.def("forward_on_gpu", &centernet::run_forward_on_gpu);
  module.def("backward", &centernet::run_backward);
#define DCN_WITHOUT_CUDA ""
#endif
  module.def("why_no_cuda", [] { return std::string(DCN_WITHOUT_CUDA); });
  module.def("instruction_set", &centernet::instruction_set);
  module.def("choose_instruction_set", &centernet::choose_instruction_set);
  centernet::define_layers(module);
}
