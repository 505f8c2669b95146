#pragma once
// Upsampling by whole factors (nearest, trilinear with half-pixel centres) and joining or splitting channels,
// over N×D×H×W×C volumes.
#include <array>

#include "kernels/kernel.h"

namespace voxot {

/// Arrays are ordered D, H, W; the output extent is in_extent·factor.
struct UpsampleParams {
  std::int64_t batch = 1;
  std::int64_t channels = 1;
  std::array<std::int64_t, 3> in_extent{1, 1, 1};
  std::array<std::int64_t, 3> factor{2, 2, 2};
  bool trilinear = false;
  // The output's rows may be wider than `channels`: channel c of the result is written at offset + c of a row
  // of `pitch` channels, so that a skip connection is joined without a second copy. 0: pitch = channels.
  std::int64_t pitch = 0;
  std::int64_t offset = 0;

  [[nodiscard]] std::int64_t row() const { return pitch == 0 ? channels : pitch; }
};

namespace kernels {

/// (dtype, params, x, y)
inline constinit Kernel<void(DType, const UpsampleParams&, const void*, void*)> upsample_forward{
    "upsample_forward"};
/// (dtype, params, grad_y, grad_x, write)
inline constinit Kernel<void(DType, const UpsampleParams&, const void*, void*, Write)> upsample_backward{
    "upsample_backward"};

/// Channels of rows of `pitch` channels each, from `offset` on.
template <class Void>
struct ChannelsOf {
  Void* rows;
  std::int64_t pitch;
  std::int64_t offset = 0;
};
struct CopyChannels {
  std::int64_t rows;
  std::int64_t width;  // channels
  ChannelsOf<const void> from;
  ChannelsOf<void> to;
  Write write = Write::overwrite;
};
/// `width` channels of each row of `to` ← or += those of `from`.
inline constinit Kernel<void(DType, const CopyChannels&)> copy_channels{"copy_channels"};

}  // namespace kernels
}  // namespace voxot
