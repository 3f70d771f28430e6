// The CUDA kernels' arithmetic on the CPU, in the launch's own order of blocks and threads: slow, and for the tests.
#include "columns.h"

namespace centernet {
namespace dcn {

namespace {

struct PlainAdder {
  template <typename A>
  static void add(A* to, A value) { *to += value; }
};

template <template <typename> class W, typename I, typename T>
void run_blocks(const Columns<T>& columns, const Launch& plan) {
  const I items = static_cast<I>(plan.items), step = static_cast<I>(plan.blocks) * static_cast<I>(plan.threads);
  for (I block = 0; block < plan.blocks; ++block) {
    for (I thread = 0; thread < plan.threads; ++thread) {
      for (I i = block * plan.threads + thread; i < items; i += step) {
        W<PlainAdder>::template item<I, T>(columns, i);
      }
    }
  }
}

template <typename I, typename T>
void run(Work work, const ColumnData& data, const Launch& plan) {
  const Columns<T> columns = typed_columns<T>(data);
  if (work == kSample) {
    run_blocks<SampleWork, I, T>(columns, plan);
  } else if (work == kPositionGradients) {
    run_blocks<PositionGradientWork, I, T>(columns, plan);
  } else {
    run_blocks<ScatterWork, I, T>(columns, plan);
  }
}

}  // namespace

const char* run_on_host(Work work, Kind kind, const ColumnData& data, bool wide) {
  const Launch plan = plan_launch(data.shape, data.images, items_of(work, data.shape, data.images));
  if (kind == kFloat16) return "float16 is for CUDA";
  const bool narrow = plan.narrow && !wide;
  if (kind == kFloat32) {
    narrow ? run<int32_t, float>(work, data, plan) : run<int64_t, float>(work, data, plan);
  } else {
    narrow ? run<int32_t, double>(work, data, plan) : run<int64_t, double>(work, data, plan);
  }
  return nullptr;
}

}  // namespace dcn
}  // namespace centernet
