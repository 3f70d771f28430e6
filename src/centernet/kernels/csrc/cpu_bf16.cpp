// Products of bfloat16 numbers for x86-64 processors with AVX512_BF16 (Cooper Lake, Sapphire Rapids, Zen 4 and later).
#include <string.h>

#include "layers.h"

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
#include "cpu_winograd.h"

namespace centernet {
namespace DCN_ISA {

typedef uint16_t Bf16;
template <> struct Vector<Bf16> { typedef __m512bh type; };

template <>
struct Factors<Bf16> {
  static const int64_t kDepth = 2;

  DCN_INLINE void add(Floats& sum, const Bf16* a, __m512bh b) {
    int32_t pair;
    __builtin_memcpy(&pair, a, sizeof pair);
    sum = (Floats)(_mm512_dpbf16_ps((__m512)(sum), (__m512bh)(_mm512_set1_epi32(pair)), b));
  }
  DCN_INLINE void keep(Bf16* to, Floats v) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), (__m256i)(_mm512_cvtneps_pbh((__m512)(v))));
  }
};

static void convert(const float* from, int64_t n, void* to) {
  Bf16* numbers = static_cast<Bf16*>(to);
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) Factors<Bf16>::keep(numbers + i, load<Floats>(from + i));
  if (i < n) {
    const __mmask16 rest = static_cast<__mmask16>((1u << (n - i)) - 1);
    _mm256_mask_storeu_epi16(numbers + i, rest,
                             (__m256i)(_mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(rest, from + i))));
  }
}

}  // namespace DCN_ISA
}  // namespace centernet
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC reset_options
#endif
#endif

namespace centernet {

const Products<float>* bf16_products() {
#if defined(DCN_BF16)
  static const Products<float> products = {2, 2, avx512_bf16::convert, avx512_bf16::multiply<avx512_bf16::Bf16, float>,
                                           avx512_bf16::winograd_input<avx512_bf16::Bf16>};
  unsigned a = 0, b = 0, c = 0, d = 0;
  const bool has = __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 5 & 1);
  return has && strcmp(instruction_set(), "avx512") == 0 ? &products : nullptr;
#else
  return nullptr;
#endif
}

}  // namespace centernet
