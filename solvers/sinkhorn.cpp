#include "solvers/sinkhorn.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "engine/ops/pairwise_cost.h"
#include "kernels/sizes.h"

namespace voxot {
namespace {

/// A common shape for the kernels: problems one after another in shared arrays.
struct Batch {
  DType dtype = DType::f32;
  std::vector<SinkhornShape> shapes;
  std::vector<double> a, b, f, g;
  std::vector<SinkhornStatus> statuses;

  /// Weights that are checked here; costs are the caller's.
  void add(std::int64_t rows, std::int64_t columns, std::int64_t cost, const SinkhornWeights& weights,
           std::span<const double> start, const SinkhornOptions& options);
};

void append_weights(std::vector<double>& to, std::span<const double> weights, std::int64_t count,
                    const char* side) {
  VOXOT_CHECK(count >= 1, "sinkhorn: the {} set is empty", side);
  if (weights.empty()) {
    to.insert(to.end(), to_size(count), 1 / static_cast<double>(count));
    return;
  }
  VOXOT_CHECK(std::ssize(weights) == count, "sinkhorn: {} {} weights for {} points", weights.size(), side,
              count);
  double mass = 0;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    VOXOT_CHECK(std::isfinite(weights[i]) && weights[i] >= 0,
                "sinkhorn: {} weight {} is {}; expected a finite number of 0 or more", side, i, weights[i]);
    mass += weights[i];
  }
  VOXOT_CHECK(mass > 0 && std::isfinite(mass), "sinkhorn: the {} weights add up to {}", side, mass);
  to.insert(to.end(), weights.begin(), weights.end());
}

double sum_of(std::span<const double> values) {
  double sum = 0;
  for (const double v : values) sum += v;
  return sum;
}

void Batch::add(std::int64_t rows, std::int64_t columns, std::int64_t cost, const SinkhornWeights& weights,
                std::span<const double> start, const SinkhornOptions& options) {
  const SinkhornShape shape{rows, columns, cost, std::ssize(a), std::ssize(b)};
  append_weights(a, weights.source, rows, "source");
  append_weights(b, weights.target, columns, "target");
  VOXOT_CHECK(
      !options.symmetric || std::equal(a.begin() + shape.source, a.end(), b.begin() + shape.target, b.end()),
      "sinkhorn: symmetric, with {} source and {} target points; expected one set and its weights on both "
      "sides",
      rows, columns);
  if (options.hard()) {
    const double mass_a = sum_of(std::span(a).subspan(to_size(shape.source)));
    const double mass_b = sum_of(std::span(b).subspan(to_size(shape.target)));
    VOXOT_CHECK(
        std::abs(mass_a - mass_b) <= 1e-5 * std::max(mass_a, mass_b),
        "sinkhorn: the source weights add up to {}, the target weights to {}; hard marginals need equal "
        "masses",
        mass_a, mass_b);
    std::for_each(b.begin() + shape.target, b.end(), [&](double& w) { w *= mass_a / mass_b; });
  }
  VOXOT_CHECK(start.empty() || std::ssize(start) == columns,
              "sinkhorn: a start of {} potentials for {} target points", start.size(), columns);
  for (const double v : start) VOXOT_CHECK(std::isfinite(v), "sinkhorn: a potential of the start is {}", v);
  f.resize(a.size(), 0.0);
  g.insert(g.end(), start.begin(), start.end());
  g.resize(b.size(), 0.0);
  shapes.push_back(shape);
}

void check_type(const Tensor& t, const char* op, const char* what) {
  VOXOT_CHECK(t.defined(), "{}: no {}", op, what);
  VOXOT_CHECK(t.dtype() != DType::bf16, "{}: the {} is bf16; expected fp32 or fp64", op, what);
}

template <class T>
std::int64_t first_not_finite(const T* values, std::int64_t count) {
  // x − x is 0 for every finite x and NaN else: a sum in vectors, and a search only when there is something.
  T sum = 0;
#pragma omp parallel for simd reduction(+ : sum) if (count > 1 << 20)
  for (std::int64_t i = 0; i < count; ++i) sum += values[i] - values[i];  // NOLINT(misc-redundant-expression)
  if (sum == 0) return -1;
  return std::find_if_not(values, values + count, [](T v) { return std::isfinite(v); }) - values;
}

/// −1 where there is none. On a GPU nothing is looked at: what is not finite shows in the answer
/// (check_answer).
std::int64_t first_not_finite(const Tensor& t) {
  if (t.device() != Device::cpu) return -1;
  return t.dtype() == DType::f64 ? first_not_finite(t.as<double>(), t.count())
                                 : first_not_finite(t.as<float>(), t.count());
}

void check_finite(const Tensor& t, const char* op, const char* what) {
  const std::int64_t at = first_not_finite(t);
  if (at < 0) return;
  const double value = t.dtype() == DType::f64 ? t.as<double>()[at] : static_cast<double>(t.as<float>()[at]);
  fail("{}: value {} of the {} {} is {}; expected finite numbers", op, at, what, t.shape().text(), value);
}

/// The batch's arrays where the kernels of the costs' device want them: its own, or copies on a GPU.
class Placed {
 public:
  Placed(Batch& batch, Device device) : batch_(batch), on_host_(device == Device::cpu) {
    if (on_host_) return;
    for (std::size_t k = 0; k < copies_.size(); ++k) {
      const std::vector<double>& from = *parts()[k];
      copies_[k] = Tensor::from({std::ssize(from)}, std::span<const double>(from)).to(device);
    }
  }
  [[nodiscard]] double* a() const { return part(0); }
  [[nodiscard]] double* b() const { return part(1); }
  [[nodiscard]] double* f() const { return part(2); }
  [[nodiscard]] double* g() const { return part(3); }
  void bring_potentials() const {
    for (std::size_t k = 2; k < 4 && !on_host_; ++k) {
      const Tensor here = copies_[k].to(Device::cpu);
      std::copy_n(here.as<double>(), here.count(), parts()[k]->begin());
    }
  }

