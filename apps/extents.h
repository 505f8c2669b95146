#pragma once
// Which samples the networks of a config take.
#include <vector>

#include "apps/config.h"

namespace voxot {

/// Throws UsageError for samples that do not fit all the rules: what the networks take, and sizes that would
/// fit.
void check_extents(const RunConfig& config, const SampleShape& shape, const std::vector<ExtentsRule>& rules);

}  // namespace voxot
