// The kernels of the CPU implementation, written once with the compiler's vector types and compiled once per instruction
// set: cpu_plain.cpp, cpu_avx2.cpp and cpu_avx512.cpp set DCN_ISA (a namespace), DCN_VECTOR_BYTES and DCN_ROWS and include
// this file. It must call nothing from the standard library: an inline function that is instantiated here could become the
// one copy that the linker keeps, and fail on a processor without the instructions.
#include "cpu_product.h"
#include "cpu_sampling.h"
#include "cpu_layers.h"

#define DCN_NAME_OF(isa) #isa
#define DCN_NAME(isa) DCN_NAME_OF(isa)

namespace centernet {
namespace dcn {
namespace DCN_ISA {

template <typename T>
static const Kernels<T>& table() {
  static const Kernels<T> kernels = {DCN_NAME(DCN_ISA), lanes<T>(),         DCN_ROWS, transpose<T>, locate<T>, sample<T>,
                                     multiply<T>,       pack<T>, position_gradients<T>, scatter<T>};
  return kernels;
}

const Kernels<float>& kernels(float) { return table<float>(); }
const Kernels<double>& kernels(double) { return table<double>(); }

}  // namespace DCN_ISA
}  // namespace dcn
}  // namespace centernet
