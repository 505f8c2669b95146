#pragma once
// 3-D convolution. Volumes are N×D×H×W×C, weights [C_out, kD, kH, kW, C_in], both contiguous.
//
//   y[n, o, q] = act(residual[n, o, q] + scale·(bias[q] + Σ_{k, c} w[q, k, c]·x[n, o·stride − padding +
//   k·dilation, c]))
//
// Storage of x and y is `dtype` (f32, bf16, f64); weights, bias and their gradients are f64 for f64, else f32
// (bf16 rounds a copy of the weights). Accumulation is fp32, for f64 in double.
// A transposed convolution's forward is conv3d_grad_input, its grad_input is conv3d_forward, and its
// grad_weight is conv3d_grad_weight with input and output gradient exchanged.
#include <array>

#include "kernels/activation.h"
#include "kernels/kernel.h"
#include "kernels/normalisation.h"

namespace voxot {

/// Arrays are ordered D, H, W.
struct Conv3dParams {
  std::int64_t batch = 1;
  std::int64_t in_channels = 1;
  std::int64_t out_channels = 1;
  std::array<std::int64_t, 3> in_extent{1, 1, 1};
  std::array<std::int64_t, 3> kernel{1, 1, 1};
  std::array<std::int64_t, 3> stride{1, 1, 1};
  std::array<std::int64_t, 3> padding{0, 0, 0};
  std::array<std::int64_t, 3> dilation{1, 1, 1};

  bool operator==(const Conv3dParams&) const = default;

  [[nodiscard]] std::array<std::int64_t, 3> out_extent() const {
    std::array<std::int64_t, 3> out{};
    for (std::size_t a = 0; a < 3; ++a) {
      out[a] = (in_extent[a] + 2 * padding[a] - dilation[a] * (kernel[a] - 1) - 1) / stride[a] + 1;
    }
    return out;
  }
  [[nodiscard]] std::int64_t in_voxels() const { return in_extent[0] * in_extent[1] * in_extent[2]; }
  [[nodiscard]] std::int64_t out_voxels() const {
    const auto o = out_extent();
    return o[0] * o[1] * o[2];
  }
  [[nodiscard]] std::int64_t kernel_volume() const { return kernel[0] * kernel[1] * kernel[2]; }
  [[nodiscard]] std::int64_t weight_count() const { return out_channels * kernel_volume() * in_channels; }

  /// Throws Error unless every extent is positive, the kernel fits and no count overflows.
  void validate() const;
};

/// Mean and biased variance [outer, groups] of y as it is stored, for the normalisation that follows
/// (kernels/normalisation.h), in fp32, for f64 in f64.
struct Conv3dStatistics {
  std::int64_t outer = 1;  // 1: over the batch; the batch: of each sample
  std::int64_t groups = 1;
  void* mean = nullptr;  // null: none are wanted
  void* variance = nullptr;

  /// The normalisation whose statistics they are.
  [[nodiscard]] NormalisationParams of(const Conv3dParams& p) const {
    NormalisationParams n;
    n.outer = outer;
    n.rows = p.batch * p.out_voxels() / outer;
    n.channels = p.out_channels;
    n.groups = groups;
    return n;
  }
};

/// What follows the sum: y = act(residual + scale·(sum + bias)). Pointers may be null.
struct Conv3dEpilogue {
  const void* bias = nullptr;
  const void* residual = nullptr;  // shaped as y
  float scale = 1;
  Activation activation{};  // none, relu or leaky_relu
  Conv3dStatistics statistics{};
};

/// y, as above.
struct Conv3dForward {
  const void* x;
  const void* weight;
  Conv3dEpilogue epilogue{};
  void* y;
};

/// grad_x ← or += scale·(gradient of the sum with respect to x).
struct Conv3dGradInput {
  const void* grad_y;
  const void* weight;
  float scale = 1;
  void* grad_x;
  Write write = Write::overwrite;
};

/// grad_weight, grad_bias ← or += scale·(gradients of the sum).
struct Conv3dGradWeight {
  const void* x;
  const void* grad_y;
  float scale = 1;
  void* grad_weight;
  void* grad_bias = nullptr;  // may be null
  Write write = Write::overwrite;
};

namespace kernels {

/// dtype is that of the volumes.
inline constinit Kernel<void(DType, const Conv3dParams&, const Conv3dForward&)> conv3d_forward{
    "conv3d_forward"};
inline constinit Kernel<void(DType, const Conv3dParams&, const Conv3dGradInput&)> conv3d_grad_input{
    "conv3d_grad_input"};
inline constinit Kernel<void(DType, const Conv3dParams&, const Conv3dGradWeight&)> conv3d_grad_weight{
    "conv3d_grad_weight"};

}  // namespace kernels
}  // namespace voxot
