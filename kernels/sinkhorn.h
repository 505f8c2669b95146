#pragma once
// Entropic optimal transport between discrete measures a and b under a cost C (Cuturi, NIPS 2013), hard or
// KL-relaxed marginals (Chizat, Peyré, Schmitzer, Vialard, Math. Comp. 2018):
//
//   min over P ≥ 0 of  ⟨C, P⟩ + ε·KL(P | a⊗b) + ρ_a·KL(P·1 | a) + ρ_b·KL(Pᵀ·1 | b),
//   KL(p | q) = Σ p·log(p/q) − p + q;  ρ = ∞ demands the marginal.
//
// The plan is P_ij = a_i·b_j·exp((f_i + g_j − C_ij)/ε), and the potentials are found by alternating
//
//   f_i ← −λ_a·ε·log Σ_j b_j·exp((g_j − C_ij)/ε),  λ = ρ/(ρ + ε),   and g likewise.
//
// Weights and potentials are f64, costs fp32 or f64. Differences f_i + g_j − C_ij are taken in double before
// anything is rounded, so fp32 costs lose no digits to a small ε.
#include <limits>

#include "kernels/pairwise_cost.h"
#include "kernels/philox.h"

namespace voxot {

/// What ε is a multiple of: a number above 0, or 0 where all costs are.
enum class EpsilonUnit : std::uint8_t { absolute, mean_cost, max_cost };

/// What all problems of a batch share.
struct SinkhornParams {
  double epsilon = 0.05;
  EpsilonUnit unit = EpsilonUnit::absolute;
  /// Stops when the L1 marginal error Σ|P·1 − a| + Σ|Pᵀ·1 − b|, as a share of the mass, is at most this. With
  /// a relaxed marginal, a is replaced by what optimality asks of it, a·exp(−f/ρ).
  double tolerance = 1e-6;
  std::int64_t max_iterations = 10000;  // of f and g both
  /// In (0, 1): ε begins at the largest cost and is multiplied by this until it is reached, unless g brings a
  /// start. 0: off.
  double scaling = 0;
  /// ω in [1, 2): f ← (1 − ω)·f + ω·f_new. Near the optimum every ω in (0, 2) converges; from anywhere it is
  /// proved of a range a priori that shrinks to 1 with ε (Lehmann, von Renesse, Sambale, Uschmajew, Optim.
  /// Lett. 2022). So a coordinate for which ω would raise the dual too little takes 1: the dual rises in
  /// every step, which is what convergence rests on (Thibault, Chizat, Dossal, Papadakis, 2017). Hard
  /// marginals only.
  double over_relaxation = 1;
  double rho_a = std::numeric_limits<double>::infinity();
  double rho_b = std::numeric_limits<double>::infinity();
  /// Both sides are one set: as many rows as columns, symmetric costs, equal weights and ρ. Then f ← ½(f +
  /// f_new) and g = f, which halves the error in every iteration, however small ε is, where exp(−C/ε) is
  /// positive definite, as it is for every GroundCost (Knight, Ruiz, Uçar, SIAM J. Matrix Anal. 2014; Feydy
  /// et al., AISTATS 2019). Costs that turn out not to be symmetric are finished by the alternating update.
  /// `scaling` and `over_relaxation` are for that one alone.
  bool symmetric = false;

