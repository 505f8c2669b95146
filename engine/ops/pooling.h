#pragma once
// Pooling of volumes on the tape (kernels/pooling.h).
#include <array>

#include "engine/tape.h"
#include "kernels/pooling.h"

namespace voxot::ops {

/// Window of a pooling; arrays are ordered D, H, W.
struct PoolWindow {
  std::array<std::int64_t, 3> kernel{2, 2, 2};
  std::array<std::int64_t, 3> stride{2, 2, 2};
  std::array<std::int64_t, 3> padding{0, 0, 0};
};

/// x N×D×H×W×C. Throws Error when the window does not fit.
Tensor max_pool3d(Tape& tape, const Tensor& x, const PoolWindow& window);
/// `count_padding`: divide by the whole window, else by its part inside the volume.
Tensor average_pool3d(Tape& tape, const Tensor& x, const PoolWindow& window, bool count_padding = true);

}  // namespace voxot::ops
