#pragma once
// Convolutions and linear layers on the tape (kernels/conv3d.h).
#include <array>

#include "engine/ops/normalisation.h"
#include "engine/tape.h"
#include "kernels/conv3d.h"

namespace voxot::ops {

/// Geometry of a convolution; arrays are ordered D, H, W.
struct Conv3dGeometry {
  std::array<std::int64_t, 3> stride{1, 1, 1};
  std::array<std::int64_t, 3> padding{0, 0, 0};
  std::array<std::int64_t, 3> dilation{1, 1, 1};
};

/// y = act(residual + scale·(conv(x, weight) + bias)).
/// x N×D×H×W×C_in, weight C_out×kD×kH×kW×C_in, bias C_out or undefined, residual shaped as y or undefined.
/// relu and leaky_relu ride in the convolution's epilogue, the other activations follow in a pass of their
/// own. Throws Error for shapes that do not fit.
struct Conv3dFused {
  Tensor residual;
  float scale = 1;
  Activation activation{};
  Moments* moments = nullptr;  // where y's are wanted: says of what, and receives them where act rides along
};
/// y N×D'×H'×W'×C_out, fused as Conv3dFused says.
Tensor conv3d(Tape& tape, const Tensor& x, const Tensor& weight, const Tensor& bias,
              const Conv3dGeometry& geometry, const Conv3dFused& fused = {});

/// The transpose of conv3d: x N×D×H×W×C_in, weight C_in×kD×kH×kW×C_out (PyTorch's [C_in, C_out, k...] with
/// channels last), output extent (in − 1)·stride − 2·padding + dilation·(k − 1) + 1 + output_padding.
Tensor conv_transpose3d(Tape& tape, const Tensor& x, const Tensor& weight, const Tensor& bias,
                        const Conv3dGeometry& geometry,
                        const std::array<std::int64_t, 3>& output_padding = {0, 0, 0});

/// y = act(x·weightᵀ + bias): x N×C_in, weight C_out×C_in; runs as a 1³ convolution over N voxels.
Tensor linear(Tape& tape, const Tensor& x, const Tensor& weight, const Tensor& bias,
              Activation activation = {});

}  // namespace voxot::ops
