#pragma once
// Which samples the networks of a config take.
#include <vector>

#include "apps/config.h"
#include "apps/network_config.h"
#include "models/extents.h"

namespace voxot {

/// What a network asks of the volumes that it takes: a rule for a message, and whether it takes some.
struct ExtentsRule {
  std::string text;  // "transport.model unet3d takes multiples of 8 (D may be 1)"; empty: takes all
  TakesExtents takes;
};
ExtentsRule extents_rule(const TransportConfig& config, const std::string& role);
ExtentsRule extents_rule(const PotentialConfig& config, const std::string& role, const Extents& extents);

/// Throws UsageError for samples that do not fit all the rules: what the networks take, and sizes that would
/// fit.
void check_extents(const RunConfig& config, const SampleShape& shape, const std::vector<ExtentsRule>& rules);

}  // namespace voxot