 private:
  [[nodiscard]] std::array<std::vector<double>*, 4> parts() const {
    return {&batch_.a, &batch_.b, &batch_.f, &batch_.g};
  }
  [[nodiscard]] double* part(std::size_t k) const {
    return on_host_ ? parts()[k]->data() : copies_[k].as<double>();
  }

  Batch& batch_;
  bool on_host_;
  std::array<Tensor, 4> copies_;
};

void check_answer(const Batch& batch, EpsilonUnit unit) {
  for (std::size_t k = 0; k < batch.statuses.size(); ++k) {
    const double epsilon = batch.statuses[k].epsilon;
    VOXOT_CHECK(
        !(epsilon <= 0),
        "sinkhorn: problem {} of {} has an epsilon of {}, a multiple of the {} cost; expected a {} cost "
        "above 0, or an absolute epsilon",
        k, batch.statuses.size(), epsilon, unit == EpsilonUnit::mean_cost ? "mean" : "largest",
        unit == EpsilonUnit::mean_cost ? "mean" : "largest");
    VOXOT_CHECK(std::isfinite(batch.statuses[k].marginal_error),
                "sinkhorn: problem {} of {} has costs that are not finite", k, batch.statuses.size());
  }
}

std::vector<SinkhornResult> results(const Batch& batch, const Tensor& plans) {
  std::vector<SinkhornResult> all;
  for (std::size_t k = 0; k < batch.shapes.size(); ++k) {
    const SinkhornShape& shape = batch.shapes[k];
    const SinkhornStatus& s = batch.statuses[k];
    const auto f = batch.f.begin() + shape.source;
    const auto g = batch.g.begin() + shape.target;
    all.push_back({{f, f + shape.rows},
                   {g, g + shape.columns},
                   s.epsilon,
                   s.iterations,
                   s.marginal_error,
                   s.transport_cost,
                   s.primal,
                   s.dual,
                   s.converged,
                   s.largest_cost,
                   plans.defined() ? plans.window(shape.cost, {shape.rows, shape.columns}) : Tensor{}});
  }
  return all;
}

/// `costs`: all problems', one after another.
std::vector<SinkhornResult> solve(Batch& batch, const Tensor& costs, const SinkhornOptions& options) {
  const auto count = std::ssize(batch.shapes);
  const Placed at(batch, costs.device());
  batch.statuses.resize(batch.shapes.size());
  kernels::sinkhorn(costs.stream(), batch.dtype, options,
                    {.count = count,
                     .shapes = batch.shapes.data(),
                     .cost = costs.data(),
                     .sides = {.a = at.a(), .b = at.b(), .f = at.f(), .g = at.g()},
                     .statuses = batch.statuses.data()});
  check_answer(batch, options.unit);
  Tensor plans;
  if (options.plan) {
    std::vector<double> epsilons;
    for (const SinkhornStatus& s : batch.statuses) epsilons.push_back(s.epsilon);
    plans = Tensor::empty({costs.count()}, batch.dtype, costs.device());
    kernels::sinkhorn_plan(costs.stream(), batch.dtype,
                           {.count = count,
                            .epsilons = epsilons.data(),
                            .shapes = batch.shapes.data(),
                            .cost = costs.data(),
                            .a = at.a(),
                            .b = at.b(),
                            .f = at.f(),
                            .g = at.g(),
                            .plan = plans.data()});
  }
  at.bring_potentials();
  return results(batch, plans);
}

/// The largest of costs on the CPU; not finite where one is not.
template <class T>
double largest_of(const T* values, std::int64_t count) {
  T largest = 0;
  T strange = 0;  // NaN once a value is not finite, as x − x then is
#pragma omp parallel for simd reduction(max : largest) reduction(+ : strange) if (count > 1 << 20)
  for (std::int64_t i = 0; i < count; ++i) {
    largest = std::max(largest, values[i]);
    strange += values[i] - values[i];  // NOLINT(misc-redundant-expression)
  }
  return static_cast<double>(largest) + static_cast<double>(strange);
}

double largest_of(const Tensor& costs) {
  return costs.dtype() == DType::f64 ? largest_of(costs.as<double>(), costs.count())
                                     : largest_of(costs.as<float>(), costs.count());
}

/// A largest cost from which on what its type cannot hold of smaller ones is lost in their rounding.
double least_kept(DType dtype) {
  return dtype == DType::f64 ? std::numeric_limits<double>::min() * 0x1p53
                             : static_cast<double>(std::numeric_limits<float>::min()) * 0x1p24;
}

template <class T>
bool are_one_point(const Tensor& x, const Tensor& y) {
  const Tensor points = x.to(Device::cpu);
  const Tensor others = y.to(Device::cpu);
  const std::int64_t width = x.shape().back();
  const auto all_first = [&](const Tensor& set) {
    for (const T* row = set.as<T>(); row < set.as<T>() + set.count(); row += width) {
      if (!std::equal(row, row + width, points.as<T>())) return false;
    }
    return true;
  };
  return all_first(points) && all_first(others);
}

void check_features(const Tensor& t, const char* what) {
  check_type(t, "pairwise_cost", what);
  check_finite(t, "pairwise_cost", what);
}

}  // namespace

