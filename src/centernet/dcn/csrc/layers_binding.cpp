// The layers of a prepared network, for centernet.models.prepare. Tensors are float32 on the CPU, [batch, height, width,
// channels]; what would read or write out of bounds is checked here.
#include "binding.h"

#include <vector>

#include "layers_kernels.h"
#include "tensor.h"

namespace centernet {
namespace dcn {

namespace {

typedef std::vector<int64_t> Sizes;

void check_tensor(const at::Tensor& tensor, int64_t dimensions, const char* name) {
  DCN_CHECK(!tensor.is_cuda() && type_of(tensor) == at::kFloat && tensor.is_contiguous() && tensor.dim() == dimensions, name,
            " must be contiguous float32 numbers on the CPU with ", dimensions, " dimensions");
}

// sizes: out_height, out_width, out_channels, kernel_height, kernel_width, stride, padding_top, padding_left
Window window_of(const at::Tensor& input, const Sizes& sizes) {
  check_tensor(input, 4, "the input");
  DCN_CHECK(sizes.size() == 8, "expected 8 sizes, got ", sizes.size());
  const Window w = {input.size(0), input.size(1), input.size(2), input.size(3), sizes[0], sizes[1],
                    sizes[2],      sizes[3],      sizes[4],      sizes[5],      sizes[6], sizes[7]};
  for (int64_t size : {w.height, w.width, w.channels, w.out_height, w.out_width, w.out_channels, w.kernel_height,
                       w.kernel_width, w.stride}) {
    DCN_CHECK(size > 0, "only the batch may be empty");
  }
  DCN_CHECK(w.padding_top >= 0 && w.padding_left >= 0 && w.padding_top < w.kernel_height && w.padding_left < w.kernel_width,
            "the padding must be smaller than the kernel");
  return w;
}

// place: step, first_y, first_x
Finish finish_of(const Window& w, const at::Tensor& residual, bool relu, const Sizes& place, const at::Tensor& output) {
  check_tensor(output, 4, "the output");
  DCN_CHECK(place.size() == 3 && place[0] > 0 && place[1] >= 0 && place[2] >= 0, "step, first_y and first_x are invalid");
  const int64_t below = output.size(1) - 1 - place[1], right = output.size(2) - 1 - place[2];
  DCN_CHECK(output.size(0) == w.batch && output.size(3) == w.out_channels && below >= 0 && right >= 0 &&
                w.out_height - 1 <= below / place[0] && w.out_width - 1 <= right / place[0],
            "the output has the wrong shape");
  if (residual.numel()) {
    check_tensor(residual, 4, "the residual");
    DCN_CHECK(residual.sizes() == output.sizes(), "the residual must have the shape of the output");
  }
  const Finish finish = {residual.numel() ? data_of<float>(residual) : nullptr, relu, data_of<float>(output), output.size(1),
                         output.size(2), place[0], place[1], place[2]};
  return finish;
}

at::Tensor pack(const at::Tensor& weight, const at::Tensor& bias, bool winograd, bool bf16, int64_t stride) {
  check_tensor(weight, 4, "the weight");
  check_tensor(bias, 1, "the bias");
  DCN_CHECK(bias.numel() == weight.size(0), "the bias does not fit the weight");
  const Window w = {1, 1, 1, weight.size(1), 1, 1, weight.size(0), weight.size(2), weight.size(3), stride, 0, 0};
  const Method method = {winograd, bf16};
  DCN_CHECK(has_method(w, method), "this method does not fit the convolution");
  at::Tensor packed = at::empty({packed_size(w, method)}, weight.options());
  pack_convolution(w, method, data_of<float>(weight), data_of<float>(bias), data_of<float>(packed), torch_threads());
  return packed;
}

// Whether the windows of all output pixels begin inside the image, or its padding: sizes are then too small to overflow.
void check_windows(const Window& w) {
  DCN_CHECK(w.out_height - 1 <= (w.height + w.padding_top - 1) / w.stride &&
                w.out_width - 1 <= (w.width + w.padding_left - 1) / w.stride && w.stride <= INT32_MAX,
            "a window lies outside the image");
}

void check_packed(const at::Tensor& packed, const Window& w, bool may_be_winograd) {
  check_tensor(packed, 1, "the packed weights");
  bool fits = packed.numel() >= 3;
  if (fits) {
    const Method method = packed_method(data_of<float>(packed));
    fits = (may_be_winograd || !method.winograd) && has_method(w, method) && packed.numel() == packed_size(w, method);
  }
  DCN_CHECK(fits, "the packed weights do not fit the convolution");
}

void run_convolve(const at::Tensor& input, const at::Tensor& packed, const at::Tensor& residual, bool relu,
                  const at::Tensor& output, const Sizes& sizes, const Sizes& place) {
  const Window w = window_of(input, sizes);
  check_windows(w);
  check_packed(packed, w, true);
  convolve(w, data_of<float>(input), data_of<float>(packed), finish_of(w, residual, relu, place, output), torch_threads());
}

void run_deform(const at::Tensor& input, const at::Tensor& predicted, const at::Tensor& packed, bool relu,
                const at::Tensor& output, const Sizes& sizes, int64_t dilation, int64_t deformable_groups) {
  const Window w = window_of(input, sizes);
  check_windows(w);
  check_packed(packed, w, false);
  check_tensor(predicted, 4, "the offsets and masks");
  DCN_CHECK(dilation > 0 && deformable_groups > 0 && w.channels % deformable_groups == 0, "groups do not fit the channels");
  const Shape s = {w.batch, w.channels, w.height, w.width, w.out_channels, w.out_height, w.out_width, w.kernel_height,
                   w.kernel_width, w.stride, w.stride, w.padding_top, w.padding_left, dilation, dilation, 1,
                   deformable_groups};
  DCN_CHECK(predicted.size(0) == w.batch && predicted.size(1) == w.out_height && predicted.size(2) == w.out_width &&
                predicted.size(3) == 3 * deformable_groups * taps_of(s),
            "the offsets and masks do not fit the output");
  const int64_t limit = INT32_MAX / 4;
  DCN_CHECK(w.height <= limit / w.width && w.out_height <= limit / w.stride && w.out_width <= limit / w.stride &&
                dilation <= limit / (w.kernel_height + w.kernel_width),
            "one image has more than 2^29 pixels");
  deform(s, data_of<float>(input), data_of<float>(predicted), data_of<float>(packed),
         finish_of(w, at::empty({0}, input.options()), relu, {1, 0, 0}, output), torch_threads());
}

void run_spread(const at::Tensor& input, const at::Tensor& weight, const at::Tensor& residual, bool relu,
                const at::Tensor& output, const Sizes& sizes) {
  const Window w = window_of(input, sizes);
  check_tensor(weight, 3, "the weight");
  DCN_CHECK(weight.size(0) == w.kernel_height && weight.size(1) == w.kernel_width && weight.size(2) == w.channels &&
                w.out_channels == w.channels,
            "the weight does not fit the channels");
  spread(w, data_of<float>(input), data_of<float>(weight), finish_of(w, residual, relu, {1, 0, 0}, output), torch_threads());
}

void run_max_pool(const at::Tensor& input, const at::Tensor& output, const Sizes& sizes) {
  const Window w = window_of(input, sizes);
  check_windows(w);
  DCN_CHECK(w.out_channels == w.channels, "pooling keeps the channels");
  max_pool(w, data_of<float>(input), finish_of(w, at::empty({0}, input.options()), false, {1, 0, 0}, output).output,
           torch_threads());
}

}  // namespace

void define_layers(py::module& module) {
  module.def("pack", &pack);
  module.def("convolve", &run_convolve);
  module.def("deform", &run_deform);
  module.def("spread", &run_spread);
  module.def("max_pool", &run_max_pool);
  module.def("has_method", [](int64_t channels, int64_t kernel_height, int64_t kernel_width, int64_t stride, bool winograd,
                              bool bf16) {
    const Window w = {1, 1, 1, channels, 1, 1, 1, kernel_height, kernel_width, stride, 0, 0};
    return has_method(w, Method{winograd, bf16});
  });
  module.def("has_bf16", [] { return bf16_products() != nullptr; });
}

}  // namespace dcn
}  // namespace centernet
