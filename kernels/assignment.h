#pragma once
// Linear assignment: the permutation σ of [0, n) that minimises Σ cost[i, σ(i)], and its dual,
//
//   maximise Σ f[i] + Σ g[j]   with f[i] + g[j] ≤ cost[i, j]   (equal on the assignment)
//
// by shortest augmenting paths. `count` problems of n×n, row-major, one behind the other.
// Potentials are double whatever the costs are.
// Source: Jonker, Volgenant 1987, "A shortest augmenting path algorithm for dense and sparse linear
// assignment problems", Computing 38.
#include "kernels/kernel.h"

namespace voxot {

/// `count` problems of n×n.
struct AssignmentParams {
  std::int64_t count = 1;
  std::int64_t n = 1;
  // Without the initialisation no column potential ever exceeds the value in size (costs less each row's
  // least), so that rounding is relative to the value however widely the costs range; slower.
  bool initialise = true;
};

/// Sums of costs up to this are finite.
inline constexpr double kLargestAssignedCost = 1e200;
/// Points of a problem on cuda.
inline constexpr std::int64_t kMostAssignedOnCuda = 256;

namespace kernels {

struct AssignmentArrays {
  const void* cost;             // [count, n, n], f32 or f64
  std::int32_t* column_of_row;  // [count, n]
  double* row_potential;        // [count, n]
  double* column_potential;     // [count, n]
};
/// row_potential[i] = min over j of cost[i, j] − column_potential[j], so that no rounding violates a
/// constraint. A problem whose costs are not all of a size up to kLargestAssignedCost gets the identity and
/// potentials that are NaN. On cuda nothing is waited for.
inline constinit Kernel<void(DType, const AssignmentParams&, const AssignmentArrays&)> assignment{
    "assignment"};

}  // namespace kernels
}  // namespace voxot
