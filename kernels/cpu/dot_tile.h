#pragma once
// Products of rows with rows, A·Bᵀ, where both lie in the second cache: nothing is packed. Vectors run along
// the inner dimension and are folded at the end, so it takes some hundreds of dimensions to pay; below,
// gemm_tile.
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace voxot::cpu {

#if defined(__AVX512F__)
inline constexpr std::size_t kVectorBytes = 64;
#else
inline constexpr std::size_t kVectorBytes = 32;
#endif

/// A vector of `Bytes` bytes.
template <class T, std::size_t Bytes>
struct Part {
  using Type [[gnu::vector_size(Bytes)]] = T;
};

template <class T>
using Lanes = Part<T, kVectorBytes>;
template <class T>
inline constexpr std::int64_t kLanes = static_cast<std::int64_t>(kVectorBytes / sizeof(T));

/// Halves added until 16 bytes are left.
template <class T, std::size_t Bytes = kVectorBytes>
inline typename Part<T, 16>::Type fold(typename Part<T, Bytes>::Type v) {
  if constexpr (Bytes == 16) {
    return v;
  } else {
    const auto halves = std::bit_cast<std::array<typename Part<T, Bytes / 2>::Type, 2>>(v);
    return fold<T, Bytes / 2>(halves[0] + halves[1]);
  }
}

/// Sum of a vector's elements.
template <class T>
inline T lane_sum(typename Lanes<T>::Type v) {
  const auto q = fold<T>(v);
  if constexpr (sizeof(T) == 4) return (q[0] + q[2]) + (q[1] + q[3]);
  return q[0] + q[1];
}

/// to_r += factor·Σ v_r for four vectors.
template <class T>
inline void add_sums(const typename Lanes<T>::Type* v, T factor, T* to) {
  if constexpr (sizeof(T) == 4) {
    using Q = typename Part<T, 16>::Type;
    using I [[gnu::vector_size(16)]] = std::int32_t;
    const Q a = fold<T>(v[0]);
    const Q b = fold<T>(v[1]);
    const Q c = fold<T>(v[2]);
    const Q d = fold<T>(v[3]);
    const Q ab = __builtin_shuffle(a, b, I{0, 4, 1, 5}) + __builtin_shuffle(a, b, I{2, 6, 3, 7});
    const Q cd = __builtin_shuffle(c, d, I{0, 4, 1, 5}) + __builtin_shuffle(c, d, I{2, 6, 3, 7});
    const Q sums = __builtin_shuffle(ab, cd, I{0, 1, 4, 5}) + __builtin_shuffle(ab, cd, I{2, 3, 6, 7});
    for (int r = 0; r < 4; ++r) to[r] += factor * sums[r];
  } else {
    for (int r = 0; r < 4; ++r) to[r] += factor * lane_sum<T>(v[r]);
  }
}

/// c[i][j] += factor·a_i·b_j for `Rows` by `Columns` rows of `inner` elements, whole vectors, aligned.
template <class T, int Rows, int Columns>
inline void dot_block(std::int64_t inner, const T* a, const T* b, T factor, T* c, std::int64_t c_stride) {
  using V = typename Lanes<T>::Type;
  V sum[Rows][Columns]{};
  for (std::int64_t k = 0; k < inner; k += kLanes<T>) {
    V right[Columns];
#pragma GCC unroll 4
    for (int j = 0; j < Columns; ++j) {
      right[j] = *reinterpret_cast<const V*>(b + j * inner + k);
      // The compiler would load it again for each product, and loads are as scarce as multiply-adds.
      asm("" : "+v"(right[j]));
    }
#pragma GCC unroll 4
    for (int i = 0; i < Rows; ++i) {
      V left = *reinterpret_cast<const V*>(a + i * inner + k);
      asm("" : "+v"(left));
#pragma GCC unroll 4
      for (int j = 0; j < Columns; ++j) sum[i][j] += left * right[j];
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < Rows; ++i) {
    if constexpr (Columns == 4) {
      add_sums<T>(sum[i], factor, c + i * c_stride);
    } else {
      for (int j = 0; j < Columns; ++j) c[i * c_stride + j] += factor * lane_sum<T>(sum[i][j]);
    }
  }
}

/// c [rows, columns] += factor·a·bᵀ; a and b contiguous and aligned to 64 bytes, `inner` whole vectors.
template <class T>
void dot_tile(std::int64_t rows, std::int64_t columns, std::int64_t inner, const T* a, const T* b, T factor,
              T* c, std::int64_t c_stride) {
  constexpr std::int64_t kBlock = 4;  // 16 sums, 8 loads for 16 multiply-adds
  std::int64_t i = 0;
  for (; i + kBlock <= rows; i += kBlock) {
    std::int64_t j = 0;
    for (; j + kBlock <= columns; j += kBlock) {
      dot_block<T, kBlock, kBlock>(inner, a + i * inner, b + j * inner, factor, c + i * c_stride + j,
                                   c_stride);
    }
    for (; j < columns; ++j) {
      dot_block<T, kBlock, 1>(inner, a + i * inner, b + j * inner, factor, c + i * c_stride + j, c_stride);
    }
  }
  for (; i < rows; ++i) {
    for (std::int64_t j = 0; j < columns; ++j) {
      dot_block<T, 1, 1>(inner, a + i * inner, b + j * inner, factor, c + i * c_stride + j, c_stride);
    }
  }
}

}  // namespace voxot::cpu
