#include "solvers/network_simplex.h"

#define LEMON_ONLY_TEMPLATES
#include <lemon/network_simplex.h>
#include <lemon/smart_graph.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "kernels/check.h"

namespace voxot {
namespace {

constexpr int kMassBits = 60;
constexpr double kCostSteps = 0x1p60;  // shared by the nodes of the longest path
constexpr double kGap = 1e-9;          // proved to this, a plan needs no finer steps
constexpr int kRounds = 6;
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

/// LEMON's problem, built once for all rounds.
class Network {
 public:
  using Graph = lemon::SmartDigraph;
  using Simplex = lemon::NetworkSimplex<Graph, std::int64_t, std::int64_t>;

  Network(const std::vector<std::int64_t>& supply, const std::vector<std::int64_t>& demand)
      : rows_(supply.size()), columns_(demand.size()) {
    VOXOT_CHECK(rows_ * columns_ + 2 * (rows_ + columns_) <= std::numeric_limits<int>::max(),
                "exact_plan: {}×{} costs are more than LEMON's 2^31 arcs", rows_, columns_);
    graph_.reserveNode(static_cast<int>(rows_ + columns_));
    graph_.reserveArc(static_cast<int>(rows_ * columns_));
    for (std::size_t k = 0; k < rows_ + columns_; ++k) graph_.addNode();
    for (std::size_t i = 0; i < rows_; ++i) {
      for (std::size_t j = 0; j < columns_; ++j) graph_.addArc(node(i), node(rows_ + j));
    }
    simplex_.emplace(graph_);
    const Masses masses{&supply, &demand};
    simplex_->supplyMap(masses);
  }

  /// Solves it for the costs capped at `cap`, in steps of `step`.
  template <class T>
  void run(const ReducedCosts<T>& cost, double cap, double step) {
    simplex_->costMap(Costs<T>{&cost, cap, 1 / step});
    const auto result = simplex_->run();
    VOXOT_CHECK(result == Simplex::OPTIMAL, "exact_plan: the network simplex ended with result {}",
                static_cast<int>(result));
  }

  [[nodiscard]] std::int64_t flow(std::size_t i, std::size_t j) const {
    return simplex_->flow(Graph::arcFromId(static_cast<int>(i * columns_ + j)));
  }
  /// In steps, counted from the first column's, since they hold only up to a common constant.
  [[nodiscard]] double column_potential(std::size_t j) const {
    return static_cast<double>(simplex_->potential(node(rows_ + j)) - simplex_->potential(node(rows_)));
  }

 private:
  static Graph::Node node(std::size_t id) { return Graph::nodeFromId(static_cast<int>(id)); }

  struct Masses {
    const std::vector<std::int64_t>* supply;
    const std::vector<std::int64_t>* demand;
    std::int64_t operator[](Graph::Node n) const {
      const auto id = static_cast<std::size_t>(Graph::id(n));
      return id < supply->size() ? (*supply)[id] : -(*demand)[id - supply->size()];
    }
  };
  template <class T>
  struct Costs {
    const ReducedCosts<T>* cost;
    double cap, per_step;
    std::int64_t operator[](Graph::Arc arc) const {
      const auto id = static_cast<std::size_t>(Graph::id(arc));
      const double reduced = cost->at(id / cost->columns, id % cost->columns);
      return std::llround(std::min(reduced, cap) * per_step);
    }
  };

  std::size_t rows_, columns_;
  Graph graph_;
  std::optional<Simplex> simplex_;
};

template <class T>
TransportPlan read(const Network& network, const ReducedCosts<T>& cost, double mass, double step) {
  TransportPlan plan;
  plan.rows = static_cast<std::int64_t>(cost.rows);
  plan.columns = static_cast<std::int64_t>(cost.columns);
  for (std::size_t j = 0; j < cost.columns; ++j)
    plan.column_potential.push_back(cost.column_least[j] + network.column_potential(j) * step);
  for (std::size_t i = 0; i < cost.rows; ++i) {
    // The best that the column potentials allow: no rounding violates a constraint.
    double least = std::numeric_limits<double>::infinity();
    const T* const c = cost.cost.data() + i * cost.columns;
    for (std::size_t j = 0; j < cost.columns; ++j) {
      least = std::min(least, static_cast<double>(c[j]) - plan.column_potential[j]);
      const std::int64_t flow = network.flow(i, j);
      if (flow <= 0) continue;
      plan.entries.push_back({static_cast<std::int64_t>(i), static_cast<std::int64_t>(j),
                              std::ldexp(static_cast<double>(flow) * mass, -kMassBits)});
    }
    plan.row_potential.push_back(least);
  }
  return plan;
}

}  // namespace

template <class T>
TransportPlan network_simplex(std::span<const T> cost, std::span<const double> a, std::span<const double> b) {
  const ReducedCosts<T> reduced(cost, a.size(), b.size());
  Network network(whole_masses(a), whole_masses(b));
  long double mass = 0;
  for (const double m : a) mass += m;
  const double nodes = static_cast<double>(a.size() + b.size() + 1);
  TransportPlan best;
  double cap = reduced.most;
  for (int round = 0; round < kRounds; ++round) {
    // A step of a power of two keeps small whole costs exact; all costs zero need no steps.
    const double step = cap > 0 ? std::exp2(std::ceil(std::log2(cap * nodes / kCostSteps))) : 1;
    network.run(reduced, cap, step);
    TransportPlan plan = read(network, reduced, static_cast<double>(mass), step);
    plan.certificate = certify(cost, a, b, plan.entries, plan.row_potential, plan.column_potential);
    double used = 0;
    for (const PlanEntry& e : plan.entries)
      used = std::max(used, reduced.at(static_cast<std::size_t>(e.row), static_cast<std::size_t>(e.column)));
    if (round == 0 || plan.certificate.gap() < best.certificate.gap()) best = std::move(plan);
    const double lower = std::min(used * kCapMargin, cap / kCapMargin);
    if (best.certificate.gap() <= kGap || !(lower > 0)) break;
    cap = lower;
  }
  return best;
}

template TransportPlan network_simplex(std::span<const float> cost, std::span<const double> a,
                                       std::span<const double> b);
template TransportPlan network_simplex(std::span<const double> cost, std::span<const double> a,
                                       std::span<const double> b);

}  // namespace voxot
