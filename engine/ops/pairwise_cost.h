#pragma once
// Costs between feature vectors on the tape (kernels/pairwise_cost.h).
#include "engine/tape.h"
#include "kernels/pairwise_cost.h"

namespace voxot::ops {

/// Costs between two sets of features: x B×n×D with y B×m×D gives B×n×m, x n×D with y m×D gives n×m; fp32 or
/// fp64. Throws Error for other shapes and types.
Tensor pairwise_cost(Tape& tape, const Tensor& x, const Tensor& y, GroundCost cost);

}  // namespace voxot::ops
