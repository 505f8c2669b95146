#pragma once
// Whether the volumes of a run fit both of its networks.
#include "apps/session.h"

namespace voxot {

/// Throws UsageError, before any network is made, that tells the rules of both and the nearest sizes that
/// work.
void check_extents(const RunConfig& config, const SampleShape& shape);

}  // namespace voxot
