#include "solvers/exact_ot.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/buffer.h"
#include "kernels/assignment.h"
#include "kernels/dual_excess.h"
#include "kernels/first_exception.h"
#include "kernels/partners.h"
#include "kernels/sizes.h"
#include "solvers/network_simplex.h"

namespace voxot {
namespace {

constexpr std::int64_t kParallelGrain = 65536;  // costs below which threads cost more than they do
// Rounding with costs of like size leaves gaps near 1e-13. Where a gap is above this, a row or column had a
// potential far larger than the value, and the slower form, whose potentials are bounded by it, is tried.
constexpr double kGap = 1e-9;

template <class T>
constexpr DType kDType = std::is_same_v<T, float> ? DType::f32 : DType::f64;

template <class T>
void check_costs(const char* what, std::span<const T> cost, std::int64_t rows, std::int64_t columns) {
  std::int64_t bad = 0;
  for (const T c : cost) bad += std::abs(static_cast<double>(c)) <= kLargestAssignedCost ? 0 : 1;
  if (bad == 0) return;
  for (std::size_t k = 0;; ++k) {
    if (std::abs(static_cast<double>(cost[k])) <= kLargestAssignedCost) continue;
    const auto at = static_cast<std::int64_t>(k) % (rows * columns);
    fail("{}: cost [{}, {}] of {}×{} is {}", what, at / columns, at % columns, rows, columns, cost[k]);
  }
}

/// Finite and not negative; returns the sum.
double check_masses(const char* name, std::span<const double> masses) {
  long double sum = 0;
  for (std::size_t i = 0; i < masses.size(); ++i) {
    VOXOT_CHECK(std::isfinite(masses[i]) && masses[i] >= 0, "exact_plan: mass {}[{}] is {}", name, i,
                masses[i]);
    sum += masses[i];
  }
  VOXOT_CHECK(sum > 0 && std::isfinite(static_cast<double>(sum)), "exact_plan: the masses {} sum to {}", name,
              static_cast<double>(sum));
  return static_cast<double>(sum);
}

/// What the constraints say of the potentials: how far the worst of each row is violated, times its mass.
struct Violations {
  double worst = 0;
  long double worth = 0;
  double largest_cost = 0;
};

Violations violations(const std::vector<double>& excess, const std::vector<double>& largest,
                      std::span<const double> masses) {
  Violations found;
  for (std::size_t i = 0; i < excess.size(); ++i) {
    found.largest_cost = std::max(found.largest_cost, largest[i]);
    if (excess[i] <= 0) continue;
    found.worst = std::isnan(excess[i]) ? excess[i] : std::max(found.worst, excess[i]);
    found.worth += static_cast<long double>(excess[i]) * (masses.empty() ? 1.0 : masses[i]);
  }
  return found;
}

/// `masses` of the rows; none: one each.
template <class T>
Violations violations(const T* cost, std::span<const double> row_potential,
                      std::span<const double> column_potential, std::span<const double> masses) {
  std::vector<double> excess(row_potential.size());
  std::vector<double> largest(row_potential.size());
  kernels::dual_excess({}, kDType<T>, {1, std::ssize(row_potential), std::ssize(column_potential)},
                       {.cost = cost,
                        .f = row_potential.data(),
                        .g = column_potential.data(),
                        .excess = excess.data(),
                        .largest = largest.data()});
  return violations(excess, largest, masses);
}

double relative(double value, double size) { return value == 0 ? 0 : value / size; }

/// Certifies an assignment by what its pairs cost. Both potentials of a pair are added first: where the plan
/// is an assignment their sum is a cost, and what cancels between them costs no accuracy.
void certify_assignment(Assignment& a, std::span<const double> pair_costs, const Violations& v) {
  const std::size_t n = a.partner.size();
  long double primal = 0;
  long double dual = 0;
  long double magnitude = 0;
  std::vector<char> taken(n);
  for (std::size_t i = 0; i < n; ++i) {
    const auto j = to_size(a.partner[i]);
    const auto c = static_cast<long double>(pair_costs[i]);
    primal += c;
    magnitude += std::abs(c);
    dual += static_cast<long double>(a.row_potential[i]) + static_cast<long double>(a.column_potential[j]);
    taken[j] = 1;
  }
  const auto used = static_cast<double>(std::count(taken.begin(), taken.end(), 1));
  a.certificate = {static_cast<double>(primal),           static_cast<double>(dual - v.worth),
                   static_cast<double>(magnitude),        relative(v.worst, v.largest_cost),
                   2 - 2 * used / static_cast<double>(n), v.largest_cost * static_cast<double>(n)};
  a.cost = a.certificate.primal;
}

template <class T>
Certificate certify_plan(std::span<const T> cost, std::span<const double> a, std::span<const double> b,
                         std::span<const PlanEntry> plan, std::span<const double> row_potential,
                         std::span<const double> column_potential) {
  VOXOT_CHECK(!a.empty() && !b.empty() && cost.size() == a.size() * b.size() &&
                  row_potential.size() == a.size() && column_potential.size() == b.size(),
              "certify: {} costs and {} and {} potentials for {}×{} masses", cost.size(),
              row_potential.size(), column_potential.size(), a.size(), b.size());
  const Violations v = violations(cost.data(), row_potential, column_potential, a);
  std::vector<long double> row_rest(a.begin(), a.end());
  std::vector<long double> column_rest(b.begin(), b.end());
  long double primal = 0;
  long double magnitude = 0;
  for (const PlanEntry& e : plan) {
    const auto i = to_size(e.row);
    const auto j = to_size(e.column);
    VOXOT_CHECK(e.row >= 0 && i < a.size() && e.column >= 0 && j < b.size(),
                "certify: entry [{}, {}] of a {}×{} plan", e.row, e.column, a.size(), b.size());
    const auto c = static_cast<long double>(cost[i * b.size() + j]);
    primal += c * e.mass;
    magnitude += std::abs(c) * e.mass;
    row_rest[i] -= e.mass;
    column_rest[j] -= e.mass;
  }
  long double dual = 0;
  long double mass = 0;
  long double error = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    dual += static_cast<long double>(a[i]) * row_potential[i];
    mass += a[i];
    error += std::abs(row_rest[i]);
  }
  for (std::size_t j = 0; j < b.size(); ++j) {
    dual += static_cast<long double>(b[j]) * column_potential[j];
    error += std::abs(column_rest[j]);
  }
  return {static_cast<double>(primal),       static_cast<double>(dual - v.worth),
          static_cast<double>(magnitude),    relative(v.worst, v.largest_cost),
          static_cast<double>(error / mass), v.largest_cost * static_cast<double>(mass)};
}

/// The answers of `count` problems of n points, one behind the other, without their certificates.
std::vector<Assignment> split(std::int64_t n, const std::vector<std::int32_t>& partner,
                              const std::vector<double>& f, const std::vector<double>& g) {
  std::vector<Assignment> results(partner.size() / to_size(n));
  for (std::size_t k = 0; k < results.size(); ++k) {
    const auto at = static_cast<std::ptrdiff_t>(k) * n;
    results[k].partner.assign(partner.begin() + at, partner.begin() + at + n);
    results[k].row_potential.assign(f.begin() + at, f.begin() + at + n);
    results[k].column_potential.assign(g.begin() + at, g.begin() + at + n);
  }
  return results;
}

template <class T>
std::vector<Assignment> solve(std::span<const T> cost, std::int64_t count, std::int64_t n, bool initialise) {
  const auto all = to_size(count * n);
  std::vector<std::int32_t> partner(all);
  std::vector<double> f(all);
  std::vector<double> g(all);
  kernels::assignment({}, kDType<T>, {.count = count, .n = n, .initialise = initialise},
                      {.cost = cost.data(),
                       .column_of_row = partner.data(),
                       .row_potential = f.data(),
                       .column_potential = g.data()});
  std::vector<Assignment> results = split(n, partner, f, g);
  FirstException failed;
#pragma omp parallel for schedule(static) if (count * n * n > kParallelGrain)
  for (std::int64_t k = 0; k < count; ++k) {
    failed.guard([&] {
      Assignment& r = results[to_size(k)];
      const T* const costs = cost.data() + k * n * n;
      std::vector<double> pairs;
      for (std::int64_t i = 0; i < n; ++i)
        pairs.push_back(static_cast<double>(costs[i * n + r.partner[to_size(i)]]));
      certify_assignment(r, pairs, violations(costs, r.row_potential, r.column_potential, {}));
    });
  }
  failed.rethrow();
  return results;
}

/// The same where the costs lie: what comes to the host is a few numbers for each point.
std::vector<Assignment> solve(const Tensor& cost, bool initialise) {
  const std::int64_t count = cost.extent(0);
  const std::int64_t n = cost.extent(1);
  const Device device = cost.device();
  const Stream stream = cost.stream();
  const Buffer<std::int32_t> partner(count * n, device);
  const Buffer<double> f(count * n, device);
  const Buffer<double> g(count * n, device);
  const Buffer<double> excess(count * n, device);
  const Buffer<double> largest(count * n, device);
  const Buffer<double> pair_costs(count * n, device);
  kernels::assignment(stream, cost.dtype(), {.count = count, .n = n, .initialise = initialise},
                      {.cost = cost.data(),
                       .column_of_row = partner.data(),
                       .row_potential = f.data(),
                       .column_potential = g.data()});
  kernels::dual_excess(stream, cost.dtype(), {count, n, n},
                       {.cost = cost.data(),
                        .f = f.data(),
                        .g = g.data(),
                        .excess = excess.data(),
                        .largest = largest.data()});
  kernels::pair_costs(stream, cost.dtype(), {count * n, n}, cost.data(), partner.data(), pair_costs.data());
  std::vector<Assignment> results = split(n, partner.to_host(), f.to_host(), g.to_host());
  const std::vector<double> pairs = pair_costs.to_host();
  const std::vector<double> excesses = excess.to_host();
  const std::vector<double> sizes = largest.to_host();
  for (std::size_t k = 0; k < results.size(); ++k) {
    const auto part = [&](const std::vector<double>& all) {
      const auto at = static_cast<std::ptrdiff_t>(k) * n;
      return std::vector<double>(all.begin() + at, all.begin() + at + n);
    };
    VOXOT_CHECK(!std::isnan(results[k].row_potential[0]),
                "assign: problem {} of {} has costs that are not finite, or exceed {}", k, count,
                kLargestAssignedCost);
    certify_assignment(results[k], part(pairs), violations(part(excesses), part(sizes), {}));
  }
  return results;
}

/// Where a certificate leaves a gap the problem is solved again by again(k), in the slower form.
template <class Again>
std::vector<Assignment> closed(std::vector<Assignment> results, const Again& again) {
  for (std::size_t k = 0; k < results.size(); ++k) {
    if (results[k].certificate.strict_gap() <= kGap) continue;
    Assignment other = again(static_cast<std::int64_t>(k));
    if (other.certificate.strict_gap() < results[k].certificate.strict_gap()) results[k] = std::move(other);
  }
  return results;
}

template <class T>
std::vector<Assignment> solve_certified(std::span<const T> cost, std::int64_t count, std::int64_t n) {
  VOXOT_CHECK(n <= kMostAssigned, "assign: {}×{} points; expected at most {}", n, n, kMostAssigned);
  VOXOT_CHECK(n >= 1 && count >= 0 && std::ssize(cost) == count * n * n, "assign: {} costs for {}{}×{}",
              cost.size(), count == 1 ? "" : fmt::format("{} times ", count), n, n);
  check_costs("assign", cost, n, n);
  return closed(solve(cost, count, n, true), [&](std::int64_t k) {
    const auto one = to_size(n * n);
    return std::move(solve(cost.subspan(to_size(k) * one, one), 1, n, false)[0]);
  });
}

bool all_equal(const std::vector<double>& values) {
  return std::all_of(values.begin(), values.end(), [&](double v) { return v == values.front(); });
}

/// The points that have mass, and the costs between them.
struct Support {
  std::vector<std::size_t> points;
  std::vector<double> masses;

