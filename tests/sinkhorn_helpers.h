#pragma once
// Random Sinkhorn problems, and what can be asked of any answer.
#include "kernels/sizes.h"
#include "solvers/sinkhorn.h"
#include "tests/op_case.h"
#include "tests/temp_directory.h"

namespace voxot::test {

struct RandomProblem {
  std::int64_t rows = 1;
  std::int64_t columns = 1;
  std::vector<double> cost, a, b;  // costs exact in fp32

  [[nodiscard]] Tensor tensor(DType dtype) const {
    return Tensor::from({rows, columns}, std::span<const double>(cost), dtype);
  }
  [[nodiscard]] SinkhornProblem problem(DType dtype) const { return {tensor(dtype), a, b, {}}; }
  [[nodiscard]] double mean() const {
    double sum = 0;
    for (const double c : cost) sum += c;
    return sum / static_cast<double>(cost.size());
  }
};

/// Sizes 1 to 24, costs of points in a plane, some of them duplicates, weights some of which are 0 or tiny.
inline RandomProblem random_problem(std::uint64_t seed) {
  Random random(seed, Purpose::test);
  RandomProblem p;
  p.rows = 1 + static_cast<std::int64_t>(random.below(24));
  p.columns = 1 + static_cast<std::int64_t>(random.below(24));
  const auto points = [&](std::int64_t count) {
    std::vector<std::array<double, 2>> all;
    for (std::int64_t i = 0; i < count; ++i) {
      const bool again = i > 0 && random.below(8) == 0;
      all.push_back(again ? all[random.below(all.size())]
                          : std::array<double, 2>{random.uniform(-1, 1), random.uniform(-1, 1)});
    }
    return all;
  };
  const auto x = points(p.rows);
  const auto y = points(p.columns);
  for (const auto& u : x) {
    for (const auto& v : y) {
      const double square = (u[0] - v[0]) * (u[0] - v[0]) + (u[1] - v[1]) * (u[1] - v[1]);
      p.cost.push_back(static_cast<double>(static_cast<float>(square)));
    }
  }
  const auto weights = [&](std::int64_t count) {
    std::vector<double> w(to_size(count));
    double mass = 0;
    for (double& v : w) {
      const std::uint64_t kind = random.below(12);
      v = kind == 0 ? 0 : kind == 1 ? 1e-9 : static_cast<double>(random.uniform(0.1F, 1.0F));
      mass += v;
    }
    if (mass < 1e-3) mass += (w[0] = 1);
    for (double& v : w) v /= mass;
    return w;
  };
  p.a = weights(p.rows);
  p.b = weights(p.columns);
  return p;
}

/// What holds of every answer, converged or not.
inline void check_certificate(const SinkhornResult& r) {
  CHECK(r.dual <= r.primal);
  CHECK(std::isfinite(r.primal));
  CHECK(std::isfinite(r.dual));
  CHECK(std::isfinite(r.marginal_error));
  for (const double v : r.f) CHECK(std::isfinite(v));
  for (const double v : r.g) CHECK(std::isfinite(v));
}

/// Σ|P·1 − a| + Σ|Pᵀ·1 − b| of a plan as it is returned.
inline double marginal_error(const Tensor& plan, std::span<const double> a, std::span<const double> b) {
  const std::vector<double> p = doubles(plan);
  std::vector<double> columns(b.size(), 0.0);
  double error = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    double row = 0;
    for (std::size_t j = 0; j < b.size(); ++j) {
      row += p[i * b.size() + j];
      columns[j] += p[i * b.size() + j];
    }
    error += std::abs(row - a[i]);
  }
  for (std::size_t j = 0; j < b.size(); ++j) error += std::abs(columns[j] - b[j]);
  return error;
}

/// Σ|p − q|
inline double l1(const Tensor& p, const std::vector<double>& q) {
  const std::vector<double> v = doubles(p);
  double sum = v.size() == q.size() ? 0 : INFINITY;
  for (std::size_t i = 0; i < std::min(v.size(), q.size()); ++i) sum += std::abs(v[i] - q[i]);
  return sum;
}

inline std::vector<double> normalised(std::vector<double> weights) {
  double sum = 0;
  for (const double w : weights) sum += w;
  for (double& w : weights) w /= sum;
  return weights;
}

inline SinkhornOptions options_of(double epsilon, double tolerance, bool plan = true) {
  SinkhornOptions o;
  o.epsilon = epsilon;
  o.tolerance = tolerance;
  o.max_iterations = 100000;
  o.plan = plan;
  return o;
}

}  // namespace voxot::test
