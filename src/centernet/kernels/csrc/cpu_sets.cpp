// The choice of the instruction set.
#include <string.h>

#include "cpu_common.h"
#include "layers.h"

namespace centernet {

namespace {

// 0: plain, 1: AVX2, 2: AVX-512; -1: not chosen yet.
std::atomic<int> chosen_set(-1);
const char* const kSetNames[] = {"plain", "avx2", "avx512"};

bool processor_has(int set) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (set == 1) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (set == 2) {
    return processor_has(1) && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
  }
#endif
  return set == 0;
}

int selected_set() {
  if (chosen_set < 0) chosen_set = processor_has(2) ? 2 : processor_has(1) ? 1 : 0;
  return chosen_set;
}

}  // namespace

#if defined(__x86_64__)
#define DCN_SELECTED(function) \
  (selected_set() == 2 ? avx512::function : selected_set() == 1 ? avx2::function : plain::function)
#else
#define DCN_SELECTED(function) plain::function
#endif

template <>
const Kernels<float>& selected_kernels<float>() { return DCN_SELECTED(kernels(0.f)); }
template <>
const Kernels<double>& selected_kernels<double>() { return DCN_SELECTED(kernels(0.0)); }
const LayerKernels& selected_layer_kernels() { return DCN_SELECTED(layer_kernels()); }

const char* instruction_set() { return kSetNames[selected_set()]; }

bool choose_instruction_set(const char* name) {
  for (int set = 0; set < 3; ++set) {
    if (strcmp(name, kSetNames[set]) == 0 && processor_has(set)) {
      chosen_set = set;
      return true;
    }
  }
  return false;
}

}  // namespace centernet
