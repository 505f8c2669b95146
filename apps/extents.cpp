#include "apps/extents.h"

#include "models/extents.h"

namespace voxot {

void check_extents(const RunConfig& config, const SampleShape& shape) {
  const Extents extents{shape[0], shape[1], shape[2]};
  const bool unet = config.transport.model == "unet3d";
  const bool resnet = config.potential.model == "resnet3d";
  const auto takes = [&](const Extents& e) {
    return (!unet || unet3d_takes(e)) && (!resnet || resnet3d_takes(e));
  };
  if (takes(extents)) return;
  if (extents == Extents{1, 1, 1}) {
    fail_usage(
        "config: vectors of {} values fit no network of convolutions; set transport.model and "
        "potential.model "
        "to \"mlp\"",
        shape[3]);
  }
  std::string rules;
  if (unet) rules = "transport.model unet3d takes multiples of 8 (D may be 1)";
  if (resnet) {
    rules +=
        fmt::format("{}potential.model resnet3d takes extents from 4 on, here multiples of {} (D may be 1)",
                    unet ? ", " : "", std::int64_t{2} << resnet3d_levels(extents));
  }
  // The arrays of a file have the size that they have; the other data sets are made in the size of this key.
  const bool made = config.source.dataset != "npy";
  fail_usage("config: volumes of {} (D×H×W) do not fit: {}; {}{}", text_of(extents), rules,
             advice_on(extents, takes), made ? " (source.resolution and target.resolution)" : "");
}

}  // namespace voxot
