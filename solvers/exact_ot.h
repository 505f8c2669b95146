#pragma once
// Exact discrete optimal transport: linear assignment between equal uniform sets and plans between general
// marginals. Every answer carries its dual and the certificate computed from both, so that a reader need not
// trust the solver.
//
//   minimise Σ cost[i, j]·plan[i, j]        over plans with row sums a and column sums b
//   maximise Σ a[i]·f[i] + Σ b[j]·g[j]      over potentials with f[i] + g[j] ≤ cost[i, j]
//
// Costs are row-major, rows × columns, fp32 or double, of either sign; what is computed from them is double.
// The same costs give the same bits, whatever the number of threads. Every function here throws Error for
// sets that are empty, sizes that do not agree, and costs that are not finite or exceed 1e200 in size.
#include <cstdint>
#include <span>
#include <vector>

#include "engine/tensor.h"

namespace voxot {

/// What proves a plan optimal: no plan costs less than the dual value of potentials that satisfy all
/// constraints.
struct Certificate {
  double primal = 0;  // Σ cost·plan
  double dual = 0;    // Σ a·f + Σ b·g, less what the violations below could be worth: no plan costs less
  double magnitude = 0;  // Σ |cost|·plan, the primal where no cost is negative: rounding is relative to it
  double violation =
      0;  // largest f[i] + g[j] − cost[i, j], 0 where none is positive, over the largest |cost|
  double marginal_error = 0;  // Σ |row sums − a| + Σ |column sums − b|, over the mass
  double scale = 0;           // the largest |cost| times the mass: what a plan may cost at most

  /// (primal − dual) over the larger of magnitude and scale, 0 where rounding makes it negative. A plan that
  /// costs next to nothing, as that of a set with itself, is judged by what it could have cost.
  [[nodiscard]] double gap() const;
  /// The same over the magnitude alone: the share by which the plan may be dearer than the best. Infinite
  /// where a plan that costs nothing is not proved by the dual to the last bit.
  [[nodiscard]] double strict_gap() const;
  /// Nothing but rounding lies between the plan and the best: gap and marginal error are at most 1e-9.
  [[nodiscard]] bool proven() const;
};

/// The excess of a primal value over a dual one as a share of `scale`; 0 where rounding makes it negative.
double gap_over(double primal, double dual, double scale);

/// The assignment's value is in the certificate too, for masses of one at each point.
struct Assignment {
  std::vector<std::int64_t> partner;  // column of each row
  std::vector<double> row_potential;
  std::vector<double> column_potential;  // row + column ≤ cost, equal on the assignment
  double cost = 0;                       // Σ cost[i, partner[i]]
  Certificate certificate;
};

/// Points of a side whose costs 31 bits can count.
inline constexpr std::int64_t kMostAssigned = 46340;

/// Minimal-cost assignment of an n×n cost matrix (Jonker, Volgenant 1987, "A shortest augmenting path
/// algorithm for dense and sparse linear assignment problems"). O(n³) at worst. Where ties leave a choice it
/// is the same in every run.
Assignment assign(std::span<const float> cost, std::int64_t n);
Assignment assign(std::span<const double> cost, std::int64_t n);

/// `count` problems of n×n, one behind the other, solved in parallel.
std::vector<Assignment> assign_batch(std::span<const float> cost, std::int64_t count, std::int64_t n);
std::vector<Assignment> assign_batch(std::span<const double> cost, std::int64_t count, std::int64_t n);
/// Of count×n×n costs, fp32 or fp64, where they lie: of up to 256 points on a GPU only the answers come to
/// the host.
std::vector<Assignment> assign_batch(const Tensor& cost);

/// One element of a plan.
struct PlanEntry {
  std::int64_t row = 0;
  std::int64_t column = 0;
  double mass = 0;
};

/// A sparse plan between weights of rows and of columns, its potentials and the proof.
struct TransportPlan {
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  std::vector<PlanEntry> entries;  // positive masses by row, then column: at most rows + columns − 1 of them
  std::vector<double> row_potential;
  std::vector<double> column_potential;
  Certificate certificate;

  /// The plan as a row-major rows × columns matrix.
  [[nodiscard]] std::vector<double> dense() const;
};

/// How far the sums of both marginals may lie apart, relative to the larger: fp32 weights of 10⁵ points.
inline constexpr double kMassTolerance = 1e-5;

/// An optimal plan between weights a (rows) and b (columns) for a rows × columns cost matrix, by the network
/// simplex (LEMON); equal numbers of points with equal masses go to `assign`. Masses may be zero. Their sums
/// must agree to kMassTolerance; b is scaled to a's sum, and the plan's marginals are a and that b to 1e-15
/// of the mass. Throws Error also for masses that are negative or not finite, and for sums that are zero or
/// disagree.
TransportPlan exact_plan(std::span<const float> cost, std::span<const double> a, std::span<const double> b);
TransportPlan exact_plan(std::span<const double> cost, std::span<const double> a, std::span<const double> b);

/// The certificate of any plan and potentials, theirs or another solver's, from the costs alone. Masses are
/// those that the plan should have.
Certificate certify(std::span<const float> cost, std::span<const double> a, std::span<const double> b,
                    std::span<const PlanEntry> plan, std::span<const double> row_potential,
                    std::span<const double> column_potential);
Certificate certify(std::span<const double> cost, std::span<const double> a, std::span<const double> b,
                    std::span<const PlanEntry> plan, std::span<const double> row_potential,
                    std::span<const double> column_potential);

}  // namespace voxot
