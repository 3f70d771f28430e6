// Part of cpu_kernels.h (and cpu_bf16.cpp): the matrix product and the layouts it needs.
#pragma once

#include "cpu.h"

#define DCN_INLINE static inline __attribute__((always_inline))

namespace centernet {
namespace DCN_ISA {

typedef float Float4 __attribute__((vector_size(16)));
typedef float Floats __attribute__((vector_size(DCN_VECTOR_BYTES)));
typedef double Doubles __attribute__((vector_size(DCN_VECTOR_BYTES)));
template <typename T> struct Vector;
template <> struct Vector<float> { typedef Floats type; };
template <> struct Vector<double> { typedef Doubles type; };


template <typename T>
DCN_INLINE constexpr int64_t lanes() { return DCN_VECTOR_BYTES / sizeof(T); }

template <typename V, typename T>
DCN_INLINE V load(const T* from) {
  V v;
  __builtin_memcpy(&v, from, sizeof v);
  return v;
}

template <typename V, typename T>
DCN_INLINE void store(T* to, V v) {
  __builtin_memcpy(to, &v, sizeof v);
}

// What a product multiplies: numbers as they are. cpu_bf16.cpp has bfloat16.
template <typename F>
struct Factors {
  typedef typename Vector<F>::type V;
  static const int64_t kDepth = 1;  // of the product, that one add() takes

  DCN_INLINE void add(V& sum, const F* a, V b) { sum += *a * b; }
  DCN_INLINE void keep(F* to, V v) { store(to, v); }
};

// --- The matrix product. A block of Rows x Panels vectors stays in registers while the depth runs by. Blocks are built by
// --- recursion, because not every compiler keeps an array of vectors in registers.

template <typename T, int Panels>
struct Row {
  typedef typename Vector<T>::type V;
  Row<T, Panels - 1> before;
  V last;

  DCN_INLINE void read(Row& r, const T* from) {
    Row<T, Panels - 1>::read(r.before, from);
    r.last = load<V>(from + (Panels - 1) * lanes<T>());
  }
  DCN_INLINE void write(const Row& r, T* to) {
    Row<T, Panels - 1>::write(r.before, to);
    store(to + (Panels - 1) * lanes<T>(), r.last);
  }
  template <typename F>
  DCN_INLINE void add(Row& r, const F* a, const Row<F, Panels>& b) {
    Row<T, Panels - 1>::add(r.before, a, b.before);
    Factors<F>::add(r.last, a, b.last);
  }
};

template <typename T>
struct Row<T, 0> {
  DCN_INLINE void read(Row&, const T*) {}
  DCN_INLINE void write(const Row&, T*) {}
  template <typename F>
  DCN_INLINE void add(Row&, const F*, const Row<F, 0>&) {}
};

template <typename T, int Rows, int Panels>
struct Block {
  Block<T, Rows - 1, Panels> above;
  Row<T, Panels> row;

