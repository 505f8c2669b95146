#pragma once
// Networks in a checkpoint: each role's under "ROLE.".
#include <map>
#include <string>

#include "apps/run_folder.h"
#include "engine/parameters.h"

namespace voxot {

/// The network of a role, as it was trained. Throws Error naming the first tensor that is missing, unexpected
/// or of another shape.
void load_role(const Checkpoint& checkpoint, const std::string& role, Parameters& parameters);

/// The same, with the averaged weights under `average` ("solver.average.") in their place where the average
/// has begun.
void load_averaged_role(const Checkpoint& checkpoint, const std::string& role, const std::string& average,
                        Parameters& parameters);

}  // namespace voxot
