#pragma once
// A data set that lies in a device's memory: its samples are drawn there, within a static step.
#include <array>
#include <optional>

#include "engine/tensor.h"
#include "kernels/volume_sample.h"

namespace voxot {

/// Bytes of the largest table that is put into a device's memory; larger data sets are drawn on the host.
inline constexpr std::int64_t kMostTableBytes = std::int64_t{2} << 30;

class DeviceSamples {
 public:
  /// Samples made of images, densities fp32 on the device, items × the params' image height × width. Throws
  /// Error when they do not fit.
  DeviceSamples(const VolumeParams& params, Tensor images, Order order = Order::random);
  /// Samples that are items×D×H×W×C as they are.
  explicit DeviceSamples(Tensor volumes, Order order = Order::random);

  [[nodiscard]] Device device() const { return table_.device(); }
  /// Queues the draw of `count` samples, N×D×H×W×C fp32: those of Dataset::draw for the same state, whose
  /// offset lies in the device's memory. The host waits for nothing.
  [[nodiscard]] Tensor draw(const RandomState& state, std::int64_t count) const;
  /// The first half of a draw: `count` VolumeSample in the device's memory, whose item is a row of the table.
  [[nodiscard]] Tensor choose(const RandomState& state, std::int64_t count) const;

 private:
  std::optional<VolumeParams> params_;  // none: volumes are gathered as they are
  Tensor table_;
  Order order_;
};

}  // namespace voxot
