#pragma once
// Every row of A with every row of B, without tensor cores: sums of products (matrix products) or of squared
// differences (distances), C[i, j] = α·Σ_k combine(A[i, k], B[j, k]) + β·C[i, j].
//
// A block of 256 threads computes 64×64 elements in steps of 16 along k; a thread holds 4×4 of them. Both
// tiles lie in shared memory with k outermost, so that a thread reads its rows and columns as neighbours.
// Launch: grid.x = batch × row tiles × column tiles.
#include "kernels/cuda/scalar.h"

namespace voxot::cuda {

/// One of the two sets of rows.
template <class T>
struct PairSide {
  const T* values = nullptr;
  std::int64_t stride = 0;       // between the sets of two problems
  std::int64_t row_pitch = 0;    // between rows,
  std::int64_t inner_pitch = 0;  // and between neighbours along k: one of the two is 1
  int rows = 0;
  const T* scales = nullptr;  // [batch, rows], multiplied to the rows; null: 1
};

template <class T>
struct PairTiles {
  PairSide<T> a, b;
  T* c = nullptr;  // [batch, a.rows, b.rows]
  int inner = 0;
  int row_tiles = 0;
  int column_tiles = 0;
  T alpha = 1;
  T beta = 0;     // 0: C is not read
  T without = 0;  // the result for a row whose scale is 0
};

inline constexpr int kPairTile = 64;
inline constexpr int kPairDepth = 16;
inline constexpr int kPairThreads = 256;
inline constexpr int kPairOwn = 4;

struct Product {
  template <class T>
  VOXOT_DEVICE static T combine(T sum, T a, T b) {
    return sum + a * b;
  }
};
struct SquaredDistance {
  template <class T>
  VOXOT_DEVICE static T combine(T sum, T a, T b) {
    const T d = a - b;
    return sum + d * d;
  }
};

/// A tile of one side in shared memory; rows beyond the last and k beyond the end are 0.
template <class T>
VOXOT_DEVICE void load_side(const PairSide<T>& side, std::int64_t problem, int first_row, int first_k,
                            int inner, T (&tile)[kPairDepth][kPairTile + 1]) {
  const int t = static_cast<int>(simt::thread_index().x);
  const bool along_k = side.inner_pitch == 1;  // neighbours in memory go to neighbouring threads
  VOXOT_UNROLL
  for (int pass = 0; pass < kPairTile * kPairDepth / kPairThreads; ++pass) {
    const int place = t + pass * kPairThreads;
    const int k = along_k ? place % kPairDepth : place / kPairTile;
    const int row = along_k ? place / kPairDepth : place % kPairTile;
    T value = 0;
    if (first_row + row < side.rows && first_k + k < inner) {
      value = side.values[problem * side.stride + (first_row + row) * side.row_pitch +
                          (first_k + k) * side.inner_pitch];
      if (side.scales != nullptr) value *= side.scales[problem * side.rows + first_row + row];
    }
    tile[k][row] = value;
  }
}

template <class T, class Combine>
VOXOT_KERNEL void VOXOT_LAUNCH_BOUNDS(kPairThreads, 1) pair_tiles(PairTiles<T> p) {
  using Tile = T[kPairDepth][kPairTile + 1];
  VOXOT_SHARED(a, Tile);
  VOXOT_SHARED(b, Tile);
  const auto block = static_cast<std::int64_t>(simt::block_index().x);
  const int tiles = p.row_tiles * p.column_tiles;
  const std::int64_t problem = block / tiles;
  const int tile = static_cast<int>(block % tiles);
  const int first_row = tile / p.column_tiles * kPairTile;
  const int first_column = tile % p.column_tiles * kPairTile;
  const int t = static_cast<int>(simt::thread_index().x);
  const int row = t / 16;  // and row + 16, + 32, + 48: a warp's accesses then lie side by side
  const int column = t % 16;
  T sums[kPairOwn][kPairOwn] = {};
  for (int k = 0; k < p.inner; k += kPairDepth) {
    load_side(p.a, problem, first_row, k, p.inner, a);
    load_side(p.b, problem, first_column, k, p.inner, b);
    simt::sync_block();
    VOXOT_UNROLL
    for (int step = 0; step < kPairDepth; ++step) {
      VOXOT_UNROLL
      for (int i = 0; i < kPairOwn; ++i) {
        VOXOT_UNROLL
        for (int j = 0; j < kPairOwn; ++j) {
          sums[i][j] = Combine::combine(sums[i][j], a[step][row + 16 * i], b[step][column + 16 * j]);
        }
      }
    }
    simt::sync_block();
  }
  VOXOT_UNROLL
  for (int i = 0; i < kPairOwn; ++i) {
    const int to_row = first_row + row + 16 * i;
    if (to_row >= p.a.rows) break;
    VOXOT_UNROLL
    for (int j = 0; j < kPairOwn; ++j) {
      const int to_column = first_column + column + 16 * j;
      if (to_column >= p.b.rows) break;
      T& to = p.c[(problem * p.a.rows + to_row) * p.b.rows + to_column];
      T result = p.alpha * sums[i][j];
      if (p.beta != 0) result += p.beta * to;
      const bool without = (p.a.scales != nullptr && p.a.scales[problem * p.a.rows + to_row] == 0) ||
                           (p.b.scales != nullptr && p.b.scales[problem * p.b.rows + to_column] == 0);
      to = without ? p.without : result;
    }
  }
}

template <class Combine, class T>
void launch_pairs(const char* name, const Stream& stream, PairTiles<T> p, std::int64_t batch) {
  p.row_tiles = (p.a.rows + kPairTile - 1) / kPairTile;
  p.column_tiles = (p.b.rows + kPairTile - 1) / kPairTile;
  const std::int64_t blocks = batch * p.row_tiles * p.column_tiles;
  VOXOT_CHECK(blocks <= 0x7FFFFFFF, "{}: {} tiles, the device's kernels take 2³¹ − 1", name, blocks);
  simt::launch({name, {static_cast<unsigned>(blocks)}, {kPairThreads}, 0, stream}, pair_tiles<T, Combine>, p);
}

}  // namespace voxot::cuda
