#pragma once
// Products of rows with rows, A·Bᵀ, where both lie in the second cache: nothing is packed. Vectors run along
// the inner dimension and are folded at the end, so it takes some hundreds of dimensions to pay; below,
// gemm_tile.
#include <array>
#include <bit>
#include <cstdint>

namespace voxot::cpu {

template <class T>
struct Lanes;
template <>
struct Lanes<float> {
  using Type [[gnu::vector_size(64)]] = float;
};
template <>
struct Lanes<double> {
  using Type [[gnu::vector_size(64)]] = double;
};

template <class T>
inline constexpr std::int64_t kLanes = 64 / static_cast<std::int64_t>(sizeof(T));

/// Sum of a vector's elements: halves are folded.
template <class T>
T lane_sum(typename Lanes<T>::Type v) {
  auto lanes = std::bit_cast<std::array<T, kLanes<T>>>(v);
#pragma GCC unroll 4
  for (std::size_t half = kLanes<T> / 2; half >= 1; half /= 2) {
#pragma GCC unroll 8
    for (std::size_t l = 0; l < half; ++l) lanes[l] += lanes[l + half];
  }
  return lanes[0];
}

/// c[i][j] += factor·a_i·b_j for `Rows` by `Columns` rows of `inner` elements, whole vectors, aligned.
template <class T, int Rows, int Columns>
inline void dot_block(std::int64_t inner, const T* a, const T* b, T factor, T* c, std::int64_t c_stride) {
  using V = typename Lanes<T>::Type;
  V sum[Rows][Columns]{};
  for (std::int64_t k = 0; k < inner; k += kLanes<T>) {
    V right[Columns];
#pragma GCC unroll 4
    for (int j = 0; j < Columns; ++j) right[j] = *reinterpret_cast<const V*>(b + j * inner + k);
#pragma GCC unroll 4
    for (int i = 0; i < Rows; ++i) {
      const V left = *reinterpret_cast<const V*>(a + i * inner + k);
#pragma GCC unroll 4
      for (int j = 0; j < Columns; ++j) sum[i][j] += left * right[j];
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < Rows; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < Columns; ++j) c[i * c_stride + j] += factor * lane_sum<T>(sum[i][j]);
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
