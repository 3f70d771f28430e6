// Products of bfloat16 numbers for x86-64 processors with AVX512_BF16 (Cooper Lake, Sapphire Rapids, Zen 4 and later).
#include <string.h>

#include "layers_kernels.h"

#if defined(__x86_64__) && (defined(__clang__) || __GNUC__ >= 10)
#define DCN_BF16
#include <cpuid.h>
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512bf16,avx512f,avx512dq,avx512bw,avx512vl,avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx512bf16,avx512f,avx512dq,avx512bw,avx512vl,avx2,fma")
#endif
#include <immintrin.h>
#define DCN_ISA avx512_bf16
#define DCN_VECTOR_BYTES 64
#define DCN_ROWS 12
#include "cpu_product.h"

namespace centernet {
namespace dcn {
namespace DCN_ISA {

typedef uint16_t Bf16;

DCN_INLINE void store_factors(Bf16* to, Floats v) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), (__m256i)(_mm512_cvtneps_pbh((__m512)(v))));
}

}  // namespace DCN_ISA
}  // namespace dcn
}  // namespace centernet

#include "cpu_winograd.h"

namespace centernet {
namespace dcn {
namespace DCN_ISA {

static void convert(const float* from, int64_t n, void* to) {
  Bf16* numbers = static_cast<Bf16*>(to);
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) store_factors(numbers + i, load<Floats>(from + i));
  if (i < n) {
    const __mmask16 rest = static_cast<__mmask16>((1u << (n - i)) - 1);
    _mm256_mask_storeu_epi16(numbers + i, rest,
                             (__m256i)(_mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(rest, from + i))));
  }
}

template <int Rows, int Panels>
DCN_INLINE void multiply_block(int64_t pairs, const Bf16* a, int64_t a_row, const Bf16* b, const float* start,
                               int64_t start_stride, float* c, int64_t c_stride) {
  __m512 sums[Rows][Panels];
#pragma GCC unroll 12
  for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 2
    for (int p = 0; p < Panels; ++p) sums[r][p] = _mm512_loadu_ps(start + r * start_stride + 16 * p);
  }
  for (int64_t k = 0; k < pairs; ++k) {
    __m512bh values[Panels];
#pragma GCC unroll 2
    for (int p = 0; p < Panels; ++p) values[p] = (__m512bh)(_mm512_loadu_si512(b + 32 * p));
#pragma GCC unroll 12
    for (int r = 0; r < Rows; ++r) {
      int32_t pair;
      __builtin_memcpy(&pair, a + r * a_row, sizeof pair);
      const __m512bh factor = (__m512bh)(_mm512_set1_epi32(pair));
#pragma GCC unroll 2
      for (int p = 0; p < Panels; ++p) sums[r][p] = _mm512_dpbf16_ps(sums[r][p], factor, values[p]);
    }
    a += 2;
    b += 32 * Panels;
  }
#pragma GCC unroll 12
  for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 2
    for (int p = 0; p < Panels; ++p) _mm512_storeu_ps(c + r * c_stride + 16 * p, sums[r][p]);
  }
}

template <int Panels>
static void multiply_panel(int64_t rows, int64_t pairs, const Bf16* a, int64_t a_row, const Bf16* b, const float* start,
                           int64_t start_stride, float* c, int64_t c_stride) {
  for (; rows >= DCN_ROWS; rows -= DCN_ROWS) {
    multiply_block<DCN_ROWS, Panels>(pairs, a, a_row, b, start, start_stride, c, c_stride);
    a += DCN_ROWS * a_row;
    start += DCN_ROWS * start_stride;
    c += DCN_ROWS * c_stride;
  }
  if (rows > DCN_ROWS / 3) {
    multiply_block<DCN_ROWS / 3 * 2, Panels>(pairs, a, a_row, b, start, start_stride, c, c_stride);
  } else if (rows > 0) {
    multiply_block<DCN_ROWS / 3, Panels>(pairs, a, a_row, b, start, start_stride, c, c_stride);
  }
}

static void multiply_factors(int64_t rows, int64_t width, int64_t depth, const void* a, int64_t a_row, const void* b,
                             const float* start, int64_t start_stride, float* c, int64_t c_stride) {
  const Bf16 *factors = static_cast<const Bf16*>(a), *values = static_cast<const Bf16*>(b);
  for (int64_t j = 0; j < width; j += 32) {
    if (width - j >= 32) {
      multiply_panel<2>(rows, depth / 2, factors, a_row, values + j * depth, start + j, start_stride, c + j, c_stride);
    } else {
      multiply_panel<1>(rows, depth / 2, factors, a_row, values + j * depth, start + j, start_stride, c + j, c_stride);
    }
  }
}

}  // namespace DCN_ISA
}  // namespace dcn
}  // namespace centernet
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC reset_options
#endif
#endif

namespace centernet {
namespace dcn {

const Products* bf16_products() {
#if defined(DCN_BF16)
  static const Products products = {2, 2, avx512_bf16::convert, avx512_bf16::multiply_factors,
                                    avx512_bf16::winograd_input<avx512_bf16::Bf16>};
  unsigned a = 0, b = 0, c = 0, d = 0;
  const bool has = __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 5 & 1);
  return has && strcmp(instruction_set(), "avx512") == 0 ? &products : nullptr;
#else
  return nullptr;
#endif
}

}  // namespace dcn
}  // namespace centernet
