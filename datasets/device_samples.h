#pragma once
// A data set that lies in a device's memory: its samples are drawn there, within a static step.
#include <cstdint>
#include <optional>
#include <span>

#include "engine/buffer.h"
#include "engine/tensor.h"
#include "kernels/volume_sample.h"

namespace voxot {

/// Bytes of the largest table that is put into a device's memory; larger data sets are drawn on the host.
inline constexpr std::int64_t kMostTableBytes = std::int64_t{2} << 30;

/// A data set as a table in the memory of a device, from which batches are drawn without the host.
class DeviceSamples {
 public:
  /// Samples made of images, densities fp32 on the device, items × the params' image height × width.
  /// `digits`: one for each item, or none. Throws Error when they do not fit.
  DeviceSamples(const VolumeParams& params, Tensor images, Order order = Order::random,
                std::span<const std::int32_t> digits = {});
  /// Samples that are items×D×H×W×C as they are.
  explicit DeviceSamples(Tensor volumes, Order order = Order::random,
                         std::span<const std::int32_t> digits = {});

  [[nodiscard]] Device device() const { return table_.device(); }
  /// Queues the draw of part.count samples, N×D×H×W×C fp32: those of Dataset::draw for the same part, whose
  /// state's offset lies in the device's memory. The host waits for nothing.
  [[nodiscard]] Tensor draw(const BatchPart& part) const { return volumes_of(choose(part)); }
  /// A draw in two halves: what is drawn for each sample, whose item is a row of the table,
  [[nodiscard]] Buffer<VolumeSample> choose(const BatchPart& part) const;
  /// their volumes,
  [[nodiscard]] Tensor volumes_of(const Buffer<VolumeSample>& chosen) const;
  /// and where asked their digits, −1 where one is not known. Throws
  /// Error where the data set was given none.
  [[nodiscard]] Buffer<std::int32_t> digits_of(const Buffer<VolumeSample>& chosen) const;

 private:
  void keep_digits(std::span<const std::int32_t> digits);

  std::optional<VolumeParams> params_;  // none: volumes are gathered as they are
  Tensor table_;
  Buffer<std::int32_t> digits_;  // of each item; undefined without them
  Order order_;
};

}  // namespace voxot
