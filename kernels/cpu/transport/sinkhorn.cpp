// Sinkhorn on the CPU: stages of ε, iterations, certificate. Small problems of a batch run one to a thread,
// each in that core's cache; a large one runs on all threads.
#include "kernels/sinkhorn.h"

#include "kernels/cpu/transport/sinkhorn_problem.h"
#include "kernels/cpu/vector_math.h"
#include "kernels/first_exception.h"
#include "kernels/sizes.h"

namespace voxot {

void SinkhornParams::validate() const {
  VOXOT_CHECK(std::isfinite(epsilon) && epsilon > 0, "sinkhorn: epsilon is {}; expected a number above 0",
              epsilon);
  VOXOT_CHECK(tolerance >= 0, "sinkhorn: tolerance is {}; expected 0 or more", tolerance);
  VOXOT_CHECK(max_iterations >= 1, "sinkhorn: {} iterations at most; expected 1 or more", max_iterations);
  VOXOT_CHECK(scaling >= 0 && scaling < 1, "sinkhorn: epsilon scaling by {}; expected a factor in [0, 1)",
              scaling);
  VOXOT_CHECK(over_relaxation >= 1 && over_relaxation < 2,
              "sinkhorn: over-relaxation by {}; expected a factor in [1, 2)", over_relaxation);
  VOXOT_CHECK(rho_a > 0 && rho_b > 0, "sinkhorn: rho is {} and {}; expected numbers above 0, or infinity",
              rho_a, rho_b);
  VOXOT_CHECK(hard() || over_relaxation == 1,
              "sinkhorn: over-relaxation by {} with a relaxed marginal; expected 1", over_relaxation);
  VOXOT_CHECK(!symmetric || rho_a == rho_b, "sinkhorn: symmetric, with rho {} and {}; expected one value",
              rho_a, rho_b);
}

namespace cpu::sinkhorn {

namespace {

std::vector<double> logs(const double* weights, std::int64_t count, double* mass, double* least) {
  std::vector<double> log_weights(to_size(count));
  for (std::int64_t i = 0; i < count; ++i) {
    const double w = weights[i];
    log_weights[to_size(i)] = w > 0 ? std::log(w) : -INFINITY;
    *mass += w;
    if (w > 0) *least = std::min(*least, w);
  }
  return log_weights;
}

constexpr double kStageError = 0.05;  // where a stage of the ε-scaling stops, as a share of the mass
constexpr std::int64_t kStageIterations = 100;  // at most

/// Iterates at p.epsilon until the error in passing is at most `tolerance` times the mass.
template <class Source>
void iterate(Problem& p, const Source& source, double tolerance, std::int64_t limit,
             std::int64_t& iterations) {
  if constexpr (Source::kStored) {
    scaling_iterations(p, source, tolerance, limit, iterations);
  } else {
    double error = INFINITY;
    bool relaxed = false;  // over-relaxation needs the f that goes with g
    while (iterations < limit && error > tolerance * std::max(p.mass_a, p.mass_b)) {
      error = iterate_once(p, source, relaxed);
      relaxed = true;
      ++iterations;
    }
  }
}

/// The stages of ε before the last; p.epsilon is the last one's afterwards.
template <class Source>
void lower_epsilon(Problem& p, const Source& source, double largest, std::int64_t& iterations) {
  const double last = p.epsilon;
  const std::int64_t limit = p.params.max_iterations;
  for (double epsilon = largest; epsilon * p.params.scaling > last && iterations < limit;) {
    p.epsilon = epsilon;
    iterate(p, source, kStageError, std::min(limit, iterations + kStageIterations), iterations);
    epsilon *= p.params.scaling;
  }
  p.epsilon = last;
}

template <class Source>
void solve(Problem& p, const Source& source, SinkhornStatus& status) {
  double largest = 0;
  p.epsilon = resolve_epsilon(p, source, &largest);
  status = {};
  status.epsilon = p.epsilon;
  status.largest_cost = largest;
  if (!(p.epsilon > 0)) {
    status.marginal_error = std::numeric_limits<double>::quiet_NaN();
    return;
  }
  std::int64_t done = 0;
  const std::int64_t limit = p.params.max_iterations;
  // Stages from a large ε to a small one would forget the start.
  const bool started = std::any_of(p.g, p.g + p.columns, [](double v) { return v != 0; });
  if (p.params.scaling > 0 && !started && !p.symmetric) lower_epsilon(p, source, largest, done);
  // The error in passing is rounded as the costs are; the certificate's counts. Where the two disagree the
  // iterations go on to a smaller one.
  for (double target = 0.98 * p.params.tolerance;; target *= 0.7) {
    iterate(p, source, target, limit, done);
    if (p.empty_points) log_pass(p, source, Update::empty_points, false);
    certify(p, source, status);
    status.converged = status.marginal_error <= p.params.tolerance && std::isfinite(status.primal);
    if (status.converged || done >= limit) break;
    p.symmetric = false;  // the costs are not, after all
  }
  status.iterations = done;
}

}  // namespace

Problem::Problem(std::int64_t n, std::int64_t m, const SinkhornParams& p, const kernels::SinkhornSides& sides)
    : rows(n),
      columns(m),
      a(sides.a),
      b(sides.b),
      f(sides.f),
      g(sides.g),
      params(p),
      symmetric(p.symmetric),
      least_weight(std::numeric_limits<double>::infinity()) {
  log_a = logs(a, n, &mass_a, &least_weight);
  log_b = logs(b, m, &mass_b, &least_weight);
  empty_points = std::find(a, a + n, 0.0) != a + n || std::find(b, b + m, 0.0) != b + m;
}

}  // namespace cpu::sinkhorn

namespace kernels {
namespace {

using namespace cpu::sinkhorn;

/// From this many costs a problem runs on all threads.
constexpr std::int64_t kLarge = std::int64_t{1} << 18;

template <class Body>
void each_problem(std::int64_t count, const SinkhornShape* shapes, const Body& body) {
  const auto large = [&](std::int64_t k) { return shapes[k].rows * shapes[k].columns >= kLarge; };
  FirstException failed;
#pragma omp parallel for schedule(dynamic) if (count > 1)
  for (std::int64_t k = 0; k < count; ++k) {
    if (!large(k)) failed.guard([&] { body(k); });
  }
  failed.rethrow();
  for (std::int64_t k = 0; k < count; ++k) {
    if (large(k)) body(k);
  }
}

template <class T>
void solve_all(const SinkhornParams& params, const SinkhornBatch& all) {
  each_problem(all.count, all.shapes, [&](std::int64_t k) {
    const SinkhornShape& s = all.shapes[k];
    Problem p(s.rows, s.columns, params, all.sides.of(s));
    solve(p, MatrixRows<T>{static_cast<const T*>(all.cost) + s.cost, s.columns}, all.statuses[k]);
  });
}

void run(const Stream&, DType dtype, const SinkhornParams& params, const SinkhornBatch& all) {
  params.validate();
  VOXOT_CHECK(dtype != DType::bf16, "sinkhorn: costs in bf16; expected fp32 or fp64");
  if (dtype == DType::f64) return solve_all<double>(params, all);
  solve_all<float>(params, all);
}

template <class T>
void plans(const SinkhornPlans& all) {
  for (std::int64_t k = 0; k < all.count; ++k) {
    const SinkhornShape& s = all.shapes[k];
    const double inverse = 1 / all.epsilons[k];
#pragma omp parallel for schedule(static) if (s.rows * s.columns > kLarge / 16)
    for (std::int64_t i = 0; i < s.rows; ++i) {
      const T* from = static_cast<const T*>(all.cost) + s.cost + i * s.columns;
      T* to = static_cast<T*>(all.plan) + s.cost + i * s.columns;
      const double fi = all.f[s.source + i];
      const double ai = all.a[s.source + i];
      const double* gs = all.g + s.target;
      const double* bs = all.b + s.target;
#pragma omp simd
      for (std::int64_t j = 0; j < s.columns; ++j) {
        const double weight = ai * bs[j];
        const double p = weight * cpu::exp_lanes((fi + gs[j] - static_cast<double>(from[j])) * inverse);
        to[j] = static_cast<T>(weight > 0 ? p : 0.0);
      }
    }
  }
}

void run_plan(const Stream&, DType dtype, const SinkhornPlans& all) {
  VOXOT_CHECK(dtype != DType::bf16, "sinkhorn_plan: costs in bf16; expected fp32 or fp64");
  if (dtype == DType::f64) return plans<double>(all);
  plans<float>(all);
}

void run_queued(const Stream& stream, DType dtype, const SinkhornParams& params, const SinkhornQueued& q) {
  const SinkhornShape shape{q.rows, q.columns};
  const SinkhornSides& s = q.sides;
  run(stream, dtype, params, {1, &shape, q.cost, s, q.status});
  run_plan(stream, dtype, {1, &q.status->epsilon, &shape, q.cost, s.a, s.b, s.f, s.g, q.plan});
}

template <class T>
void solve_streamed(const SinkhornParams& params, const SinkhornStreamed& s) {
  const PairwiseCostParams& features = s.features;
  Problem p(features.rows, features.columns, params, s.sides);
  const cpu::CostTiles<T> tiles(features, static_cast<const T*>(s.x), static_cast<const T*>(s.y));
  solve(p, FeatureRows<T>{tiles, features.columns}, *s.status);
}

void run_streamed(const Stream&, DType dtype, const SinkhornParams& params, const SinkhornStreamed& s) {
  params.validate();
  s.features.validate();
  VOXOT_CHECK(dtype != DType::bf16, "sinkhorn_streamed: features in bf16; expected fp32 or fp64");
  if (dtype == DType::f64) return solve_streamed<double>(params, s);
  solve_streamed<float>(params, s);
}

const Implement registered[] = {{sinkhorn_plan, Device::cpu, run_plan}};
const Implement registered_solver{sinkhorn, Device::cpu, run};
const Implement registered_queued{sinkhorn_queued, Device::cpu, run_queued};
const Implement registered_streamed{sinkhorn_streamed, Device::cpu, run_streamed};

}  // namespace
}  // namespace kernels
}  // namespace voxot
