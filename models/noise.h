#pragma once
// The noise z ~ S of a stochastic map T(x, z).
#include "models/network.h"

namespace voxot {

/// The distribution S: N(0, deviation²) for each voxel or each cell.
struct NoiseOptions {
  double deviation = 0.1;
  // 0: a number for each voxel and channel, as published. n: one for each of n cells along D, H and W (1
  // where the extent is 1), repeated over the cell's voxels.
  std::int64_t cells = 0;
};

/// N×D×H×W×K noise for x N×D×H×W×C and a map with K noise channels; undefined for a map without. Throws Error
/// when the cells do not divide an extent.
Tensor draw_noise(Tape& tape, const TransportMap& map, const Tensor& x, const NoiseOptions& options,
                  const RandomState& state);

}  // namespace voxot
