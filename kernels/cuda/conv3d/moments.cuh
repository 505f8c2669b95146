#pragma once
// The statistics of a forward pass, taken while its tiles are in registers: a thread brings the moments of
// its own values of each column to shared memory, the block joins them to a pair for each column of its tile
// and leaves that in scratch memory (moments.cuh; a tile is a chunk of rows). No value is read again, and
// nothing is summed without its mean.
#include "kernels/cuda/conv3d/gather.cuh"
#include "kernels/cuda/moments.cuh"

namespace voxot::cuda {

/// Where the tiles' moments go, [outer][column][tile]; null: none are wanted.
struct TileMoments {
  Pair<float>* partials = nullptr;
  int tiles = 0;  // of one outer index
};

/// A block's moments in shared memory. A group is the threads that share rows; the padding lets the eight
/// groups of a warp of the tensor-core kernels write to different banks.
template <int Groups, int Columns>
struct ColumnMoments {
  static constexpr int kGroups = Groups;
  static constexpr int kColumns = Columns;
  alignas(kVectorBytes) Pair<float> of[Groups][Columns + 8];
};

/// Mean and second moment of value(0), …, value(count − 1); 0 and 0 where there are none.
template <int N, class Value>
VOXOT_DEVICE Pair<float> moments_of(int count, Value value) {
  if (count <= 0) return {0, 0};
  const float about = value(0);
  float sum = 0;
  VOXOT_UNROLL
  for (int i = 1; i < N; ++i) sum += i < count ? value(i) - about : 0.0F;
  const float mean = about + sum / static_cast<float>(count);
  float second = 0;
  VOXOT_UNROLL
  for (int i = 0; i < N; ++i) {
    const float d = value(i) - mean;
    second += i < count ? d * d : 0.0F;
  }
  return {mean, second};
}

/// Joins the groups of each column and leaves the tile's pair; rows_of(group) is the number of rows behind a
/// group's moments, of group 0 at least one. All moments are in shared memory.
template <class Moments, class RowsOf>
VOXOT_DEVICE void leave_moments(const Moments& moments, RowsOf rows_of, int rows, int first_column,
                                int columns, int tile, const TileMoments& to) {
  const int c = static_cast<int>(simt::thread_index().x);
  const int column = first_column + c;
  if (c >= Moments::kColumns || column >= columns) return;
  const float about = moments.of[0][c].first;
  float first = 0;
  for (int g = 0; g < Moments::kGroups; ++g) {
    first += static_cast<float>(rows_of(g)) * (moments.of[g][c].first - about);
  }
  const float mean = about + first / static_cast<float>(rows);
  float second = 0;
  for (int g = 0; g < Moments::kGroups; ++g) {
    const float d = moments.of[g][c].first - mean;
    second += moments.of[g][c].second + static_cast<float>(rows_of(g)) * (d * d);
  }
  const std::int64_t result = static_cast<std::int64_t>(tile / to.tiles) * columns + column;
  to.partials[result * to.tiles + tile % to.tiles] = {mean, second};
}

/// Whether tiles of so many rows take the statistics that a call asks for: a tile must not straddle samples
/// that have statistics of their own.
inline bool tiles_take_statistics(const ConvCall& c, int tile_rows) {
  const Conv3dStatistics& s = c.epilogue.statistics;
  return s.mean != nullptr && (s.outer == 1 || c.params.out_voxels() % tile_rows == 0);
}

/// Scratch memory of a forward pass or grad_input by tiles of `tile_rows`.
struct GatherScratch {
  void* weight;  // room for the arranged weight
  TileMoments moments;

  GatherScratch(const ConvCall& c, int tile_rows);
};

/// The statistics that the call asks for, if any: of the tiles' moments, or of the output where they were not
/// taken.
void finish_statistics(const Stream& stream, const ConvCall& c, const TileMoments& moments, int tile_rows);

}  // namespace voxot::cuda
