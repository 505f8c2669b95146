// Forward and grad_input as an implicit matrix product on tensor cores (gather.cuh says which).
//
// A block computes Rows × Columns of the result in steps of 64 bytes along the summed axis (32 bf16 or 16
// tf32 values). The tiles of both factors come by cp.async through kStages buffers of swizzled shared memory;
// nothing of the im2col matrix exists outside them. Channels that do not fill 16-byte chunks (3, 31, …) are
// gathered one by one. Launch: grid.x = row tiles × column tiles (column tiles innermost, so that neighbours
// share the gathered rows in the L2 cache), grid.z = class. Source: the structure of CUTLASS's implicit GEMM
// convolutions.
#include "kernels/cuda/conv3d/moments.cuh"

namespace voxot::cuda {
namespace {

constexpr int kRowBytes = 64;
constexpr int kChunksPerRow = kRowBytes / kChunkBytes;
constexpr int kStages = 4;

template <class T, int Rows, int Columns, int WarpRows, int WarpColumns, bool Chunked>
struct Tile {
  static constexpr int kThreads = Rows / WarpRows * (Columns / WarpColumns) * 32;
  static constexpr int kStep = kRowBytes / static_cast<int>(sizeof(T));  // along the summed axis
  static constexpr int kRowsPerPass = kThreads / kChunksPerRow;
  static constexpr int kRowPasses = Rows / kRowsPerPass;
  static constexpr int kColumnPasses = (Columns + kRowsPerPass - 1) / kRowsPerPass;
  static constexpr int kABytes = Rows * kRowBytes;
  static constexpr int kStageBytes = (Rows + Columns) * kRowBytes;
  static_assert(Rows % kRowsPerPass == 0 && WarpRows % 16 == 0 && WarpColumns % 16 == 0);
  using Moments = ColumnMoments<Rows / WarpRows * 8, Columns>;
  static_assert(sizeof(Moments) <= kStages * kStageBytes && Columns <= kThreads);
};

/// What one thread brings of each tile: one column of chunks, several rows.
template <class L, class T, bool Chunked>
struct Loader {
  const GatherPlan& plan;
  const GatherClass& g;
  const T* input;
  const T* weight;
  int first_column;
  GatherRow rows[L::kRowPasses];
  GatherPlace place;

  VOXOT_DEVICE Loader(const GatherPlan& p, const GatherClass& c, const T* in, const T* w, int first_row,
                      int column)
      : plan(p), g(c), input(in), weight(w), first_column(column), rows{}, place{0, {0, 0, 0}} {
    const int t = static_cast<int>(simt::thread_index().x);
    VOXOT_UNROLL
    for (int i = 0; i < L::kRowPasses; ++i)
      rows[i] = gather_row(g, first_row + t / kChunksPerRow + i * L::kRowsPerPass);
    place.channel = t % kChunksPerRow * kChunk<T>;
    place.settle(g, plan.channels);
  }

  /// One chunk of elements that may belong to several taps.
  VOXOT_DEVICE Chunk<T> gather(const GatherRow& row, GatherPlace at) const {
    Chunk<T> chunk;
    VOXOT_UNROLL
    for (int e = 0; e < kChunk<T>; ++e) {
      const int voxel = at.inside(g) ? gathered_voxel(g, row, at) : -1;
      chunk.values[e] =
          voxel < 0 ? stored<T>(0.0F) : input[static_cast<std::int64_t>(voxel) * plan.channels + at.channel];
      ++at.channel;
      at.settle(g, plan.channels);
    }
    return chunk;
  }
  VOXOT_DEVICE Chunk<T> gather_weights(int column, GatherPlace at) const {
    Chunk<T> chunk;
    VOXOT_UNROLL
    for (int e = 0; e < kChunk<T>; ++e) {
      const bool valid = column < plan.columns && at.inside(g);
      chunk.values[e] = valid ? weight[weight_index(column, at)] : stored<T>(0.0F);
      ++at.channel;
      at.settle(g, plan.channels);
    }
    return chunk;
  }
  VOXOT_DEVICE std::int64_t weight_index(int column, const GatherPlace& at) const {
    return (static_cast<std::int64_t>(column) * plan.kernel_volume + at.kernel_tap(g)) * plan.channels +
           at.channel;
  }