  DCN_INLINE void read(Block& block, const T* from, int64_t stride) {
    Block<T, Rows - 1, Panels>::read(block.above, from, stride);
    Row<T, Panels>::read(block.row, from + (Rows - 1) * stride);
  }
  DCN_INLINE void write(const Block& block, T* to, int64_t stride) {
    Block<T, Rows - 1, Panels>::write(block.above, to, stride);
    Row<T, Panels>::write(block.row, to + (Rows - 1) * stride);
  }
  template <typename F>
  DCN_INLINE void step(Block& block, const F* a, int64_t stride, const Row<F, Panels>& b) {
    Block<T, Rows - 1, Panels>::step(block.above, a, stride, b);
    Row<T, Panels>::add(block.row, a + (Rows - 1) * stride, b);
  }
};

template <typename T, int Panels>
struct Block<T, 0, Panels> {
  DCN_INLINE void read(Block&, const T*, int64_t) {}
  DCN_INLINE void write(const Block&, T*, int64_t) {}
  template <typename F>
  DCN_INLINE void step(Block&, const F*, int64_t, const Row<F, Panels>&) {}
};

template <int Rows, int Panels, typename F, typename T>
DCN_INLINE void multiply_block(int64_t depth, const F* a, int64_t a_row, const F* b, const T* start, int64_t start_stride,
                               T* c, int64_t c_stride) {
  typedef Block<T, Rows, Panels> B;
  B block;
  B::read(block, start, start_stride);
  for (int64_t k = 0; k < depth; k += Factors<F>::kDepth) {
    Row<F, Panels> row;
    Row<F, Panels>::read(row, b);
    B::step(block, a, a_row, row);
    a += Factors<F>::kDepth;
    b += Panels * lanes<F>();
  }
  B::write(block, c, c_stride);
}

// Not inlined: in a larger function, g++ does not keep the blocks in registers.
template <int Panels, typename F, typename T>
static __attribute__((noinline)) void multiply_panel(int64_t rows, int64_t depth, const F* a, int64_t a_row, const F* b,
                                                     const T* start, int64_t start_stride, T* c, int64_t c_stride) {
  for (; rows >= DCN_ROWS; rows -= DCN_ROWS) {
    multiply_block<DCN_ROWS, Panels>(depth, a, a_row, b, start, start_stride, c, c_stride);
    a += DCN_ROWS * a_row;
    start += DCN_ROWS * start_stride;
    c += DCN_ROWS * c_stride;
  }
  if (rows > DCN_ROWS / 3) {
    multiply_block<DCN_ROWS / 3 * 2, Panels>(depth, a, a_row, b, start, start_stride, c, c_stride);
  } else if (rows > 0) {
    multiply_block<DCN_ROWS / 3, Panels>(depth, a, a_row, b, start, start_stride, c, c_stride);
  }
}

template <typename F, typename T>
static void multiply(int64_t rows, int64_t columns, int64_t depth, const void* a, int64_t a_row, const void* b, const T* start,
                     int64_t start_stride, T* c, int64_t c_stride) {
  const int64_t panel = 2 * lanes<T>();
  for (int64_t j = 0; j < columns; j += panel) {
    (columns - j >= panel ? multiply_panel<2, F, T> : multiply_panel<1, F, T>)(
        rows, depth, static_cast<const F*>(a), a_row, static_cast<const F*>(b) + j * depth, start + j, start_stride, c + j,
        c_stride);
  }
}

template <typename T>
static void copy_factors(const T* from, int64_t n, void* to) { __builtin_memcpy(to, from, n * sizeof(T)); }

// --- Transposition ---

DCN_INLINE void transpose4(const float* from, int64_t stride, float* to0, float* to1, float* to2, float* to3) {
  const Float4 a = load<Float4>(from), b = load<Float4>(from + stride);
  const Float4 c = load<Float4>(from + 2 * stride), d = load<Float4>(from + 3 * stride);
#if defined(__clang__)
  const Float4 ab_low = __builtin_shufflevector(a, b, 0, 4, 1, 5), ab_high = __builtin_shufflevector(a, b, 2, 6, 3, 7);
  const Float4 cd_low = __builtin_shufflevector(c, d, 0, 4, 1, 5), cd_high = __builtin_shufflevector(c, d, 2, 6, 3, 7);
  store(to0, __builtin_shufflevector(ab_low, cd_low, 0, 1, 4, 5));
  store(to1, __builtin_shufflevector(ab_low, cd_low, 2, 3, 6, 7));
  store(to2, __builtin_shufflevector(ab_high, cd_high, 0, 1, 4, 5));
  store(to3, __builtin_shufflevector(ab_high, cd_high, 2, 3, 6, 7));
#else
  typedef int Int4 __attribute__((vector_size(16)));
  const Int4 low = {0, 4, 1, 5}, high = {2, 6, 3, 7}, first = {0, 1, 4, 5}, second = {2, 3, 6, 7};
  const Float4 ab_low = __builtin_shuffle(a, b, low), ab_high = __builtin_shuffle(a, b, high);
  const Float4 cd_low = __builtin_shuffle(c, d, low), cd_high = __builtin_shuffle(c, d, high);
  store(to0, __builtin_shuffle(ab_low, cd_low, first));
  store(to1, __builtin_shuffle(ab_low, cd_low, second));
  store(to2, __builtin_shuffle(ab_high, cd_high, first));
  store(to3, __builtin_shuffle(ab_high, cd_high, second));
#endif
}

DCN_INLINE void transpose4(const double* from, int64_t stride, double* to0, double* to1, double* to2, double* to3) {
  for (int i = 0; i < 4; ++i) {
    to0[i] = from[i * stride];
    to1[i] = from[i * stride + 1];
    to2[i] = from[i * stride + 2];
    to3[i] = from[i * stride + 3];
  }
}

template <typename T>
static void transpose(const T* from, int64_t from_stride, int64_t rows, int64_t columns, T* to, int64_t to_stride) {
  const int64_t whole_rows = rows / 4 * 4, whole_columns = columns / 4 * 4;
  // Long runs along the side that is spread out in memory: all rows of a tile, else a cache line of the destination.
  const int64_t run = from_stride < to_stride ? rows : 16;
  for (int64_t first = 0; first < rows; first += run) {
    const int64_t last = first + run < rows ? first + run : rows;
    for (int64_t c = 0; c < whole_columns; c += 4) {
      T* line = to + c * to_stride;
      for (int64_t r = first; r < (last < whole_rows ? last : whole_rows); r += 4) {
        transpose4(from + r * from_stride + c, from_stride, line + r, line + to_stride + r, line + 2 * to_stride + r,
                   line + 3 * to_stride + r);
      }
    }
    for (int64_t r = first; r < last; ++r) {
      for (int64_t c = r < whole_rows ? whole_columns : 0; c < columns; ++c) {
        to[c * to_stride + r] = from[r * from_stride + c];
      }
    }
  }
}

template <typename T>
static void pack(const T* weight, int64_t outputs, int64_t channels, int64_t taps, int64_t first, int64_t last, T* to) {
  const int64_t depth = channels * taps, panel = 2 * lanes<T>();
  for (int64_t j = first; j < last; j += panel) {
    const int64_t width = last - j < panel ? lanes<T>() : panel;
    for (int64_t o = 0; o < width; o += 4) {
      const T* from = weight + (j + o) * depth;
      const int64_t valid = outputs - j - o;
      int64_t channel = 0, tap = 0, k = 0;
      // The next row of the panel in the order of the weight's memory: channel by channel, and tap by tap within.
      const auto next = [&] {
        T* row = to + j * depth + o + (tap * channels + channel) * width;
        tap = tap + 1 == taps ? 0 : tap + 1;
        channel += tap == 0;
        return row;
      };
      for (; valid >= 4 && k + 4 <= depth; k += 4) {
        T *to0 = next(), *to1 = next(), *to2 = next(), *to3 = next();
        transpose4(from + k, depth, to0, to1, to2, to3);
      }
      for (; k < depth; ++k) {
        T* row = next();
        for (int64_t i = 0; i < 4 && o + i < width; ++i) row[i] = i < valid ? from[i * depth + k] : T(0);
      }
    }
  }
}

}  // namespace DCN_ISA
}  // namespace centernet
