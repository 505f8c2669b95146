#include "solvers/network_simplex.h"

#define LEMON_ONLY_TEMPLATES
#include <lemon/network_simplex.h>
#include <lemon/smart_graph.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>

#include "kernels/check.h"
#include "kernels/sizes.h"

namespace voxot {
namespace {

constexpr int kMassBits = 60;
constexpr double kCostSteps = 0x1p60;  // shared by the nodes of the longest path
constexpr double kGap = 1e-9;          // proved to this, a plan needs no finer steps
constexpr int kRounds = 6;
constexpr std::size_t kAllArcs = 16384;  // costs up to which LEMON gets them all
/// Arcs of each row and each column at first, of each row each time. Up to kMiddle costs twice as many: they
/// spare LEMON most second runs, which cost as much as the first.
constexpr std::size_t kArcs = 16;
constexpr std::size_t kMiddle = std::size_t{1} << 17;
constexpr double kCapMargin = 16;  // a better plan may use somewhat dearer arcs than the last

/// Multiples of 2⁻⁶⁰ of the sum, which add up exactly: each is the difference of two rounded running sums.
std::vector<std::int64_t> whole_masses(std::span<const double> masses) {
  long double sum = 0;
  for (const double m : masses) sum += m;
  std::vector<std::int64_t> whole(masses.size());
  long double running = 0;
  std::int64_t before = 0;
  for (std::size_t i = 0; i < masses.size(); ++i) {
    running += masses[i];
    const std::int64_t now = i + 1 == masses.size() ? std::int64_t{1} << kMassBits
                                                    : std::llround(std::ldexp(running / sum, kMassBits));
    whole[i] = now - before;
    before = now;
  }
  return whole;
}

/// The costs less each row's least, then less each column's: none negative, a zero in every row and column.
template <class T>
struct ReducedCosts {
  ReducedCosts(std::span<const T> costs, std::size_t row_count, std::size_t column_count)
      : cost(costs), rows(row_count), columns(column_count), row_least(rows), column_least(columns) {
    constexpr double kInfinity = std::numeric_limits<double>::infinity();
    std::fill(column_least.begin(), column_least.end(), kInfinity);
    for (std::size_t i = 0; i < rows; ++i) {
      const T* const c = cost.data() + i * columns;
      row_least[i] = static_cast<double>(*std::min_element(c, c + columns));
      for (std::size_t j = 0; j < columns; ++j)
        column_least[j] = std::min(column_least[j], static_cast<double>(c[j]) - row_least[i]);
    }
    for (std::size_t i = 0; i < rows; ++i) {
      for (std::size_t j = 0; j < columns; ++j) most = std::max(most, at(i, j));
    }
  }
  [[nodiscard]] double at(std::size_t i, std::size_t j) const {
    return (static_cast<double>(cost[i * columns + j]) - row_least[i]) - column_least[j];
  }

  std::span<const T> cost;
  std::size_t rows, columns;
  std::vector<double> row_least, column_least;
  double most = 0;
};

/// A reduced cost as LEMON gets it.
template <class T>
struct WholeCosts {
  const ReducedCosts<T>& cost;
  double cap, per_step;
  [[nodiscard]] std::int64_t operator()(std::size_t i, std::size_t j) const {
    // Far below 2⁶³, and rounding to whole numbers in double is a single instruction.
    return static_cast<std::int64_t>(std::nearbyint(std::min(cost.at(i, j), cap) * per_step));
  }
};

/// The arcs that LEMON sees: for each row its columns, in order.
using Arcs = std::vector<std::vector<std::uint32_t>>;

/// The indices of the `Count` least of some values, the first of equals.
template <std::size_t Count, class V>
class Least {
 public:
  /// Valid until the next call; in no order.
  std::span<const std::uint32_t> operator()(std::span<const V> values) {
    // Each of Count interleaved parts has its own least; the largest of these bounds what is looked for.
    std::array<V, Count> least;
    least.fill(std::numeric_limits<V>::max());
    const std::size_t whole = values.size() / Count * Count;
    for (std::size_t k = 0; k < whole; k += Count) {
      for (std::size_t part = 0; part < Count; ++part) least[part] = std::min(least[part], values[k + part]);
    }
    const V bound = *std::max_element(least.begin(), least.end());
    indices_.resize(values.size());
    std::size_t found = 0;
    for (std::size_t k = 0; k < values.size(); ++k) {
      indices_[found] = static_cast<std::uint32_t>(k);
      found += values[k] <= bound ? 1 : 0;
    }
    const auto end = indices_.begin() + static_cast<std::ptrdiff_t>(found);
    if (found > Count) {
      std::nth_element(indices_.begin(), indices_.begin() + Count - 1, end,
                       [&](std::uint32_t j, std::uint32_t k) {
                         return values[j] < values[k] || (values[j] == values[k] && j < k);
                       });
    }
    return {indices_.data(), std::min(found, Count)};
  }

