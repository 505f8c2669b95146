// grad_weight as an implicit matrix product on tensor cores: row q of the result is an output channel, column
// (tap, c) an element of the kernel, and the summed axis runs over the voxels of the output.
//
// A block computes Rows × Columns of the result in steps of 64 / sizeof(T) voxels, brought by cp.async
// through kStages buffers of swizzled shared memory whose rows run along the summed axis, so that fragments
// are read transposed. The voxels are split between blocks (split-K); each writes its own partial result to
// scratch memory and a second kernel adds them in order, so the sum is the same every time. Channels that do
// not fill 16-byte chunks are gathered one by one. Launch: grid.x = row tiles × column tiles, grid.z = split.
#include "kernels/cuda/conv3d/weight.cuh"

namespace voxot::cuda {
namespace {

constexpr int kStages = 4;

template <class T, int Rows, int Columns, int WarpRows, int WarpColumns>
struct Tile {
  static constexpr int kThreads = Rows / WarpRows * (Columns / WarpColumns) * 32;
  static constexpr int kStep = 64 / static_cast<int>(sizeof(T));    // voxels
  static constexpr int kARow = Rows * static_cast<int>(sizeof(T));  // bytes
  static constexpr int kBRow = Columns * static_cast<int>(sizeof(T));
  static constexpr int kABytes = kStep * kARow;
  static constexpr int kStageBytes = kStep * (kARow + kBRow);
  static constexpr int kAChunks = kARow / kChunkBytes;
  static constexpr int kBChunks = kBRow / kChunkBytes;
};

/// grad_y: rows of the stage are voxels, contiguous in memory.
template <class L, class T, bool Chunked>
VOXOT_DEVICE void bring_gradient(const WeightPlan& p, const T* grad_y, int first_voxel, int first_row,
                                 std::byte* stage) {
  VOXOT_UNROLL
  for (int i = static_cast<int>(simt::thread_index().x); i < L::kStep * L::kAChunks; i += L::kThreads) {
    const int row = i / L::kAChunks;
    const int chunk = i % L::kAChunks;
    const int voxel = first_voxel + row;
    const int q = first_row + chunk * kChunk<T>;
    std::byte* to = stage + swizzled_columns<T, L::kARow>(row, chunk);
    const std::int64_t from = static_cast<std::int64_t>(voxel) * p.out_channels + q;
    if constexpr (Chunked) {
      const bool valid = voxel < p.g.rows && q < p.out_channels;
      simt::copy_async<kChunkBytes>(to, grad_y + (valid ? from : 0), valid);
    } else {
      Chunk<T> values;
      VOXOT_UNROLL
      for (int e = 0; e < kChunk<T>; ++e) {
        values.values[e] = voxel < p.g.rows && q + e < p.out_channels ? grad_y[from + e] : stored<T>(0.0F);
      }
      *reinterpret_cast<Chunk<T>*>(to) = values;
    }
  }
}

/// x under each column's tap.
template <class L, class T, bool Chunked>
VOXOT_DEVICE void bring_input(const WeightPlan& p, const T* x, int first_voxel, int first_column,
                              std::byte* stage) {
  VOXOT_UNROLL
  for (int i = static_cast<int>(simt::thread_index().x); i < L::kStep * L::kBChunks; i += L::kThreads) {
    const int row = i / L::kBChunks;
    const int chunk = i % L::kBChunks;
    const int column = first_column + chunk * kChunk<T>;
    const GatherRow at = gather_row(p.g, first_voxel + row);
    std::byte* to = stage + swizzled_columns<T, L::kBRow>(row, chunk);
    if constexpr (Chunked) {
      const GatherPlace place = place_of(p, column);
      const int voxel = column < p.columns ? gathered_voxel(p.g, at, place) : -1;
      const std::int64_t from =
          voxel < 0 ? 0 : static_cast<std::int64_t>(voxel) * p.in_channels + place.channel;
      simt::copy_async<kChunkBytes>(to, x + from, voxel >= 0);
    } else {
      Chunk<T> values;
      VOXOT_UNROLL
      for (int e = 0; e < kChunk<T>; ++e) {
        const GatherPlace place = place_of(p, column + e);
        const int voxel = column + e < p.columns ? gathered_voxel(p.g, at, place) : -1;
        values.values[e] =
            voxel < 0 ? stored<T>(0.0F) : x[static_cast<std::int64_t>(voxel) * p.in_channels + place.channel];
      }
      *reinterpret_cast<Chunk<T>*>(to) = values;
    }
  }
}

/// partial[split][q][column] ← this block's share of the sum.
template <class T, int Rows, int Columns, int WarpRows, int WarpColumns, bool ChunkedInput,
          bool ChunkedGradient>
VOXOT_KERNEL void VOXOT_LAUNCH_BOUNDS((Tile<T, Rows, Columns, WarpRows, WarpColumns>::kThreads), 2)
    weight_gemm(WeightPlan p, const T* x, const T* grad_y, float* partial) {
  using L = Tile<T, Rows, Columns, WarpRows, WarpColumns>;
  const int column_tiles = (p.columns + Columns - 1) / Columns;
  const int first_row = static_cast<int>(simt::block_index().x) / column_tiles * Rows;
  const int first_column = static_cast<int>(simt::block_index().x) % column_tiles * Columns;
  const int split = static_cast<int>(simt::block_index().z);
  const int first_voxel = split * p.steps_per_split * L::kStep;
  const int left = (p.g.rows - first_voxel + L::kStep - 1) / L::kStep;
  const int steps = left < p.steps_per_split ? left : p.steps_per_split;

  std::byte* stages = simt::dynamic_shared<std::byte>();
  const auto bring = [&](int step) {
    if (step < steps) {
      std::byte* stage = stages + step % kStages * L::kStageBytes;
      const int voxel = first_voxel + step * L::kStep;
      bring_gradient<L, T, ChunkedGradient>(p, grad_y, voxel, first_row, stage);
      bring_input<L, T, ChunkedInput>(p, x, voxel, first_column, stage + L::kABytes);
    }
    simt::commit_copies();
  };
  for (int step = 0; step < kStages - 1; ++step) bring(step);

  float acc[WarpRows / 16][WarpColumns / 8][4] = {};
  const int warp = static_cast<int>(simt::warp());
  const int warp_row = warp / (Columns / WarpColumns) * WarpRows;
  const int warp_column = warp % (Columns / WarpColumns) * WarpColumns;
  for (int step = 0; step < steps; ++step) {
    simt::wait_copies<kStages - 2>();
    simt::sync_block();
    bring(step + kStages - 1);
    const std::byte* stage = stages + step % kStages * L::kStageBytes;
    multiply_columns<T, WarpRows, WarpColumns, L::kARow, L::kBRow>(acc, stage, warp_row, stage + L::kABytes,
                                                                   warp_column);
  }

  const int lane = static_cast<int>(simt::lane());
  float* to = partial + static_cast<std::int64_t>(split) * p.out_channels * p.columns;
  VOXOT_UNROLL
  for (int i = 0; i < WarpRows / 8; ++i) {
    const int q = first_row + warp_row + 8 * i + lane / 4;
    if (q >= p.out_channels) continue;
    VOXOT_UNROLL
    for (int j = 0; j < WarpColumns / 8; ++j) {
      VOXOT_UNROLL
      for (int e = 0; e < 2; ++e) {
        const int column = first_column + warp_column + 8 * j + 2 * (lane % 4) + e;
        if (column < p.columns)
          to[static_cast<std::int64_t>(q) * p.columns + column] = acc[i / 2][j][2 * (i % 2) + e];
      }
    }
  }
}

template <class T, int Rows, int Columns, int WarpRows, int WarpColumns>
void run_typed(const Stream& stream, const ConvCall& c) {
  using L = Tile<T, Rows, Columns, WarpRows, WarpColumns>;
  const WeightPlan p(c.params, Rows, Columns, L::kStep);
  float* partial = weight_partials(p);
  const auto* x = static_cast<const T*>(c.input);
  const auto* grad_y = static_cast<const T*>(c.other);
  const bool chunked_input = p.in_channels % kChunk<T> == 0 && chunk_aligned(x);
  const bool chunked_gradient = p.out_channels % kChunk<T> == 0 && chunk_aligned(grad_y);
  const auto launch = [&]<bool Input, bool Gradient>() {
    simt::launch({"conv3d_grad_weight implicit_gemm",
                  p.grid(),
                  {L::kThreads},
                  std::size_t{kStages} * L::kStageBytes,
                  stream},
                 weight_gemm<T, Rows, Columns, WarpRows, WarpColumns, Input, Gradient>, p, x, grad_y,
                 partial);
  };
  if (chunked_input && chunked_gradient) {
    launch.template operator()<true, true>();
  } else if constexpr (Rows <
                       128) {  // the largest tile has no registers left for more; its variant takes no others
    if (chunked_gradient) {
      launch.template operator()<false, true>();
    } else {
      launch.template operator()<false, false>();
    }
  }
  add_partials(stream, p, partial, c);
}

template <int Rows, int Columns, int WarpRows, int WarpColumns>
void run_tile(const Stream& stream, const ConvCall& c) {
  if (c.dtype == DType::bf16) {
    run_typed<Bf16, Rows, Columns, WarpRows, WarpColumns>(stream, c);
  } else {
    run_typed<float, Rows, Columns, WarpRows, WarpColumns>(stream, c);
  }
}

}  // namespace

void conv3d_weight_gemm_128x128(const Stream& s, const ConvCall& c) { run_tile<128, 128, 64, 32>(s, c); }
void conv3d_weight_gemm_64x128(const Stream& s, const ConvCall& c) { run_tile<64, 128, 32, 32>(s, c); }
void conv3d_weight_gemm_32x128(const Stream& s, const ConvCall& c) { run_tile<32, 128, 32, 32>(s, c); }

}  // namespace voxot::cuda