  Support(std::span<const double> all, double scale) {
    for (std::size_t i = 0; i < all.size(); ++i) {
      if (all[i] <= 0) continue;
      points.push_back(i);
      masses.push_back(all[i] * scale);
    }
  }
};

template <class T>
std::vector<T> costs_between(std::span<const T> cost, std::size_t columns, const Support& a,
                             const Support& b) {
  std::vector<T> between;
  between.reserve(a.points.size() * b.points.size());
  for (const std::size_t i : a.points) {
    for (const std::size_t j : b.points) between.push_back(cost[i * columns + j]);
  }
  return between;
}

template <class T>
TransportPlan plan_of(Assignment&& a, double mass) {
  TransportPlan plan;
  for (std::size_t i = 0; i < a.partner.size(); ++i)
    plan.entries.push_back({static_cast<std::int64_t>(i), a.partner[i], mass});
  plan.row_potential = std::move(a.row_potential);
  plan.column_potential = std::move(a.column_potential);
  return plan;
}

/// Potentials of the points without mass: the largest that the constraints allow.
template <class T>
void extend(std::span<const T> cost, const Support& a, const Support& b, TransportPlan& plan) {
  const auto rows = to_size(plan.rows);
  const auto columns = to_size(plan.columns);
  const double infinity = std::numeric_limits<double>::infinity();
  std::vector<double> f(rows, infinity);
  std::vector<double> g(columns, infinity);
  for (std::size_t i = 0; i < a.points.size(); ++i) f[a.points[i]] = plan.row_potential[i];
  for (std::size_t j = 0; j < b.points.size(); ++j) g[b.points[j]] = plan.column_potential[j];
  const std::vector<double> given_f = f;
  const std::vector<double> given_g = g;
  for (std::size_t i = 0; i < rows; ++i) {
    if (given_f[i] < infinity) continue;
    for (const std::size_t j : b.points)
      f[i] = std::min(f[i], static_cast<double>(cost[i * columns + j]) - given_g[j]);
  }
  for (std::size_t j = 0; j < columns; ++j) {
    if (given_g[j] < infinity) continue;
    for (std::size_t i = 0; i < rows; ++i)
      g[j] = std::min(g[j], static_cast<double>(cost[i * columns + j]) - f[i]);
  }
  plan.row_potential = std::move(f);
  plan.column_potential = std::move(g);
  for (PlanEntry& e : plan.entries) {
    e.row = static_cast<std::int64_t>(a.points[to_size(e.row)]);
    e.column = static_cast<std::int64_t>(b.points[to_size(e.column)]);
  }
}

template <class T>
TransportPlan plan_certified(std::span<const T> cost, std::span<const double> a, std::span<const double> b) {
  VOXOT_CHECK(!a.empty() && !b.empty() && cost.size() == a.size() * b.size(),
              "exact_plan: {} costs for {}×{} masses", cost.size(), a.size(), b.size());
  const auto rows = std::ssize(a);
  const auto columns = std::ssize(b);
  check_costs("exact_plan", cost, rows, columns);
  const double sum_a = check_masses("a", a);
  const double sum_b = check_masses("b", b);
  VOXOT_CHECK(std::abs(sum_a - sum_b) <= kMassTolerance * std::max(sum_a, sum_b),
              "exact_plan: the masses sum to {} and {}, further apart than {} of either", sum_a, sum_b,
              kMassTolerance);
  const Support from(a, 1);
  const Support to(b, sum_a / sum_b);
  const bool whole = from.points.size() == a.size() && to.points.size() == b.size();
  const std::vector<T> part = whole ? std::vector<T>() : costs_between(cost, b.size(), from, to);
  const std::span<const T> between = whole ? cost : std::span<const T>(part);
  const bool uniform =
      from.points.size() == to.points.size() && all_equal(from.masses) && all_equal(to.masses);
  TransportPlan plan =
      uniform ? plan_of<T>(std::move(solve_certified(between, 1, std::ssize(from.points))[0]), from.masses[0])
              : network_simplex(between, std::span<const double>(from.masses),
                                std::span<const double>(to.masses));
  plan.rows = rows;
  plan.columns = columns;
  extend(cost, from, to, plan);
  std::vector<double> scaled(b.begin(), b.end());
  for (double& m : scaled) m *= sum_a / sum_b;
  plan.certificate =
      certify_plan<T>(cost, a, scaled, plan.entries, plan.row_potential, plan.column_potential);
  return plan;
}

}  // namespace