 private:
  std::vector<std::uint32_t> indices_;
};

void sort_unique(std::vector<std::uint32_t>& columns) {
  std::sort(columns.begin(), columns.end());
  columns.erase(std::unique(columns.begin(), columns.end()), columns.end());
}

/// The `Count` cheapest arcs of each row and column.
template <std::size_t Count, class T>
Arcs cheapest_arcs(const ReducedCosts<T>& cost) {
  Arcs arcs(cost.rows);
  Least<Count, double> least;
  std::vector<double> row(cost.columns);
  for (std::size_t i = 0; i < cost.rows; ++i) {
    for (std::size_t j = 0; j < cost.columns; ++j) row[j] = cost.at(i, j);
    const auto cheapest = least(row);
    arcs[i].assign(cheapest.begin(), cheapest.end());
  }
  // Several columns at a time: costs lie along rows.
  constexpr std::size_t kTogether = 16;
  std::vector<double> block(kTogether * cost.rows);
  for (std::size_t first = 0; first < cost.columns; first += kTogether) {
    const std::size_t width = std::min(kTogether, cost.columns - first);
    for (std::size_t i = 0; i < cost.rows; ++i) {
      for (std::size_t k = 0; k < width; ++k) block[k * cost.rows + i] = cost.at(i, first + k);
    }
    for (std::size_t k = 0; k < width; ++k) {
      for (const std::uint32_t i : least(std::span<const double>(block).subspan(k * cost.rows, cost.rows)))
        arcs[i].push_back(static_cast<std::uint32_t>(first + k));
    }
  }
  return arcs;
}

/// The cheapest arcs, and those of the north-west corner's plan, which has a flow for any masses; all arcs of
/// small problems.
template <class T>
Arcs first_arcs(const ReducedCosts<T>& cost, const std::vector<std::int64_t>& supply,
                const std::vector<std::int64_t>& demand) {
  if (cost.rows * cost.columns <= kAllArcs) {
    Arcs arcs(cost.rows, std::vector<std::uint32_t>(cost.columns));
    for (auto& columns : arcs) std::iota(columns.begin(), columns.end(), 0U);
    return arcs;
  }
  Arcs arcs =
      cost.rows * cost.columns <= kMiddle ? cheapest_arcs<2 * kArcs>(cost) : cheapest_arcs<kArcs>(cost);
  std::int64_t rows_to = supply[0];
  std::int64_t columns_to = demand[0];
  for (std::size_t i = 0, j = 0; i < cost.rows && j < cost.columns;) {
    arcs[i].push_back(static_cast<std::uint32_t>(j));
    if (rows_to <= columns_to) {
      if (++i < cost.rows) rows_to += supply[i];
    } else {
      if (++j < cost.columns) columns_to += demand[j];
    }
  }
  for (auto& columns : arcs) sort_unique(columns);
  return arcs;
}

/// LEMON's answer, in whole units of mass and steps of cost.
struct Flow {
  std::vector<std::vector<std::int64_t>> flow;  // of each arc
  std::vector<std::int64_t> potential;          // of rows, then columns: column − row ≤ cost
};

template <class T>
Flow run_lemon(const Arcs& arcs, const WholeCosts<T>& cost, const std::vector<std::int64_t>& supply,
               const std::vector<std::int64_t>& demand) {
  using Graph = lemon::SmartDigraph;
  const auto node = [](std::size_t id) { return Graph::nodeFromId(static_cast<int>(id)); };
  std::vector<std::int64_t> arc_costs;
  for (std::size_t i = 0; i < arcs.size(); ++i) {
    for (const std::uint32_t j : arcs[i]) arc_costs.push_back(cost(i, j));
  }
  VOXOT_CHECK(arc_costs.size() + 2 * (supply.size() + demand.size()) <= std::numeric_limits<int>::max(),
              "exact_plan: {} of {}×{} costs matter, more than LEMON's 2^31 arcs", arc_costs.size(),
              supply.size(), demand.size());
  Graph graph;
  graph.reserveNode(static_cast<int>(supply.size() + demand.size()));
  graph.reserveArc(static_cast<int>(arc_costs.size()));
  for (std::size_t k = 0; k < supply.size() + demand.size(); ++k) graph.addNode();
  for (std::size_t i = 0; i < arcs.size(); ++i) {
    for (const std::uint32_t j : arcs[i]) graph.addArc(node(i), node(supply.size() + j));
  }
  struct Masses {
    const std::vector<std::int64_t>&supply, &demand;
    std::int64_t operator[](Graph::Node n) const {
      const auto id = to_size(Graph::id(n));
      return id < supply.size() ? supply[id] : -demand[id - supply.size()];
    }
  };
  struct Costs {
    const std::vector<std::int64_t>& costs;
    std::int64_t operator[](Graph::Arc arc) const { return costs[to_size(Graph::id(arc))]; }
  };
  using Simplex = lemon::NetworkSimplex<Graph, std::int64_t, std::int64_t>;
  Simplex simplex(graph);
  const auto result = simplex.supplyMap(Masses{supply, demand}).costMap(Costs{arc_costs}).run();
  VOXOT_CHECK(result == Simplex::OPTIMAL, "exact_plan: the network simplex ended with result {}",
              static_cast<int>(result));
  Flow answer;
  int arc = 0;
  for (const auto& columns : arcs) {
    auto& flows = answer.flow.emplace_back();
    for (std::size_t k = 0; k < columns.size(); ++k) flows.push_back(simplex.flow(Graph::arcFromId(arc++)));
  }
  for (std::size_t k = 0; k < supply.size() + demand.size(); ++k)
    answer.potential.push_back(simplex.potential(node(k)));
  return answer;
}

/// Adds to each row the arcs that its potentials overcharge most; whether there was one.
template <class T>
bool add_violated(Arcs& arcs, const Flow& flow, const WholeCosts<T>& cost) {
  const std::size_t columns = flow.potential.size() - arcs.size();
  std::vector<std::int64_t> slack(columns);
  Least<kArcs, std::int64_t> least;
  bool any = false;
  for (std::size_t i = 0; i < arcs.size(); ++i) {
    for (std::size_t j = 0; j < columns; ++j)
      slack[j] = cost(i, j) + (flow.potential[i] - flow.potential[arcs.size() + j]);
    if (*std::min_element(slack.begin(), slack.end()) >= 0) continue;
    any = true;
    for (const std::uint32_t j : least(slack)) {
      if (slack[j] < 0) arcs[i].push_back(j);  // a negative slack: LEMON did not have this arc
    }
    sort_unique(arcs[i]);
  }
  return any;
}

template <class T>
TransportPlan read(const Arcs& arcs, const Flow& flow, const ReducedCosts<T>& cost, double mass,
                   double step) {
  TransportPlan plan;
  plan.rows = static_cast<std::int64_t>(cost.rows);
  plan.columns = static_cast<std::int64_t>(cost.columns);
  for (std::size_t j = 0; j < cost.columns; ++j) {
    // Counted from the first row's, since they hold only up to a constant: whole numbers lose nothing.
    const auto steps = static_cast<double>(flow.potential[cost.rows + j] - flow.potential[0]);
    plan.column_potential.push_back(cost.column_least[j] + steps * step);
  }
  for (std::size_t i = 0; i < cost.rows; ++i) {
    // The best that the column potentials allow: no rounding violates a constraint.
    double least = std::numeric_limits<double>::infinity();
    const T* const c = cost.cost.data() + i * cost.columns;
    for (std::size_t j = 0; j < cost.columns; ++j)
      least = std::min(least, static_cast<double>(c[j]) - plan.column_potential[j]);
    plan.row_potential.push_back(least);
    for (std::size_t k = 0; k < arcs[i].size(); ++k) {
      if (flow.flow[i][k] <= 0) continue;
      plan.entries.push_back({static_cast<std::int64_t>(i), static_cast<std::int64_t>(arcs[i][k]),
                              std::ldexp(static_cast<double>(flow.flow[i][k]) * mass, -kMassBits)});
    }
  }
  return plan;
}

}  // namespace

template <class T>
TransportPlan network_simplex(std::span<const T> cost, std::span<const double> a, std::span<const double> b) {
  const ReducedCosts<T> reduced(cost, a.size(), b.size());
  const std::vector<std::int64_t> supply = whole_masses(a);
  const std::vector<std::int64_t> demand = whole_masses(b);
  Arcs arcs = first_arcs(reduced, supply, demand);
  long double mass = 0;
  for (const double m : a) mass += m;
  const double nodes = static_cast<double>(a.size() + b.size() + 1);
  TransportPlan best;
  double cap = reduced.most;
  for (int round = 0; round < kRounds; ++round) {
    // A step of a power of two keeps small whole costs exact; all costs zero need no steps.
    const double step = cap > 0 ? std::exp2(std::ceil(std::log2(cap * nodes / kCostSteps))) : 1;
    const WholeCosts<T> whole{reduced, cap, 1 / step};
    Flow flow = run_lemon(arcs, whole, supply, demand);
    while (add_violated(arcs, flow, whole)) flow = run_lemon(arcs, whole, supply, demand);
    TransportPlan plan = read(arcs, flow, reduced, static_cast<double>(mass), step);
    plan.certificate = certify(cost, a, b, plan.entries, plan.row_potential, plan.column_potential);
    double used = 0;
    for (const PlanEntry& e : plan.entries)
      used = std::max(used, reduced.at(to_size(e.row), to_size(e.column)));
    if (round == 0 || plan.certificate.strict_gap() < best.certificate.strict_gap()) best = std::move(plan);
    const double lower = std::min(used * kCapMargin, cap / kCapMargin);
    if (best.certificate.strict_gap() <= kGap || !(lower > 0)) break;
    cap = lower;
  }
  return best;
}

template TransportPlan network_simplex(std::span<const float> cost, std::span<const double> a,
                                       std::span<const double> b);
template TransportPlan network_simplex(std::span<const double> cost, std::span<const double> a,
                                       std::span<const double> b);

}  // namespace voxot
