// The kernels for x86-64 processors with AVX-512 (F, DQ, BW and VL: Skylake-SP, Zen 4 and later).
#if defined(__x86_64__)
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512dq,avx512bw,avx512vl,avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx512f,avx512dq,avx512bw,avx512vl,avx2,fma")
#endif
#define DCN_ISA avx512
#define DCN_VECTOR_BYTES 64
#define DCN_ROWS 12
#include "cpu_kernels.h"
#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