double gap_over(double primal, double dual, double scale) {
  // Not primal ≤ dual, so that a NaN is a gap.
  if (primal - dual <= 0) return 0;
  return scale > 0 ? (primal - dual) / scale : std::numeric_limits<double>::infinity();
}

double Certificate::gap() const { return gap_over(primal, dual, std::max(magnitude, scale)); }
double Certificate::strict_gap() const { return gap_over(primal, dual, magnitude); }
bool Certificate::proven() const { return gap() <= kGap && marginal_error <= kGap; }

std::vector<double> TransportPlan::dense() const {
  std::vector<double> plan(to_size(rows * columns));
  for (const PlanEntry& e : entries) plan[to_size(e.row * columns + e.column)] = e.mass;
  return plan;
}

Assignment assign(std::span<const float> cost, std::int64_t n) {
  return std::move(solve_certified(cost, 1, n)[0]);
}
Assignment assign(std::span<const double> cost, std::int64_t n) {
  return std::move(solve_certified(cost, 1, n)[0]);
}
std::vector<Assignment> assign_batch(std::span<const float> cost, std::int64_t count, std::int64_t n) {
  return solve_certified(cost, count, n);
}
std::vector<Assignment> assign_batch(std::span<const double> cost, std::int64_t count, std::int64_t n) {
  return solve_certified(cost, count, n);
}
std::vector<Assignment> assign_batch(const Tensor& cost) {
  VOXOT_CHECK(cost.shape().rank() == 3 && cost.extent(1) == cost.extent(2) && cost.dtype() != DType::bf16,
              "assign: costs {} in {}; expected count×n×n in fp32 or fp64", cost.shape().text(),
              name_of(cost.dtype()));
  const std::int64_t count = cost.extent(0);
  const std::int64_t n = cost.extent(1);
  if (cost.device() == Device::cpu || n > kMostAssignedOnCuda) {
    const Tensor here = cost.to(Device::cpu);
    const auto size = to_size(cost.count());
    return cost.dtype() == DType::f64
               ? assign_batch(std::span<const double>(here.as<double>(), size), count, n)
               : assign_batch(std::span<const float>(here.as<float>(), size), count, n);
  }
  return closed(solve(cost, true), [&](std::int64_t k) {
    return std::move(solve(cost.window(k * n * n, {1, n, n}), false)[0]);
  });
}
TransportPlan exact_plan(std::span<const float> cost, std::span<const double> a, std::span<const double> b) {
  return plan_certified(cost, a, b);
}
TransportPlan exact_plan(std::span<const double> cost, std::span<const double> a, std::span<const double> b) {
  return plan_certified(cost, a, b);
}
Certificate certify(std::span<const float> cost, std::span<const double> a, std::span<const double> b,
                    std::span<const PlanEntry> plan, std::span<const double> row_potential,
                    std::span<const double> column_potential) {
  return certify_plan(cost, a, b, plan, row_potential, column_potential);
}
Certificate certify(std::span<const double> cost, std::span<const double> a, std::span<const double> b,
                    std::span<const PlanEntry> plan, std::span<const double> row_potential,
                    std::span<const double> column_potential) {
  return certify_plan(cost, a, b, plan, row_potential, column_potential);
}

}  // namespace voxot
