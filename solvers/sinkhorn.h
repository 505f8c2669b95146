#pragma once
// Entropic optimal transport between discrete measures (objective, update and stopping rule:
// kernels/sinkhorn.h). One problem, a batch, a ragged batch, or one whose costs are never held. Every problem
// stops by its own marginal error and says whether it converged; its values bracket the optimum:
// dual ≤ optimum ≤ primal.
#include <span>
#include <vector>

#include "engine/tensor.h"
#include "kernels/sinkhorn.h"

namespace voxot {

/// How a problem is solved (SinkhornParams), and what is kept.
struct SinkhornOptions : SinkhornParams {
  bool plan = false;  // keep each problem's plan
};

/// One problem: costs n×m in fp32 or fp64, weights, a start. It is solved where the costs lie.
struct SinkhornProblem {
  Tensor cost;
  std::span<const double> source_weights{};  // n numbers ≥ 0; none: 1/n each
  std::span<const double> target_weights{};  // m numbers ≥ 0; none: 1/m each
  std::span<const double> start{};           // m target potentials, of a similar problem; none: 0
};

/// The answer to one problem.
struct SinkhornResult {
  std::vector<double> f;  // n source potentials, in units of cost; f + c, g − c serve as well
  std::vector<double> g;  // m target potentials
  double epsilon = 0;     // absolute
  std::int64_t iterations = 0;
  double marginal_error = 0;  // Σ|P·1 − a| + Σ|Pᵀ·1 − b| as a share of the mass, of the plan of f and g
  double transport_cost = 0;  // ⟨C, P̂⟩ at the plan rounded to its marginals
  double primal = 0;          // the objective at P̂
  double dual = 0;
  bool converged = false;
  double largest_cost = 0;
  Tensor plan;  // n×m of f and g, in the costs' type, when asked for; its marginals are off by marginal_error
};

/// Throws Error for empty sets, shapes that do not match, costs that are not finite, weights that are not
/// finite, negative or all 0, masses that differ by more than 1e-5 of their size under hard marginals, and
/// options out of range, and for a relative ε of costs whose mean or largest is not above 0, unless all costs
/// are 0. Smaller differences of mass are taken out of the target's weights.
SinkhornResult sinkhorn(const SinkhornProblem& problem, const SinkhornOptions& options = {});
/// Each as if alone, bit for bit; sizes may differ, types may not.
std::vector<SinkhornResult> sinkhorn(std::span<const SinkhornProblem> problems,
                                     const SinkhornOptions& options = {});

/// Weights shared by all problems of a batch of features.
struct SinkhornWeights {
  std::span<const double> source{};
  std::span<const double> target{};
};

/// Costs between features by matrix products: x B×n×D or n×D, y B×m×D or m×D, fp32 or fp64.
/// Returns B×n×m or n×m. Throws Error for other shapes, and on the CPU for features that are not finite and
/// as check_costs_kept() does.
Tensor pairwise_cost(const Tensor& x, const Tensor& y, GroundCost cost);
/// Throws Error where the costs between the features n×D and m×D, of which `largest` is the largest, are so
/// small that their type cannot tell them from 0 though the features differ. Costs from a GPU are looked at
/// when the largest comes to the host.
void check_costs_kept(const Tensor& x, const Tensor& y, GroundCost cost, double largest);
/// B problems with these costs; one where x is n×D.
std::vector<SinkhornResult> sinkhorn(const Tensor& x, const Tensor& y, GroundCost cost,
                                     const SinkhornOptions& options = {},
                                     const SinkhornWeights& weights = {});

/// One problem of x n×D and y m×D in memory O((n + m)·D): the costs are computed again in every iteration.
/// Worth it from some 10,000 points, where the cost matrix does not fit. No plan.
SinkhornResult sinkhorn_streamed(const Tensor& x, const Tensor& y, GroundCost cost,
                                 const SinkhornOptions& options = {}, const SinkhornWeights& weights = {},
                                 std::span<const double> start = {});

}  // namespace voxot
