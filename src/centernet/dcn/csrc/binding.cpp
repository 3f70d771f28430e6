// The operator for torch 1.0.0 and torch 2.x. Checks of shapes are in centernet.dcn.arguments; what would read or write out
// of bounds is checked again here.
#include <torch/extension.h>

#if defined(__has_include)
#if __has_include(<torch/version.h>)
#define DCN_TORCH_2 1
#endif
#endif

#include <ATen/Parallel.h>

#if defined(DCN_CUDA)
#include <ATen/DeviceGuard.h>
#if defined(DCN_TORCH_2)
#include <c10/cuda/CUDAStream.h>
using c10::cuda::getCurrentCUDAStream;
#else
#include <ATen/cuda/CUDAStream.h>
using at::cuda::getCurrentCUDAStream;
#endif
#endif

#include <algorithm>
#include <vector>

#include "columns_run.h"
#include "cpu.h"

namespace {

using centernet::dcn::ColumnData;
using centernet::dcn::Gradients;
using centernet::dcn::Kind;
using centernet::dcn::Layout;
using centernet::dcn::Shape;
using centernet::dcn::Threads;
using centernet::dcn::Work;

#ifdef DCN_TORCH_2
#define DCN_CHECK TORCH_CHECK
#define DCN_DISPATCH(tensor, name, ...) AT_DISPATCH_FLOATING_TYPES((tensor).scalar_type(), name, __VA_ARGS__)
template <typename T>
T* data_of(const at::Tensor& tensor) { return tensor.data_ptr<T>(); }
int64_t thread_count() { return at::get_num_threads(); }
at::ScalarType type_of(const at::Tensor& tensor) { return tensor.scalar_type(); }
#else
#define DCN_CHECK AT_CHECK
#define DCN_DISPATCH(tensor, name, ...) AT_DISPATCH_FLOATING_TYPES((tensor).type(), name, __VA_ARGS__)
template <typename T>
T* data_of(const at::Tensor& tensor) { return tensor.data<T>(); }
int64_t thread_count() { return at::get_max_threads(); }
at::ScalarType type_of(const at::Tensor& tensor) { return tensor.type().scalarType(); }
#endif

// torch's own threads: a second pool beside it would compete for the same cores.
void run_on_threads(int64_t workers, centernet::dcn::Body body, void* context) {
  at::parallel_for(0, workers, 1, [&](int64_t first, int64_t last) {
    for (int64_t worker = first; worker < last; ++worker) body(context, worker);
  });
}

Threads torch_threads() {
  Threads threads;
  threads.workers = at::in_parallel_region() ? 1 : thread_count();
  threads.run = run_on_threads;
  return threads;
}

// sizes: kernel, stride, padding, dilation (vertical, horizontal each), groups, deformable groups, out_height, out_width
Shape shape_of(const at::Tensor& input, const at::Tensor& offset, const at::Tensor& mask, const at::Tensor& weight,
               const std::vector<int64_t>& sizes) {
  DCN_CHECK(sizes.size() == 10, "expected 10 sizes, got ", sizes.size());
  DCN_CHECK(input.dim() == 4 && weight.dim() == 4 && offset.dim() == 4 && mask.dim() == 4, "expected 4 dimensions");
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

// --- By column matrices: on CUDA, and on the CPU for the tests ---

const int64_t kColumnBytes = 256 << 20;  // of the column matrices in memory at a time, unless one image needs more

void run_columns(Work work, const ColumnData& data, const at::Tensor& input, bool wide) {
  const at::ScalarType type = type_of(input);
  DCN_CHECK(type == at::kHalf || type == at::kFloat || type == at::kDouble, "expected float16, float32 or float64");
  const Kind kind = type == at::kHalf ? centernet::dcn::kFloat16 : type == at::kFloat ? centernet::dcn::kFloat32
                                                                                      : centernet::dcn::kFloat64;
  const char* error = nullptr;
  if (input.is_cuda()) {
#if defined(DCN_CUDA)
    cudaStream_t stream = getCurrentCUDAStream();
    error = centernet::dcn::run_on_cuda(work, kind, data, stream);
#else
    error = "built without CUDA";
#endif
  } else {
    error = centernet::dcn::run_on_host(work, kind, data, wide);
  }
  DCN_CHECK(error == nullptr, "deformable convolution: ", error ? error : "");
}

// The tensors of one call as column matrices see them, and the images that are taken at a time.
struct ColumnCall {
  Shape s;
  at::Tensor input, offset, mask, weight;  // weight: [groups, outputs of a group, channels of a group * taps]
  int64_t at_once;

  ColumnCall(const Shape& shape, const at::Tensor& in, const at::Tensor& offsets, const at::Tensor& masks, const at::Tensor& w)
      : s(shape), input(in.contiguous()), offset(offsets.contiguous()), mask(masks.contiguous()),
        weight(w.contiguous().view({s.groups, s.out_channels / s.groups, s.channels / s.groups * taps_of(s)})) {
    const int64_t bytes = s.channels * taps_of(s) * out_pixels_of(s) * (type_of(in) == at::kDouble ? 8 : 4);
    at_once = std::min(std::max<int64_t>(kColumnBytes / std::max<int64_t>(bytes, 1), 1), s.batch);
  }

  at::Tensor empty_columns() const {
    return at::empty({at_once, s.groups, s.channels / s.groups * taps_of(s), out_pixels_of(s)}, input.options());
  }

  // `count` images from `first` on, without any result.
  ColumnData data(int64_t first, int64_t count) const {
    ColumnData data = {s, count, input.narrow(0, first, count).data_ptr(), offset.narrow(0, first, count).data_ptr(),
                       mask.narrow(0, first, count).data_ptr(), nullptr, nullptr, nullptr, nullptr, nullptr};
    return data;
  }
};

at::Tensor columns_forward(const at::Tensor& input, const at::Tensor& offset, const at::Tensor& mask,
                           const at::Tensor& weight, const at::Tensor& bias, const std::vector<int64_t>& sizes, bool wide) {
  const Shape s = shape_of(input, offset, mask, weight, sizes);
  const at::Tensor output = at::empty({s.batch, s.out_channels, s.out_height, s.out_width}, input.options());
  if (s.batch == 0) return output;
  const ColumnCall call(s, input, offset, mask, weight);
  const at::Tensor columns = call.empty_columns();
  const at::Tensor products = output.view({s.batch, s.groups, s.out_channels / s.groups, out_pixels_of(s)});
  for (int64_t first = 0; first < s.batch; first += call.at_once) {
    const int64_t count = std::min(call.at_once, s.batch - first);
    ColumnData data = call.data(first, count);
    data.columns = columns.data_ptr();
    run_columns(centernet::dcn::kSample, data, input, wide);
    for (int64_t i = 0; i < count; ++i) {
      at::Tensor product = products[first + i];
      at::bmm_out(product, call.weight, columns[i]);
    }
  }
  return bias.numel() ? output + bias.view({1, s.out_channels, 1, 1}) : output;
}

std::vector<at::Tensor> columns_backward(const at::Tensor& input, const at::Tensor& offset, const at::Tensor& mask,
                                         const at::Tensor& weight, const at::Tensor& grad_output,
                                         const std::vector<int64_t>& sizes, const std::vector<bool>& wanted, bool wide) {
  const Shape s = shape_of(input, offset, mask, weight, sizes);
  std::vector<at::Tensor> results(5);
  const ColumnCall call(s, input, offset, mask, weight);
  // float16 is summed up in float32
  const at::TensorOptions sums = type_of(input) == at::kHalf ? input.options().dtype(at::kFloat) : input.options();
  const at::Tensor grads = grad_output.contiguous().view({s.batch, s.groups, s.out_channels / s.groups, out_pixels_of(s)});
  at::Tensor grad_input, grad_weight;
  if (wanted[0]) grad_input = at::zeros(call.input.sizes(), sums);
  if (wanted[1]) results[1] = at::empty(call.offset.sizes(), call.offset.options());
  if (wanted[2]) results[2] = at::empty(call.mask.sizes(), call.mask.options());
  if (wanted[3]) grad_weight = at::zeros(call.weight.sizes(), sums);
  if (wanted[4]) results[4] = grad_output.sum(3).sum(2).sum(0);
  const bool positions = wanted[1] || wanted[2];
  const at::Tensor transposed = call.weight.transpose(1, 2);
  at::Tensor columns;
  if (s.batch && (wanted[0] || positions || wanted[3])) columns = call.empty_columns();
  for (int64_t first = 0; columns.defined() && first < s.batch; first += call.at_once) {
    const int64_t count = std::min(call.at_once, s.batch - first);
    ColumnData data = call.data(first, count);
    if (wanted[3]) {
      data.columns = columns.data_ptr();
      run_columns(centernet::dcn::kSample, data, input, wide);
      for (int64_t i = 0; i < count; ++i) {
        grad_weight += at::bmm(grads[first + i], columns[i].transpose(1, 2)).to(type_of(grad_weight));
      }
    }
    if (!wanted[0] && !positions) continue;
    for (int64_t i = 0; i < count; ++i) {
      at::Tensor product = columns[i];
      at::bmm_out(product, transposed, grads[first + i]);
    }
    data.grad_columns = columns.data_ptr();
    if (positions) {
      if (wanted[1]) data.grad_offset = results[1].narrow(0, first, count).data_ptr();
      if (wanted[2]) data.grad_mask = results[2].narrow(0, first, count).data_ptr();
      run_columns(centernet::dcn::kPositionGradients, data, input, wide);
    }
    if (wanted[0]) {
      data.grad_input = grad_input.narrow(0, first, count).data_ptr();
      run_columns(centernet::dcn::kScatter, data, input, wide);
    }
  }
  if (wanted[0]) results[0] = grad_input.to(type_of(input));
  if (wanted[3]) results[3] = grad_weight.to(type_of(input)).view(weight.sizes());
  return results;
}

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
#if defined(DCN_CUDA)
  if (input.is_cuda()) {
    const c10::DeviceGuard guard(input.device());
    return columns_forward(input, offset, mask, weight, bias, sizes, false);
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
                grad_output.size(2) == s.out_height && grad_output.size(3) == s.out_width,
            "grad_output does not fit the output");
#if defined(DCN_CUDA)
  if (input.is_cuda()) {
    const c10::DeviceGuard guard(input.device());
    return to_python(columns_backward(input, offset, mask, weight, grad_output, sizes, wanted, false));
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

PYBIND11_MODULE(TORCH_EXTENSION_NAME, module) {
  module.def("forward", &forward);
  module.def("backward", &backward);
  module.def("columns_forward", &columns_forward);
  module.def("columns_backward", [](const at::Tensor& input, const at::Tensor& offset, const at::Tensor& mask,
                                    const at::Tensor& weight, const at::Tensor& grad_output,
                                    const std::vector<int64_t>& sizes, const std::vector<bool>& wanted, bool wide) {
    return to_python(columns_backward(input, offset, mask, weight, grad_output, sizes, wanted, wide));
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
}
