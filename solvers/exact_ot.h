#pragma once
// Exact discrete optimal transport between equal, uniform sets: linear assignment by shortest augmenting
// paths (Jonker, Volgenant 1987), with the dual that certifies it.
#include <cstdint>
#include <span>
#include <vector>

namespace voxot {

struct Assignment {
  std::vector<std::int64_t> partner;  // column of each row
  std::vector<double> row_potential;
  std::vector<double> column_potential;  // row + column ≤ cost, equal on the assignment
  double cost = 0;                       // Σ cost[i, partner[i]]
};

/// Minimal-cost assignment of an n×n row-major cost matrix. Throws Error for a size that is no square and for
/// costs that are not finite.
Assignment assign(std::span<const double> cost, std::int64_t n);

}  // namespace voxot