  [[nodiscard]] bool hard() const { return std::isinf(rho_a) && std::isinf(rho_b); }
  /// Throws Error for what is out of range.
  void validate() const;
};

/// The over-relaxed potential after `old`, when `fresh` is the plain update: ω where the dual gains at least
/// half of what ω would bring close to the optimum, else 1.
VOXOT_HOST_DEVICE inline double over_relaxed(double old, double fresh, double epsilon, double omega) {
  const double t = (fresh - old) / epsilon;
  const double plain = t - 1 + std::exp(-t);
  const double gain = omega * t - std::exp(-t) * (std::exp(omega * t) - 1);
  return gain >= 0.5 * omega * (2 - omega) * plain ? old + omega * (fresh - old) : fresh;
}

/// One problem of a batch: where its parts begin, in elements.
struct SinkhornShape {
  std::int64_t rows = 1;
  std::int64_t columns = 1;
  std::int64_t cost = 0;    // rows × columns, row-major
  std::int64_t source = 0;  // a and f
  std::int64_t target = 0;  // b and g
};

/// What is said of one solved problem.
struct SinkhornStatus {
  double epsilon = 0;  // absolute
  std::int64_t iterations = 0;
  double marginal_error = 0;  // of the potentials that are returned, in double, as a share of the mass
  /// ⟨C, P⟩ and the whole objective at a plan that is feasible: the potentials' plan rounded to its marginals
  /// (Altschuler, Weed, Rigollet, NIPS 2017, algorithm 2). So dual ≤ optimum ≤ primal.
  double transport_cost = 0;
  double primal = 0;
  /// The dual objective at f and g, less a bound of its own rounding.
  double dual = 0;
  bool converged = false;
  double largest_cost = 0;  // not in size: the largest number
};

/// ε in absolute terms. Not above 0 where the unit is not: then there is no problem to solve.
VOXOT_HOST_DEVICE inline double absolute_epsilon(const SinkhornParams& p, double mean_cost,
                                                 double largest_cost) {
  // All costs 0: every ε gives the same plan.
  if (p.unit == EpsilonUnit::absolute || (mean_cost == 0 && largest_cost == 0)) return p.epsilon;
  return p.epsilon * (p.unit == EpsilonUnit::mean_cost ? mean_cost : largest_cost);
}

/// Rows and columns of a problem that cuda solves without the host.
inline constexpr std::int64_t kMostQueuedOnCuda = 256;

namespace kernels {

/// Weights and potentials of all problems, f64, in the device's memory. Hard marginals need equal masses.
/// Weights may be 0, their potentials are those of the formula above.
struct SinkhornSides {
  const double* a;
  const double* b;
  double* f;
  double* g;  // a start on entry

  /// Those of one problem of a batch.
  [[nodiscard]] SinkhornSides of(const SinkhornShape& s) const {
    return {a + s.source, b + s.target, f + s.source, g + s.target};
  }
};

struct SinkhornBatch {
  std::int64_t count;           // problems
  const SinkhornShape* shapes;  // the host's on every device
  const void* cost;
  SinkhornSides sides;
  SinkhornStatus* statuses;  // the host's on every device
};
/// Solves every problem by itself: f and g hold the answer on return, and the statuses are waited for. A
/// relative ε of costs whose unit is not above 0 is in the status, with a marginal error of NaN, and nothing
/// is iterated.
inline constinit Kernel<void(DType, const SinkhornParams&, const SinkhornBatch&)> sinkhorn{"sinkhorn"};

struct SinkhornPlans {
  std::int64_t count;           // problems
  const double* epsilons;       // the host's on every device
  const SinkhornShape* shapes;  // the host's on every device
  const void* cost;
  const double* a;
  const double* b;
  const double* f;
  const double* g;
  void* plan;  // laid out as the costs
};
/// plan ← a_i·b_j·exp((f_i + g_j − C_ij)/ε).
inline constinit Kernel<void(DType, const SinkhornPlans&)> sinkhorn_plan{"sinkhorn_plan"};

struct SinkhornQueued {
  std::int64_t rows;
  std::int64_t columns;
  const void* cost;
  SinkhornSides sides;
  SinkhornStatus* status;  // the device's, as all of it
  void* plan;
};
/// One problem and its plan, for static steps: nothing is waited for. On cuda at most kMostQueuedOnCuda rows
/// and columns. Bit for bit what sinkhorn and sinkhorn_plan make; with costs that are not finite the marginal
/// error is NaN.
inline constinit Kernel<void(DType, const SinkhornParams&, const SinkhornQueued&)> sinkhorn_queued{
    "sinkhorn_queued"};

struct SinkhornStreamed {
  PairwiseCostParams features;  // batch is 1
  const void* x;
  const void* y;
  SinkhornSides sides;
  SinkhornStatus* status;  // the host's on every device
};
/// One problem whose costs are computed from the features, a few rows at a time, whenever they are needed:
/// memory O(n·D + columns).
inline constinit Kernel<void(DType, const SinkhornParams&, const SinkhornStreamed&)> sinkhorn_streamed{
    "sinkhorn_streamed"};

}  // namespace kernels
}  // namespace voxot
