// The kernels of the CPU implementation, written once with the compiler's vector types and compiled once per instruction
// set: cpu_plain.cpp, cpu_avx2.cpp and cpu_avx512.cpp set DCN_ISA (a namespace), DCN_VECTOR_BYTES and DCN_ROWS and include
// this file. It must call nothing from the standard library: an inline function that is instantiated here could become the
// one copy that the linker keeps, and fail on a processor without the instructions.
#include "cpu_product.h"
#include "cpu_sampling.h"
#include "cpu_layers.h"

namespace centernet {
namespace DCN_ISA {

const Kernels<float>& kernels(float) {
  static const Kernels<float> kernels = {lanes<float>(), DCN_ROWS, transpose<float>, locate<float>, sample<float>,
                                         {4, 1, copy_factors<float>, multiply<float, float>, winograd_input<float>}, pack<float>};
  return kernels;
}

const Kernels<double>& kernels(double) {
  static const Kernels<double> kernels = {lanes<double>(), DCN_ROWS, transpose<double>, locate<double>, sample<double>,
                                          {8, 1, copy_factors<double>, multiply<double, double>, nullptr}, pack<double>};
  return kernels;
}

}  // namespace DCN_ISA
}  // namespace centernet
