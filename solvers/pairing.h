#pragma once
// Minibatch pairing: each sample of a source batch gets a partner in a target batch, through a transport plan
// between the two: cost → plan → partner. What conditional models are trained on (Tong et al., TMLR 2024,
// arXiv 2302.00482; Pooladian et al., ICML 2023, arXiv 2304.14772).
#include <cmath>

#include "solvers/partners.h"
#include "solvers/sinkhorn.h"

namespace voxot {

/// The larger of two errors that certificates name; NaN where either is.
inline double worse(double a, double b) { return a > b || std::isnan(a) ? a : b; }

/// Which plan lies between the batches: an entropic one, or an optimal one.
enum class PairingPlan : std::uint8_t { sinkhorn, exact };

/// Costs of an exact plan are fp64 whatever the features are, so that its certificate speaks of the features
/// as they came. So are cosines, whose small angles fp32 rounds off. Other costs have the features' type.
struct PairingOptions {
  PairingPlan plan = PairingPlan::sinkhorn;
  PartnerRule rule = PartnerRule::sample;
  GroundCost cost = GroundCost::half_squared_per_dimension;
  /// ε and when to stop (uniform, hard marginals; ρ must be infinite).
  SinkhornOptions sinkhorn;
  /// Solve the exact problem too, for the gap of the diagnostics. O(n³).
  bool compare_exact = true;
  bool keep_plan = false;
  std::uint64_t seed = 0;
};

/// A source batch and a target batch. The plan is between the features: tensors whose first axis counts the
/// samples, fp32 or fp64; the rest is flattened. They may be the samples themselves or anything made of them.
struct PairingBatch {
  Tensor source;
  Tensor target;
  /// One label for each sample, on the features' device, or none at all: pairs are formed within equal labels
  /// only.
  Buffer<std::int64_t> source_labels{};
  Buffer<std::int64_t> target_labels{};
};

/// What pairs are like.
struct PairingDiagnostics {
  double effective_partners = 0;  // exp of a row's entropy, mean over the rows: 1 where the plan is a map
  double plan_entropy = 0;        // −Σ P·log P of the plan of mass 1, nats
  double reused = 0;              // share of the pairs whose target had a pair before
  std::int64_t most_reused = 0;   // pairs of the most wanted target
  double cost = 0;                // mean over the pairs
  double exact_cost = 0;          // of the exact plan; NaN when it was not asked for
  /// (cost − exact cost)/exact cost; 0 where both are 0, NaN when it was not asked for. Below 0 where targets
  /// are left out or used again to save cost.
  [[nodiscard]] double gap() const;
};

/// The pairs of one batch, and what is said of their plan.
struct Pairing {
  std::vector<std::int64_t> partner;  // the target's index for each source
  std::vector<double> cost;           // of each pair
  PairingDiagnostics diagnostics;
  /// Of the worst of the batch's problems, one for each label: Sinkhorn's marginal error, or the
  /// certificate's of the exact plan.
  double marginal_error = 0;
  /// The plan's values for mass 1, of all its problems together: no plan's is below the dual one. Of a
  /// Sinkhorn plan those of its objective (kernels/sinkhorn.h).
  double primal = 0;
  double dual = 0;
  /// (primal − dual) over the largest of |primal|, ε and the largest cost.
  double duality_gap = 0;
  double epsilon = 0;           // absolute, the largest of its problems; 0 of an exact plan
  std::int64_t iterations = 0;  // of the slowest
  /// Sinkhorn reached the tolerance; an exact plan is proven by its certificate.
  bool converged = true;
  /// The plan's potentials, f of the sources and g of the targets, in units of cost; g starts sinkhorn again.
  /// Of a Sinkhorn plan those of kernels/sinkhorn.h, of an exact one duals: f_i + g_j is at most the cost and
  /// is the cost where the plan has mass. With labels they hold within one label; f_i + g_j of two labels
  /// means nothing.
  std::vector<double> f, g;
  Tensor plan;  // n×m of mass 1 in the features' type, on the CPU, when asked for
};

/// Pairs every batch by itself; all their problems, of whatever size, are solved side by side. The partners
/// of batch b depend on its samples, the seed and the number first_draw + b alone. Everything is done on the
/// features' device; partners, pair costs and sums of the plans' rows come to the host, and there also exact
/// problems that are not square or have more than kMostAssignedOnCuda points, which it solves. Throws Error
/// for empty batches, features that do not match or are not finite, labels of which one side has none, and a
/// permutation between sets that differ in size.
std::vector<Pairing> pair(std::span<const PairingBatch> batches, const PairingOptions& options,
                          std::uint64_t first_draw = 0);
Pairing pair(const Tensor& source, const Tensor& target, const PairingOptions& options,
             std::uint64_t draw = 0);

/// A pairing that stays where the features lie.
struct QueuedPairing {
  Buffer<std::int32_t> partner;   // the target's row for each source: gather_rows(target, partner)
  Tensor cost;                    // n×m
  Tensor plan;                    // n×m of mass 1; none of an exact plan, which the partners are
  Buffer<SinkhornStatus> status;  // of the one problem; none of an exact plan
};

/// Pairs one batch without labels as pair() does, bit for bit, for static steps: it queues all of it and
/// waits for nothing, so that partners can be drawn, gathered and trained on within a recorded iteration.
/// *draw is the draw's number, in the memory of the features' device. A GPU takes up to kMostQueuedOnCuda
/// samples a side. Features that are not finite make a status whose marginal error is NaN; the caller looks
/// at it and at `converged` every so many steps. Assignments have no certificate here: costs of very unlike
/// size are solved once, where pair() would solve them a second time, and an exact plan of features that are
/// not finite is the identity. compare_exact and keep_plan have no effect. Throws Error as pair() does, and
/// for an exact plan between sets that differ in size.
QueuedPairing queue_pairing(const Tensor& source, const Tensor& target, const PairingOptions& options,
                            const std::uint64_t* draw);

}  // namespace voxot
