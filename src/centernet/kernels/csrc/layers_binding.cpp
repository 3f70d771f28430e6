// The layers of a fused network, for centernet.kernels.layers, which works out the sizes. What images of another shape, or weights
// for another instruction set, would read or write out of bounds is checked here.
#include "binding.h"

#include "layers.h"

namespace centernet {

namespace {

void check_image(const at::Tensor& image, int64_t channels) {
  check(!image.is_cuda() && image.scalar_type() == at::kFloat && image.is_contiguous() && image.dim() == 4 &&
            image.size(3) == channels,
        "a layer takes contiguous float32 images on the CPU, with as many channels as its weights");
}

// sizes: out_height, out_width, out_channels, kernel_height, kernel_width, stride, padding_top, padding_left
Window window_of(const at::Tensor& input, const Sizes& sizes) {
  check(input.dim() == 4 && input.size(1) > 0 && input.size(2) > 0 && sizes[0] > 0 && sizes[1] > 0,
        "the image is too small for this layer");
  return {input.size(0), input.size(1), input.size(2), input.size(3), sizes[0], sizes[1],
          sizes[2],      sizes[3],      sizes[4],      sizes[5],      sizes[6], sizes[7]};
}

// place: step, first_y, first_x. An empty residual is none.
Finish finish_of(const at::Tensor& residual, bool relu, const at::Tensor& output, const Sizes& place) {
  if (residual.numel()) {
    check_image(residual, output.size(3));
    check(residual.sizes() == output.sizes(), "the images that are added differ in shape");
  }
  return {residual.numel() ? data_of<float>(residual) : nullptr, relu, data_of<float>(output), output.size(1), output.size(2),
          place[0], place[1], place[2]};
}

const float* packed_for(const at::Tensor& input, const at::Tensor& packed, const Window& w) {
  check(packed.numel() == packed_size(w, packed_method(data_of<float>(packed))), "the weights are packed for other channels");
  check_image(input, w.channels);
  return data_of<float>(packed);
}

at::Tensor pack(const at::Tensor& weight, const at::Tensor& bias, bool winograd, bool bf16, int64_t stride) {
  const Window w = {1, 1, 1, weight.size(1), 1, 1, weight.size(0), weight.size(2), weight.size(3), stride, 0, 0};
  const Method method = {winograd, bf16};
  at::Tensor packed = at::empty({packed_size(w, method)}, weight.options());
  pack_convolution(w, method, data_of<float>(weight), data_of<float>(bias), data_of<float>(packed), torch_threads());
  return packed;
}

void run_convolve(const at::Tensor& input, const at::Tensor& packed, const at::Tensor& residual, bool relu,
                  const at::Tensor& output, const Sizes& sizes, const Sizes& place) {
  const Window w = window_of(input, sizes);
  convolve(w, data_of<float>(input), packed_for(input, packed, w), finish_of(residual, relu, output, place), torch_threads());
}

void run_deform(const at::Tensor& input, const at::Tensor& predicted, const at::Tensor& packed, bool relu,
                const at::Tensor& output, const Sizes& sizes, int64_t dilation, int64_t deformable_groups) {
  const Window w = window_of(input, sizes);
  const Shape s = {w.batch, w.channels, w.height, w.width, w.out_channels, w.out_height, w.out_width, w.kernel_height,
                   w.kernel_width, w.stride, w.stride, w.padding_top, w.padding_left, dilation, dilation, 1,
                   deformable_groups};
  check_places(s);
  check_image(predicted, 3 * deformable_groups * taps_of(s));
  check(predicted.size(0) == w.batch, "offsets and image differ in batch");
  deform(s, data_of<float>(input), data_of<float>(predicted), packed_for(input, packed, w),
         finish_of(input.narrow(0, 0, 0), relu, output, {1, 0, 0}), torch_threads());
}

void run_spread(const at::Tensor& input, const at::Tensor& weight, const at::Tensor& residual, bool relu,
                const at::Tensor& output, const Sizes& sizes) {
  check_image(input, weight.size(2));
  spread(window_of(input, sizes), data_of<float>(input), data_of<float>(weight), finish_of(residual, relu, output, {1, 0, 0}),
         torch_threads());
}

void run_max_pool(const at::Tensor& input, const at::Tensor& output, const Sizes& sizes) {
  check_image(input, output.size(3));
  max_pool(window_of(input, sizes), data_of<float>(input), data_of<float>(output), torch_threads());
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

}  // namespace centernet
