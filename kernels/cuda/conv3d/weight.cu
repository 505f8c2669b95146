// Splitting the voxels of a weight gradient between blocks, and adding the partial results in order.
#include "kernels/cuda/conv3d/weight.cuh"

#include <algorithm>

#include "kernels/simt/runtime.h"

namespace voxot::cuda {
namespace {

template <Write W>
VOXOT_KERNEL void sum_splits(std::int64_t count, int splits, const float* partial, float scale,
                             float* grad_weight) {
  for (std::int64_t i = simt::global_thread(); i < count; i += simt::global_threads()) {
    float sum = 0;
    for (int s = 0; s < splits; ++s) sum += partial[s * count + i];
    put<W>(grad_weight[i], scale * sum);
  }
}

constexpr int kWaves = 4;       // blocks for each multiprocessor
constexpr int kLeastSteps = 8;  // below this a block's start and end outweigh its work

}  // namespace

WeightPlan::WeightPlan(const Conv3dParams& p, int tile_rows, int tile_columns, int step)
    : g(forward_class(p)),
      in_channels(static_cast<int>(p.in_channels)),
      out_channels(static_cast<int>(p.out_channels)),
      columns(static_cast<int>(p.kernel_volume()) * in_channels),
      tiles(static_cast<int>(simt::blocks_for(out_channels, tile_rows) *
                             simt::blocks_for(columns, tile_columns))),
      channels(in_channels),
      kernel_w(p.kernel[2]),
      kernel_h(p.kernel[1]) {
  const int steps = (g.rows + step - 1) / step;
  const int wanted = (kWaves * simt::device_properties().multiprocessors + tiles - 1) / tiles;
  splits = std::clamp(wanted, 1, std::max(1, steps / kLeastSteps));
  steps_per_split = (steps + splits - 1) / splits;
  splits = (steps + steps_per_split - 1) / steps_per_split;
}

float* weight_partials(const WeightPlan& p) {
  const auto count = static_cast<std::size_t>(p.out_channels) * static_cast<std::size_t>(p.columns);
  return static_cast<float*>(simt::scratch(static_cast<std::size_t>(p.splits) * count * sizeof(float)));
}

void add_partials(const Stream& stream, const WeightPlan& p, const float* partial, const ConvCall& c) {
  const std::int64_t count = static_cast<std::int64_t>(p.out_channels) * p.columns;
  const auto blocks = static_cast<unsigned>(std::min<std::int64_t>(simt::blocks_for(count, 256), 4096));
  with_write(c.write, [&]<Write W>() {
    simt::launch({"conv3d_grad_weight sum_splits", {blocks}, {256}, 0, stream}, sum_splits<W>, count,
                 p.splits, partial, c.epilogue.scale, static_cast<float*>(c.output));
  });
}

}  // namespace voxot::cuda
