#pragma once
// grad_weight seen as a product: row q is an output channel, column (tap, c) an element of the kernel, and
// the summed axis runs over the voxels of the output, which are split between blocks (split-K).
#include "kernels/cuda/conv3d/gather.cuh"

namespace voxot::cuda {

struct WeightPlan {
  GatherClass g;  // rows are output voxels, the gathered tensor is x
  int in_channels;
  int out_channels;
  int columns;          // taps × in_channels
  int tiles;            // of the result
  int splits;           // of the voxels
  int steps_per_split;  // each of `step` voxels
  Divisor channels, kernel_w, kernel_h;

  /// For tiles of rows × columns and steps of `step` voxels.
  WeightPlan(const Conv3dParams& p, int tile_rows, int tile_columns, int step);
  [[nodiscard]] simt::Dim3 grid() const {
    return {static_cast<unsigned>(tiles), 1, static_cast<unsigned>(splits)};
  }
};

/// Scratch memory for splits × out_channels × columns.
float* weight_partials(const WeightPlan& p);
/// grad_weight ← or += scale·Σ over splits, in order.
void add_partials(const Stream& stream, const WeightPlan& p, const float* partial, const ConvCall& c);

/// The kernel element of a column.
VOXOT_DEVICE GatherPlace place_of(const WeightPlan& p, int column) {
  GatherPlace place{0, {0, 0, 0}};
  place.channel = p.channels.split(column);
  place.tap[2] = p.kernel_w.split(column);
  place.tap[1] = p.kernel_h.split(column);
  place.tap[0] = column;
  return place;
}

}  // namespace voxot::cuda
