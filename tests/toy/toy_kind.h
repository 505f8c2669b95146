#pragma once
// solver.kind = "toy", for a program's solver_kinds().
#include "apps/solver_kinds.h"

namespace voxot::toy {

SolverKind toy_kind();

}  // namespace voxot::toy