std::vector<SinkhornResult> sinkhorn(std::span<const SinkhornProblem> problems,
                                     const SinkhornOptions& options) {
  options.validate();
  if (problems.empty()) return {};
  Batch batch;
  std::int64_t count = 0;
  for (const SinkhornProblem& p : problems) {
    check_type(p.cost, "sinkhorn", "cost matrix");
    VOXOT_CHECK(p.cost.shape().rank() == 2, "sinkhorn: costs {}; expected n×m", p.cost.shape().text());
    VOXOT_CHECK(p.cost.dtype() == problems[0].cost.dtype() && p.cost.device() == problems[0].cost.device(),
                "sinkhorn: costs in {} on {} and {} on {} in one batch", name_of(problems[0].cost.dtype()),
                name_of(problems[0].cost.device()), name_of(p.cost.dtype()), name_of(p.cost.device()));
    batch.add(p.cost.extent(0), p.cost.extent(1), count, {p.source_weights, p.target_weights}, p.start,
              options);
    check_finite(p.cost, "sinkhorn", "cost matrix");
    count += p.cost.count();
  }
  batch.dtype = problems[0].cost.dtype();
  if (problems.size() == 1) return solve(batch, problems[0].cost, options);
  const Tensor costs = Tensor::empty({count}, batch.dtype, problems[0].cost.device());
  for (std::size_t k = 0; k < problems.size(); ++k) {
    const Tensor& cost = problems[k].cost;
    costs.window(batch.shapes[k].cost, cost.shape()).copy_from(cost);
  }
  return solve(batch, costs, options);
}

SinkhornResult sinkhorn(const SinkhornProblem& problem, const SinkhornOptions& options) {
  return std::move(sinkhorn(std::span(&problem, 1), options)[0]);
}

void check_costs_kept(const Tensor& x, const Tensor& y, GroundCost cost, double largest) {
  if (cost == GroundCost::cosine || largest >= least_kept(x.dtype()) || std::isnan(largest)) return;
  const bool alike = x.dtype() == DType::f64 ? are_one_point<double>(x, y) : are_one_point<float>(x, y);
  VOXOT_CHECK(alike,
              "pairwise_cost: costs between features that differ underflow {}: the largest is {}; expected "
              "larger features{}",
              name_of(x.dtype()), largest, x.dtype() == DType::f32 ? ", or fp64" : "");
}