  /// Brings the next step of both tiles into a stage and moves on.
  VOXOT_DEVICE void bring(std::byte* a, std::byte* b) {
    const int t = static_cast<int>(simt::thread_index().x);
    const int chunk = t % kChunksPerRow;
    const bool inside = place.inside(g);
    VOXOT_UNROLL
    for (int i = 0; i < L::kRowPasses; ++i) {
      std::byte* to = a + swizzled<kRowBytes>(t / kChunksPerRow + i * L::kRowsPerPass, chunk);
      if constexpr (Chunked) {
        const int voxel = inside ? gathered_voxel(g, rows[i], place) : -1;
        const T* from =
            input + (voxel < 0 ? 0 : static_cast<std::int64_t>(voxel) * plan.channels + place.channel);
        simt::copy_async<kChunkBytes>(to, from, voxel >= 0);
      } else {
        *reinterpret_cast<Chunk<T>*>(to) = gather(rows[i], place);
      }
    }
    VOXOT_UNROLL
    for (int i = 0; i < L::kColumnPasses; ++i) {
      const int row = t / kChunksPerRow + i * L::kRowsPerPass;
      if (row >= (L::kStageBytes - L::kABytes) / kRowBytes) break;
      std::byte* to = b + swizzled<kRowBytes>(row, chunk);
      const int column = first_column + row;
      if constexpr (Chunked) {
        const bool valid = inside && column < plan.columns;
        simt::copy_async<kChunkBytes>(to, weight + (valid ? weight_index(column, place) : 0), valid);
      } else {
        *reinterpret_cast<Chunk<T>*>(to) = gather_weights(column, place);
      }
    }
    simt::commit_copies();
    place.channel += L::kStep;
    place.settle(g, plan.channels);
  }
};

/// Writes one lane's part of the result, and leaves it in `acc` as it is stored: of each 16×8 fragment rows
/// l/4 and l/4 + 8, columns 2(l mod 4) and the next.
template <class T, int WarpRows, int WarpColumns>
VOXOT_DEVICE void write_result(float (&acc)[WarpRows / 16][WarpColumns / 8][4], const GatherPlan& plan,
                               const GatherClass& g, int first_row, int first_column,
                               const GatherEpilogue<T>& epilogue, T* output) {
  const int columns = plan.columns;
  const int lane = static_cast<int>(simt::lane());
  VOXOT_UNROLL
  for (int i = 0; i < WarpRows / 8; ++i) {
    const int row = first_row + 8 * i + lane / 4;
    if (row >= g.rows) continue;
    const std::int64_t at = result_row(g, row) * columns;
    VOXOT_UNROLL
    for (int j = 0; j < WarpColumns / 8; ++j) {
      const int column = first_column + 8 * j + 2 * (lane % 4);
      float& low = acc[i / 2][j][2 * (i % 2)];
      float& high = acc[i / 2][j][2 * (i % 2) + 1];
      simt::Vector<T, 2> pair{};
      if (column < columns) pair.values[0] = epilogue(low, column, at + column);
      if (column + 1 < columns) pair.values[1] = epilogue(high, column + 1, at + column + 1);
      if (column + 1 < columns && plan.pairs) {
        *reinterpret_cast<simt::Vector<T, 2>*>(output + at + column) = pair;
      } else {
        if (column < columns) output[at + column] = pair.values[0];
        if (column + 1 < columns) output[at + column + 1] = pair.values[1];
      }
      low = load(pair.values[0]);
      high = load(pair.values[1]);
    }
  }
}

/// Rows of a lane in its warp's part of a tile that has `rows` rows: every eighth from l/4 on.
template <int WarpRows>
VOXOT_DEVICE int lane_rows(int rows, int group) {
  const int count = (rows - group / 8 * WarpRows - group % 8 + 7) / 8;
  return count < 0 ? 0 : count < WarpRows / 8 ? count : WarpRows / 8;
}

/// The moments of one lane's columns to its group's row.
template <int WarpRows, int WarpColumns, class Moments>
VOXOT_DEVICE void bring_moments(const float (&acc)[WarpRows / 16][WarpColumns / 8][4], int rows, int group,
                                int warp_column, Moments& moments) {
  const int count = lane_rows<WarpRows>(rows, group);
  VOXOT_UNROLL
  for (int j = 0; j < WarpColumns / 8; ++j) {
    simt::Vector<Pair<float>, 2> two;
    VOXOT_UNROLL
    for (int e = 0; e < 2; ++e) {
      two.values[e] = moments_of<WarpRows / 8>(count, [&](int i) { return acc[i / 2][j][2 * (i % 2) + e]; });
    }
    const int column = warp_column + 8 * j + 2 * (static_cast<int>(simt::lane()) % 4);
    *reinterpret_cast<simt::Vector<Pair<float>, 2>*>(&moments.of[group][column]) = two;
  }
}

template <class T, int Rows, int Columns, int WarpRows, int WarpColumns, bool Chunked>
VOXOT_KERNEL void VOXOT_LAUNCH_BOUNDS((Tile<T, Rows, Columns, WarpRows, WarpColumns, Chunked>::kThreads), 2)
    implicit_gemm(GatherPlan plan, const T* input, const T* weight, GatherEpilogue<T> epilogue, T* output,
                  TileMoments to) {
  using L = Tile<T, Rows, Columns, WarpRows, WarpColumns, Chunked>;
  const GatherClass& g = plan.classes[simt::block_index().z];
  const int column_tiles = (plan.columns + Columns - 1) / Columns;
  const int first_row = static_cast<int>(simt::block_index().x) / column_tiles * Rows;
  const int first_column = static_cast<int>(simt::block_index().x) % column_tiles * Columns;
  if (first_row >= g.rows) return;  // classes differ in size; the grid fits the largest

  std::byte* stages = simt::dynamic_shared<std::byte>();
  Loader<L, T, Chunked> loader(plan, g, input, weight, first_row, first_column);
  const int steps = (summed_taps(g) * plan.channels + L::kStep - 1) / L::kStep;
  const auto bring = [&](int step) {
    std::byte* stage = stages + step % kStages * L::kStageBytes;
    if (step < steps) {
      loader.bring(stage, stage + L::kABytes);
    } else {
      simt::commit_copies();  // an empty group keeps the count of groups in step
    }
  };
  for (int step = 0; step < kStages - 1; ++step) bring(step);

  float acc[WarpRows / 16][WarpColumns / 8][4] = {};
  const int warp = static_cast<int>(simt::warp());
  const int warp_row = warp / (Columns / WarpColumns) * WarpRows;
  const int warp_column = warp % (Columns / WarpColumns) * WarpColumns;
  for (int step = 0; step < steps; ++step) {
    simt::wait_copies<kStages - 2>();
    simt::sync_block();  // this step has come for all, and all have done with the stage that is filled next
    bring(step + kStages - 1);
    const std::byte* stage = stages + step % kStages * L::kStageBytes;
    multiply_rows<T, WarpRows, WarpColumns>(acc, stage, warp_row, stage + L::kABytes, warp_column);
  }
  write_result<T, WarpRows, WarpColumns>(acc, plan, g, first_row + warp_row, first_column + warp_column,
                                         epilogue, output);
  if (to.partials == nullptr) return;
  const int rows = g.rows - first_row < Rows ? g.rows - first_row : Rows;
  const int group = warp_row / WarpRows * 8 + static_cast<int>(simt::lane()) / 4;
  auto& moments = *reinterpret_cast<typename L::Moments*>(stages);
  simt::sync_block();  // all have done with the stages
  bring_moments<WarpRows, WarpColumns>(acc, rows, group, warp_column, moments);
  simt::sync_block();
  leave_moments(
      moments, [=](int of) { return lane_rows<WarpRows>(rows, of); }, rows, first_column, plan.columns,
      first_row / Rows, to);
}

template <class T, int Rows, int Columns, int WarpRows, int WarpColumns, bool Chunked>
void launch_tile(const Stream& stream, const ConvCall& c, const T* weight, const TileMoments& moments) {
  using L = Tile<T, Rows, Columns, WarpRows, WarpColumns, Chunked>;
  for_each_plan(c, [&](const GatherPlan& plan, int classes) {
    int rows = 0;
    for (int i = 0; i < classes; ++i) rows = plan.classes[i].rows > rows ? plan.classes[i].rows : rows;
    const unsigned tiles = simt::blocks_for(rows, Rows) * simt::blocks_for(plan.columns, Columns);
    simt::launch({"conv3d implicit_gemm",
                  {tiles, 1, static_cast<unsigned>(classes)},
                  {L::kThreads},
                  std::size_t{kStages} * L::kStageBytes,
                  stream},
                 implicit_gemm<T, Rows, Columns, WarpRows, WarpColumns, Chunked>, plan,
                 static_cast<const T*>(c.input), weight, gather_epilogue<T>(c), static_cast<T*>(c.output),
                 moments);
  });
}

template <class T>
VOXOT_KERNEL void round_weight(std::int64_t count, const float* weight, T* to) {
  for (std::int64_t i = simt::global_thread(); i < count; i += simt::global_threads())
    to[i] = stored<T>(weight[i]);
}

constexpr int kTurned = 32;     // channels of either side
constexpr int kTurnedRows = 8;  // at once

/// [c][tap][q] from the weights [q][tap][c]: a block turns 32 × 32 channels of one tap, and reads and writes
/// along rows.
template <class T>
VOXOT_KERNEL void turn_weight(int taps, int in_channels, int out_channels, const float* weight, T* to) {
  VOXOT_SHARED(tile, float[kTurned][kTurned + 1]);
  const int x = static_cast<int>(simt::thread_index().x);
  const int y = static_cast<int>(simt::thread_index().y);
  const int block = static_cast<int>(simt::block_index().x);
  const int in_tiles = (in_channels + kTurned - 1) / kTurned;
  const int tap = block % taps;
  const int first_c = block / taps % in_tiles * kTurned;
  const int first_q = block / taps / in_tiles * kTurned;
  for (int r = y; r < kTurned; r += kTurnedRows) {
    const int q = first_q + r;
    const int c = first_c + x;
    if (q < out_channels && c < in_channels)
      tile[r][x] = weight[(static_cast<std::int64_t>(q) * taps + tap) * in_channels + c];
  }
  simt::sync_block();
  for (int r = y; r < kTurned; r += kTurnedRows) {
    const int c = first_c + r;
    const int q = first_q + x;
    if (q < out_channels && c < in_channels)
      to[(static_cast<std::int64_t>(c) * taps + tap) * out_channels + q] = stored<T>(tile[x][r]);
  }
}

template <int Rows, int Columns, int WarpRows, int WarpColumns>
void run_tile(const Stream& stream, const ConvCall& c) {
  const auto typed = [&]<class T>() {
    const GatherScratch scratch(c, Rows);
    const T* weight = gather_weight<T>(stream, c, scratch.weight);
    if (takes_whole_chunks(c)) {
      launch_tile<T, Rows, Columns, WarpRows, WarpColumns, true>(stream, c, weight, scratch.moments);
    } else if constexpr (Columns < 128) {  // the largest tile has no registers left for more; its variant
                                           // takes no others
      launch_tile<T, Rows, Columns, WarpRows, WarpColumns, false>(stream, c, weight, scratch.moments);
    }
    finish_statistics(stream, c, scratch.moments, Rows);
  };
  if (c.dtype == DType::bf16) {
    typed.template operator()<Bf16>();
  } else {
    typed.template operator()<float>();
  }
}

}  // namespace

bool gather_fits(const Conv3dParams& p) {
  constexpr std::int64_t kLimit = std::int64_t{1} << 31;
  return p.batch * p.in_voxels() < kLimit && p.batch * p.out_voxels() < kLimit && p.weight_count() < kLimit;
}

template <class T>
const T* gather_weight(const Stream& stream, const ConvCall& call, void* scratch) {
  const bool transposed = call.pass == ConvPass::grad_input;
  if (std::is_same_v<T, float> && !transposed && chunk_aligned(call.other))
    return static_cast<const T*>(call.other);
  const float* from = static_cast<const float*>(call.other);
  T* to = static_cast<T*>(scratch);
  if (transposed) {
    const auto taps = static_cast<int>(call.params.kernel_volume());
    const auto in = static_cast<int>(call.params.in_channels);
    const auto out = static_cast<int>(call.params.out_channels);
    const unsigned tiles = simt::blocks_for(in, kTurned) * simt::blocks_for(out, kTurned);
    simt::launch(
        {"conv3d turn_weight", {tiles * static_cast<unsigned>(taps)}, {kTurned, kTurnedRows}, 0, stream},
        turn_weight<T>, taps, in, out, from, to);
    return to;
  }
  const std::int64_t count = call.params.weight_count();
  const auto blocks = static_cast<unsigned>(std::min<std::int64_t>(simt::blocks_for(count, 256), 4096));
  simt::launch({"conv3d round_weight", {blocks}, {256}, 0, stream}, round_weight<T>, count, from, to);
  return to;
}
template const Bf16* gather_weight<Bf16>(const Stream&, const ConvCall&, void*);
template const float* gather_weight<float>(const Stream&, const ConvCall&, void*);

bool takes_implicit_gemm(const ConvCall& c) {
  const bool type = c.dtype == DType::bf16 || (c.dtype == DType::f32 && c.math == ConvMath::tf32);
  return type && gather_fits(c.params);
}

bool takes_whole_chunks(const ConvCall& c) {
  const std::int64_t chunk = c.dtype == DType::bf16 ? kChunk<Bf16> : kChunk<float>;
  const bool weight_gradient = c.pass == ConvPass::grad_weight;
  const bool in = c.params.in_channels % chunk == 0 || c.pass == ConvPass::grad_input;
  const bool out = c.params.out_channels % chunk == 0 || c.pass == ConvPass::forward;
  return in && out && chunk_aligned(c.input) && (!weight_gradient || chunk_aligned(c.other));
}
bool takes_large_implicit_gemm(const ConvCall& c) { return takes_implicit_gemm(c) && takes_whole_chunks(c); }

void conv3d_implicit_gemm_128x128(const Stream& s, const ConvCall& c) { run_tile<128, 128, 64, 32>(s, c); }
void conv3d_implicit_gemm_128x64(const Stream& s, const ConvCall& c) { run_tile<128, 64, 64, 32>(s, c); }
void conv3d_implicit_gemm_128x32(const Stream& s, const ConvCall& c) { run_tile<128, 32, 32, 32>(s, c); }
void conv3d_implicit_gemm_128x16(const Stream& s, const ConvCall& c) { run_tile<128, 16, 32, 16>(s, c); }
void conv3d_implicit_gemm_64x64(const Stream& s, const ConvCall& c) { run_tile<64, 64, 32, 32>(s, c); }

}  // namespace voxot::cuda
