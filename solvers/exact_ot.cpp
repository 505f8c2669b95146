#include "solvers/exact_ot.h"

#include <cmath>
#include <limits>

#include "kernels/check.h"

namespace voxot {

Assignment assign(std::span<const double> cost, std::int64_t n) {
  VOXOT_CHECK(n >= 1 && static_cast<std::int64_t>(cost.size()) == n * n, "assign: {} costs for {}×{}",
              cost.size(), n, n);
  for (const double c : cost) VOXOT_CHECK(std::isfinite(c), "assign: a cost is {}", c);
  const auto size = static_cast<std::size_t>(n);
  constexpr std::size_t kNone = std::numeric_limits<std::size_t>::max();
  Assignment result;
  result.partner.assign(size, -1);
  result.row_potential.assign(size, 0.0);
  result.column_potential.assign(size, 0.0);
  std::vector<double>& u = result.row_potential;
  std::vector<double>& v = result.column_potential;
  std::vector<std::size_t> owner(size, kNone);  // row of each column
  std::vector<double> distance(size);
  std::vector<std::size_t> previous(size);  // row before each column on the shortest path
  std::vector<char> done(size);
  for (std::size_t row = 0; row < size; ++row) {
    distance.assign(size, std::numeric_limits<double>::infinity());
    done.assign(size, 0);
    std::size_t at = row;
    std::size_t last = kNone;
    double reached = 0;
    while (last == kNone) {
      std::size_t next = kNone;
      double least = std::numeric_limits<double>::infinity();
      const double* costs = cost.data() + at * size;
      for (std::size_t j = 0; j < size; ++j) {
        if (done[j] != 0) continue;
        const double through = reached + costs[j] - u[at] - v[j];
        if (through < distance[j]) {
          distance[j] = through;
          previous[j] = at;
        }
        if (distance[j] < least) {
          least = distance[j];
          next = j;
        }
      }
      reached = least;
      done[next] = 1;
      if (owner[next] == kNone) {
        last = next;
      } else {
        at = owner[next];
      }
    }
    u[row] += reached;
    for (std::size_t j = 0; j < size; ++j) {
      if (done[j] == 0 || j == last) continue;
      u[owner[j]] += reached - distance[j];
      v[j] -= reached - distance[j];
    }
    for (std::size_t column = last;;) {
      const std::size_t from = previous[column];
      owner[column] = from;
      const std::int64_t before = result.partner[from];
      result.partner[from] = static_cast<std::int64_t>(column);
      if (from == row) break;
      column = static_cast<std::size_t>(before);
    }
  }
  for (std::size_t i = 0; i < size; ++i)
    result.cost += cost[i * size + static_cast<std::size_t>(result.partner[i])];
  return result;
}

}  // namespace voxot
