#pragma once
// Max and average pooling over N×D×H×W×C volumes.
#include <array>

#include "kernels/kernel.h"

namespace voxot {

/// Arrays are ordered D, H, W.
struct PoolParams {
  std::int64_t batch = 1;
  std::int64_t channels = 1;
  std::array<std::int64_t, 3> in_extent{1, 1, 1};
  std::array<std::int64_t, 3> kernel{2, 2, 2};
  std::array<std::int64_t, 3> stride{2, 2, 2};
  std::array<std::int64_t, 3> padding{0, 0, 0};
  bool count_padding = true;  // average: divide by the whole window, padding included

  [[nodiscard]] std::array<std::int64_t, 3> out_extent() const {
    std::array<std::int64_t, 3> out{};
    for (std::size_t a = 0; a < 3; ++a) out[a] = (in_extent[a] + 2 * padding[a] - kernel[a]) / stride[a] + 1;
    return out;
  }
  /// Throws Error unless the window fits and padding is at most half of it.
  void validate() const;
};

namespace kernels {

/// y ← window maximum; `winner` (one byte an output, may be null) the winning position in the window, D-major
/// (dtype, params, x, y, winner). Windows hold at most 256 positions.
inline constinit Kernel<void(DType, const PoolParams&, const void*, void*, std::uint8_t*)> max_pool_forward{
    "max_pool_forward"};
struct MaxPoolGradients {
  const std::uint8_t* winner;
  const void* grad_y;
  void* grad_x;
  Write write = Write::overwrite;
};
/// grad_x ← or += grad_y where the maximum was.
inline constinit Kernel<void(DType, const PoolParams&, const MaxPoolGradients&)> max_pool_backward{
    "max_pool_backward"};
/// (dtype, params, x, y)
inline constinit Kernel<void(DType, const PoolParams&, const void*, void*)> average_pool_forward{
    "average_pool_forward"};
/// (dtype, params, grad_y, grad_x, write)
inline constinit Kernel<void(DType, const PoolParams&, const void*, void*, Write)> average_pool_backward{
    "average_pool_backward"};

}  // namespace kernels
}  // namespace voxot