Tensor pairwise_cost(const Tensor& x, const Tensor& y, GroundCost cost) {
  check_type(x, "pairwise_cost", "source");
  check_type(y, "pairwise_cost", "target");
  Tape tape;
  const NoRecord quiet(tape);
  Tensor costs = ops::pairwise_cost(tape, x, y, cost);
  if (costs.device() != Device::cpu) return costs;
  const bool many = costs.shape().rank() == 3;
  const std::int64_t n = x.extent(many ? 1 : 0);
  const std::int64_t m = y.extent(many ? 1 : 0);
  const std::int64_t d = x.shape().back();
  for (std::int64_t k = 0; k < (many ? x.extent(0) : 1); ++k) {
    const double largest = largest_of(costs.window(k * n * m, {n, m}));
    if (std::isfinite(largest)) {
      check_costs_kept(x.window(k * n * d, {n, d}), y.window(k * m * d, {m, d}), cost, largest);
      continue;
    }
    check_features(x, "source");
    check_features(y, "target");
    VOXOT_CHECK(cost != GroundCost::cosine,
                "pairwise_cost: a vector's norm is beyond what an angle is taken of "
                "in {}; expected 0 or a number between 1e-100 and 1e100",
                name_of(costs.dtype()));
    fail("pairwise_cost: costs between finite features overflow {}; expected smaller features{}",
         name_of(costs.dtype()), costs.dtype() == DType::f32 ? ", or fp64" : "");
  }
  return costs;
}

std::vector<SinkhornResult> sinkhorn(const Tensor& x, const Tensor& y, GroundCost cost,
                                     const SinkhornOptions& options, const SinkhornWeights& weights) {
  options.validate();
  const Tensor costs = pairwise_cost(x, y, cost);
  Batch batch;
  batch.dtype = costs.dtype();
  const std::size_t rank = costs.shape().rank();
  const std::int64_t rows = costs.extent(rank - 2);
  const std::int64_t columns = costs.extent(rank - 1);
  const std::int64_t problems = rank == 3 ? costs.extent(0) : 1;
  for (std::int64_t k = 0; k < problems; ++k)
    batch.add(rows, columns, k * rows * columns, weights, {}, options);
  std::vector<SinkhornResult> solved = solve(batch, costs, options);
  const std::int64_t d = x.shape().back();
  for (std::int64_t k = 0; k < problems; ++k) {
    check_costs_kept(x.window(k * rows * d, {rows, d}), y.window(k * columns * d, {columns, d}), cost,
                     solved[to_size(k)].largest_cost);
  }
  return solved;
}

SinkhornResult sinkhorn_streamed(const Tensor& x, const Tensor& y, GroundCost cost,
                                 const SinkhornOptions& options, const SinkhornWeights& weights,
                                 std::span<const double> start) {
  options.validate();
  VOXOT_CHECK(!options.plan, "sinkhorn_streamed: a plan was asked for; it would be as large as the costs");
  check_features(x, "source");
  check_features(y, "target");
  VOXOT_CHECK(x.shape().rank() == 2 && y.shape().rank() == 2 && x.extent(1) == y.extent(1) &&
                  x.dtype() == y.dtype() && x.device() == y.device(),
              "sinkhorn_streamed: features {} {} on {} with {} {} on {}; expected n×D with m×D of one type",
              x.shape().text(), name_of(x.dtype()), name_of(x.device()), y.shape().text(), name_of(y.dtype()),
              name_of(y.device()));
  const PairwiseCostParams p{cost, 1, x.extent(0), y.extent(0), x.extent(1)};
  Batch batch;
  batch.dtype = x.dtype();
  batch.add(p.rows, p.columns, 0, weights, start, options);
  const Placed at(batch, x.device());
  batch.statuses.resize(1);
  kernels::sinkhorn_streamed(x.stream(), batch.dtype, options,
                             {.features = p,
                              .x = x.data(),
                              .y = y.data(),
                              .sides = {.a = at.a(), .b = at.b(), .f = at.f(), .g = at.g()},
                              .status = batch.statuses.data()});
  check_answer(batch, options.unit);
  check_costs_kept(x, y, cost, batch.statuses[0].largest_cost);
  at.bring_potentials();
  return std::move(results(batch, {})[0]);
}

}  // namespace voxot
