#pragma once
// Enlarging volumes and joining their channels, on the tape (kernels/resample.h).
#include <array>

#include "engine/tape.h"
#include "kernels/resample.h"

namespace voxot::ops {

/// How the values between those that are known are found.
enum class Upsampling : std::uint8_t { nearest, trilinear };

/// x N×D×H×W×C enlarged by whole factors (D, H, W); trilinear with half-pixel centres (align_corners =
/// False).
Tensor upsample(Tape& tape, const Tensor& x, const std::array<std::int64_t, 3>& factor, Upsampling mode);

/// Joins channels: [a, b]. All extents but the last must agree.
Tensor concat_channels(Tape& tape, const Tensor& a, const Tensor& b);

/// concat_channels(skip, upsample(x, nearest)) without the intermediate volume.
Tensor concat_upsampled(Tape& tape, const Tensor& skip, const Tensor& x);

}  // namespace voxot::ops
