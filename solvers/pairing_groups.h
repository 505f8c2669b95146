#pragma once
// What both forms of pairing ask of their inputs, and the groups of equal labels within batches.
#include <limits>

#include "kernels/partners.h"
#include "kernels/sizes.h"
#include "solvers/pairing.h"

namespace voxot {

/// A batch's features, N×D and M×D.
struct PairFeatures {
  Tensor source;
  Tensor target;
};

/// Throws Error for features that are empty, do not match or are more than 2^20 samples.
PairFeatures pair_features(const Tensor& source, const Tensor& target);

/// Throws Error for relaxed marginals.
void check_pairing(const PairingOptions& options);

/// One side of a batch, its samples by ascending label; without labels as they are.
struct Side {
  Tensor features;             // N×D, in that order
  Buffer<std::int32_t> order;  // the sample at each place; none without labels
  std::vector<std::int32_t> host_order;
  std::vector<std::int64_t> labels;  // of the groups
  std::vector<std::int32_t> starts;  // of the groups, and the end

  /// The sample at a place.
  [[nodiscard]] std::int64_t sample(std::int64_t place) const {
    return host_order.empty() ? place : host_order[to_size(place)];
  }
};

/// A batch whose groups are known.
struct Sides {
  Side source;
  Side target;
};

/// The samples of one label in one batch, and the plan between them.
struct Group {
  std::size_t batch = 0;
  std::int64_t first_source = 0;  // places in the batch's order
  std::int64_t first_target = 0;
  std::int64_t first_row = 0;  // among the sources of all groups
  Tensor cost;                 // sources × targets
  Tensor plan;                 // the same, of mass 1; none where it is a permutation
  std::vector<std::int32_t> permutation;
  std::vector<double> f, g;  // the plan's potentials
  double marginal_error = 0;
  double primal = 0;  // of mass 1, as the dual
  double dual = 0;
  double largest_cost = 0;
  double epsilon = 0;  // absolute; 0 of an exact plan
  double exact_cost = std::numeric_limits<double>::quiet_NaN();
  std::int64_t iterations = 0;
  bool converged = true;

  [[nodiscard]] std::int64_t rows() const { return cost.extent(0); }
  [[nodiscard]] std::int64_t columns() const { return cost.extent(1); }
  [[nodiscard]] PlanExtent extent() const { return {rows(), columns()}; }
};

/// Sorts a batch's samples by label where the labels lie; the groups' labels and sizes come to the host.
/// Throws Error as pair() does.
Sides sides_of(const PairingBatch& batch);

/// The costs of a problem, in fp64 where PairingOptions says so.
Tensor pairing_cost(const Tensor& source, const Tensor& target, const PairingOptions& options);

/// The batches' groups with their costs, batch by batch, by ascending label. Throws Error for a label that
/// one side lacks.
std::vector<Group> groups_of(const std::vector<Sides>& batches, const PairingOptions& options);

}  // namespace voxot
