#pragma once
// What the tensor-core kernels share: swizzled tiles of shared memory, fragments,
// and the product of two tiles by one warp. T is Bf16, or float, whose factors are rounded to tf32.
#include "kernels/cuda/channels.cuh"

namespace voxot::cuda {

inline constexpr int kChunkBytes = 16;  // what one cp.async moves and one lane names for ldmatrix

template <class T>
inline constexpr int kChunk = kChunkBytes / static_cast<int>(sizeof(T));  // elements of a chunk

template <class T>
using Chunk = simt::Vector<T, kChunk<T>>;

/// Byte offset of a chunk in a tile whose rows are RowBytes long: chunks are permuted within a row so that
/// eight rows of one column of chunks lie in different banks.
template <int RowBytes>
VOXOT_DEVICE int swizzled(int row, int chunk) {
  static_assert(RowBytes == 32 || RowBytes == 64 || RowBytes >= 128);
  if constexpr (RowBytes == 32) return row * 32 + ((chunk ^ ((row >> 2) & 1)) * kChunkBytes);
  if constexpr (RowBytes == 64) return row * 64 + ((chunk ^ ((row >> 1) & 3)) * kChunkBytes);
  return row * RowBytes + ((chunk ^ (row & 7)) * kChunkBytes);
}

/// The same for tiles whose rows run along the summed axis. tf32 fragments are read word by word, four rows
/// at a time, so there four rows of two columns of chunks must lie in different banks.
template <class T, int RowBytes>
VOXOT_DEVICE int swizzled_columns(int row, int chunk) {
  if constexpr (std::is_same_v<T, float>) return row * RowBytes + ((chunk ^ ((row & 3) << 1)) * kChunkBytes);
  return swizzled<RowBytes>(row, chunk);
}

inline bool chunk_aligned(const void* p) { return reinterpret_cast<std::uintptr_t>(p) % kChunkBytes == 0; }

template <class T>
VOXOT_DEVICE void multiply_add(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
  if constexpr (std::is_same_v<T, Bf16>) {
    simt::mma_bf16(d, a, b);
  } else {
    simt::mma_tf32(d, a, b);
  }
}

/// ldmatrix brings fp32 as it is; the tensor core would cut it off where tf32 rounds.
template <class T, int N>
VOXOT_DEVICE void round_factors(std::uint32_t (&r)[N]) {
  if constexpr (std::is_same_v<T, float>) {
    VOXOT_UNROLL
    for (int i = 0; i < N; ++i) r[i] = simt::tf32_bits(simt::bits_float(r[i]));
  }
}

/// One warp: acc += A·Bᵀ over one stage. A has rows of `a` from a_row on, B rows of `b` from b_row on; rows
/// hold 64 bytes along the summed axis, swizzled.
template <class T, int WarpRows, int WarpColumns>
VOXOT_DEVICE void multiply_rows(float (&acc)[WarpRows / 16][WarpColumns / 8][4], const std::byte* a,
                                int a_row, const std::byte* b, int b_row) {
  const int lane = static_cast<int>(simt::lane());
  VOXOT_UNROLL
  for (int step = 0; step < 2; ++step) {
    std::uint32_t fa[WarpRows / 16][4];
    std::uint32_t fb[WarpColumns / 16][4];
    VOXOT_UNROLL
    for (int i = 0; i < WarpRows / 16; ++i) {
      const int row = a_row + 16 * i + lane % 16;
      simt::load_matrix_x4(fa[i], a + swizzled<64>(row, 2 * step + lane / 16));
      round_factors<T>(fa[i]);
    }
    VOXOT_UNROLL
    for (int j = 0; j < WarpColumns / 16; ++j) {
      const int row = b_row + 16 * j + lane / 16 * 8 + lane % 8;
      simt::load_matrix_x4(fb[j], b + swizzled<64>(row, 2 * step + lane / 8 % 2));
      round_factors<T>(fb[j]);
    }
    VOXOT_UNROLL
    for (int i = 0; i < WarpRows / 16; ++i) {
      VOXOT_UNROLL
      for (int j = 0; j < WarpColumns / 8; ++j) {
        const std::uint32_t pair[2] = {fb[j / 2][2 * (j % 2)], fb[j / 2][2 * (j % 2) + 1]};
        multiply_add<T>(acc[i][j], fa[i], pair);
      }
    }
  }
}

/// One warp: acc += Aᵀ·B over one stage whose rows run along the summed axis: 64 / sizeof(T) rows of `a` and
/// `b`, of which the warp takes the columns from a_column and b_column on.
template <class T, int WarpRows, int WarpColumns, int ABytes, int BBytes>
VOXOT_DEVICE void multiply_columns(float (&acc)[WarpRows / 16][WarpColumns / 8][4], const std::byte* a,
                                   int a_column, const std::byte* b, int b_column) {
  const int lane = static_cast<int>(simt::lane());
  VOXOT_UNROLL
  for (int step = 0; step < 2; ++step) {
    std::uint32_t fa[WarpRows / 16][4];
    std::uint32_t fb[WarpColumns / 8][2];
    if constexpr (std::is_same_v<T, Bf16>) {
      const int k = 16 * step;
      VOXOT_UNROLL
      for (int i = 0; i < WarpRows / 16; ++i) {
        const int chunk = (a_column + 16 * i) / 8 + lane / 8 % 2;
        simt::load_matrix_x4_transposed(fa[i],
                                        a + swizzled_columns<T, ABytes>(k + lane / 16 * 8 + lane % 8, chunk));
      }
      VOXOT_UNROLL
      for (int j = 0; j < WarpColumns / 16; ++j) {
        std::uint32_t r[4];
        const int chunk = (b_column + 16 * j) / 8 + lane / 16;
        simt::load_matrix_x4_transposed(r, b + swizzled_columns<T, BBytes>(k + lane % 16, chunk));
        fb[2 * j][0] = r[0];
        fb[2 * j][1] = r[1];
        fb[2 * j + 1][0] = r[2];
        fb[2 * j + 1][1] = r[3];
      }
    } else {
      // ldmatrix transposes 16-bit elements only.
      const auto word = [&]<int RowBytes>(const std::byte* tile, int k, int column) {
        return *reinterpret_cast<const std::uint32_t*>(tile + swizzled_columns<T, RowBytes>(k, column / 4) +
                                                       column % 4 * 4);
      };
      const int group = lane / 4;
      const int k = 8 * step + lane % 4;
      VOXOT_UNROLL
      for (int i = 0; i < WarpRows / 16; ++i) {
        VOXOT_UNROLL
        for (int e = 0; e < 4; ++e) {
          fa[i][e] =
              word.template operator()<ABytes>(a, k + 4 * (e / 2), a_column + 16 * i + group + 8 * (e % 2));
        }
        round_factors<T>(fa[i]);
      }
      VOXOT_UNROLL
      for (int j = 0; j < WarpColumns / 8; ++j) {
        VOXOT_UNROLL
        for (int e = 0; e < 2; ++e)
          fb[j][e] = word.template operator()<BBytes>(b, k + 4 * e, b_column + 8 * j + group);
        round_factors<T>(fb[j]);
      }
    }
    VOXOT_UNROLL
    for (int i = 0; i < WarpRows / 16; ++i) {
      VOXOT_UNROLL
      for (int j = 0; j < WarpColumns / 8; ++j) multiply_add<T>(acc[i][j], fa[i], fb[j]);
    }
  }
}

}  // namespace voxot::cuda
