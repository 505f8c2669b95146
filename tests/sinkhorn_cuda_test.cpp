// The device's Sinkhorn against the CPU's, at the kernels' own contracts.
#include <catch2/catch.hpp>
#include <cmath>
#include <numeric>

#include "kernels/features.h"
#include "kernels/sinkhorn.h"
#include "kernels/sizes.h"
#include "tests/op_case.h"

namespace voxot {
namespace {

using test::no_device;

struct Case {
  std::string name;
  std::vector<std::array<std::int64_t, 2>> sizes;
  SinkhornParams params{};
  bool empty_points = false;
  double cost_scale = 1;
};

struct Answer {
  std::vector<double> f, g, plan;
  std::vector<SinkhornStatus> statuses;
};

/// The same problems for every device: costs of points in the plane, weights between 0.5 and 1.5.
struct Problems {
  explicit Problems(const Case& c) {
    Random random(5, Purpose::test, 3);
    std::int64_t costs = 0;
    for (const auto& [n, m] : c.sizes) {
      shapes.push_back({n, m, costs, std::ssize(a), std::ssize(b)});
      costs += n * m;
      const std::size_t first_a = a.size();
      const std::size_t first_b = b.size();
      for (std::int64_t i = 0; i < n; ++i) a.push_back(0.5 + static_cast<double>(random.uniform()));
      for (std::int64_t j = 0; j < m; ++j) b.push_back(0.5 + static_cast<double>(random.uniform()));
      if (c.empty_points && n > 2 && m > 2) a[first_a + 1] = b[first_b] = b[first_b + 2] = 0;
      normalise(a, first_a);
      normalise(b, first_b);
      std::vector<double> x(to_size(2 * (n + m)));
      for (double& v : x) v = static_cast<double>(random.normal());
      for (std::int64_t i = 0; i < n; ++i) {
        for (std::int64_t j = 0; j < m; ++j) {
          const double dx = x[to_size(2 * i)] - x[to_size(2 * (n + j))];
          const double dy = x[to_size(2 * i + 1)] - x[to_size(2 * (n + j) + 1)];
          cost.push_back(c.cost_scale * static_cast<double>(static_cast<float>(dx * dx + dy * dy)));
        }
      }
    }
  }

  static void normalise(std::vector<double>& w, std::size_t first) {
    const double sum = std::accumulate(w.begin() + static_cast<std::ptrdiff_t>(first), w.end(), 0.0);
    for (std::size_t i = first; i < w.size(); ++i) w[i] /= sum;
  }

  [[nodiscard]] Answer solve(Device device, DType dtype, const SinkhornParams& params) const {
    const auto to_device = [&](const std::vector<double>& values, DType type) {
      return Tensor::from({std::ssize(values)}, values, type).to(device);
    };
    const Tensor costs = to_device(cost, dtype);
    const Tensor wa = to_device(a, DType::f64);
    const Tensor wb = to_device(b, DType::f64);
    const Tensor f = Tensor::full({wa.count()}, 0, DType::f64, device);
    const Tensor g = Tensor::full({wb.count()}, 0, DType::f64, device);
    const Tensor plan = Tensor::full({costs.count()}, 0, dtype, device);
    const auto count = std::ssize(shapes);
    Answer answer;
    answer.statuses.resize(shapes.size());
    kernels::sinkhorn(
        costs.stream(), dtype, params,
        {.count = count,
         .shapes = shapes.data(),
         .cost = costs.data(),
         .sides = {.a = wa.as<double>(), .b = wb.as<double>(), .f = f.as<double>(), .g = g.as<double>()},
         .statuses = answer.statuses.data()});
    std::vector<double> epsilons;
    for (const SinkhornStatus& s : answer.statuses) epsilons.push_back(s.epsilon);
    kernels::sinkhorn_plan(costs.stream(), dtype,
                           {.count = count,
                            .epsilons = epsilons.data(),
                            .shapes = shapes.data(),
                            .cost = costs.data(),
                            .a = wa.as<double>(),
                            .b = wb.as<double>(),
                            .f = f.as<double>(),
                            .g = g.as<double>(),
                            .plan = plan.data()});
    answer.f = test::doubles(f);
    answer.g = test::doubles(g);
    answer.plan = test::doubles(plan);
    return answer;
  }

  std::vector<SinkhornShape> shapes;
  std::vector<double> cost, a, b;
};

void check(const Case& c) {
  const Problems problems(c);
  for (const DType dtype : {DType::f32, DType::f64}) {
    INFO(c.name << " " << name_of(dtype));
    const Answer here = problems.solve(Device::cuda, dtype, c.params);
    const Answer there = problems.solve(Device::cpu, dtype, c.params);
    for (std::size_t k = 0; k < problems.shapes.size(); ++k) {
      const SinkhornShape& shape = problems.shapes[k];
      const SinkhornStatus& s = here.statuses[k];
      const SinkhornStatus& t = there.statuses[k];
      INFO("problem " << k << " of " << shape.rows << " by " << shape.columns);
      CHECK(s.converged == t.converged);
      CHECK(s.marginal_error <= c.params.tolerance);
      CHECK(s.epsilon == Approx(t.epsilon).epsilon(1e-12));
      // Values differ by at most the marginal errors of both times the potentials, which costs of up to some
      // 20 bound; and no dual is above a primal.
      const double room = 2 * c.params.tolerance * 20 * c.cost_scale;
      CHECK(std::abs(s.dual - t.dual) <= room);
      CHECK(std::abs(s.primal - t.primal) <= room);
      CHECK(s.dual <= s.primal);
      CHECK(s.dual <= t.primal);
      CHECK(t.dual <= s.primal);
      CHECK(std::abs(s.transport_cost - t.transport_cost) <= room);
      double apart = 0;
      double row_error = 0;
      for (std::int64_t i = 0; i < shape.rows; ++i) {
        double row = 0;
        for (std::int64_t j = 0; j < shape.columns; ++j) {
          const auto at = to_size(shape.cost + i * shape.columns + j);
          apart += std::abs(here.plan[at] - there.plan[at]);
          row += here.plan[at];
        }
        row_error += std::abs(row - problems.a[to_size(shape.source + i)]);
        CHECK(std::isfinite(here.f[to_size(shape.source + i)]));
      }
      // Marginal errors of both, ten times over: what converges slowest is the plan's, not the marginals'.
      CHECK(apart < 20 * c.params.tolerance);
      if (c.params.hard()) CHECK(row_error <= c.params.tolerance + (dtype == DType::f32 ? 1e-6 : 1e-12));
    }
  }
}

SinkhornParams params(double epsilon, double tolerance) {
  SinkhornParams p;
  p.epsilon = epsilon;
  p.tolerance = tolerance;
  p.max_iterations = 3000;
  return p;
}

TEST_CASE("sinkhorn on cuda: ragged batches, each in its block", "[sinkhorn][cuda]") {
  if (no_device()) return;
  check({"ragged", {{1, 1}, {1, 5}, {7, 1}, {16, 16}, {31, 33}, {20, 64}, {65, 3}}, params(0.3, 1e-4)});
}

TEST_CASE("sinkhorn on cuda: empty points", "[sinkhorn][cuda]") {
  if (no_device()) return;
  check({"empty", {{6, 9}, {33, 17}}, params(0.5, 1e-4), true});
}

TEST_CASE("sinkhorn on cuda: relative epsilon, its scaling, costs of any size", "[sinkhorn][cuda]") {
  if (no_device()) return;
  SinkhornParams p = params(0.05, 1e-3);
  p.unit = EpsilonUnit::mean_cost;
  p.scaling = 0.5;
  check({"large costs", {{12, 15}}, p, false, 1e6});
  p.unit = EpsilonUnit::max_cost;
  check({"small costs", {{12, 15}}, p, false, 1e-6});
}

TEST_CASE("sinkhorn on cuda: over-relaxation saves iterations", "[sinkhorn][cuda]") {
  if (no_device()) return;
  SinkhornParams p = params(0.1, 1e-4);
  p.scaling = 0.3;
  const Problems problems(Case{"", {{20, 17}, {260, 4}}, p});
  const Answer plain = problems.solve(Device::cuda, DType::f32, p);
  p.over_relaxation = 1.5;
  check({"over-relaxed", {{20, 17}, {260, 4}}, p});
  const Answer faster = problems.solve(Device::cuda, DType::f32, p);
  CHECK(faster.statuses[0].iterations < plain.statuses[0].iterations);
}

TEST_CASE("sinkhorn on cuda: relaxed marginals", "[sinkhorn][cuda]") {
  if (no_device()) return;
  SinkhornParams p = params(0.2, 1e-4);
  p.rho_a = 1.5;
  check({"rows relaxed", {{9, 14}}, p});
  p.rho_b = 0.7;
  check({"both relaxed", {{9, 14}}, p});
}

TEST_CASE("sinkhorn on cuda: a problem on the whole device", "[sinkhorn][cuda]") {
  if (no_device()) return;
  check({"tall", {{290, 5}, {4, 3}}, params(1, 1e-3)});
  SinkhornParams p = params(0.2, 1e-2);
  p.scaling = 0.25;
  check({"wide", {{3, 300}}, p});
}

TEST_CASE("sinkhorn on cuda: streamed is what the costs held in memory give", "[sinkhorn][cuda]") {
  if (no_device()) return;
  const std::int64_t n = 140;
  const std::int64_t m = 6;
  for (const GroundCost kind : {GroundCost::squared_euclidean, GroundCost::cosine}) {
    for (const DType dtype : {DType::f32, DType::f64}) {
      const PairwiseCostParams features{kind, 1, n, m, 5};
      const Tensor x = Tensor::normal({n, 5}, {2, Purpose::test, 0}, 0, 1, dtype, Device::cuda);
      const Tensor y = Tensor::normal({m, 5}, {2, Purpose::test, 1}, 0, 1, dtype, Device::cuda);
      const Tensor a = Tensor::full({n}, 1.0 / n, DType::f64, Device::cuda);
      const Tensor b = Tensor::full({m}, 1.0 / m, DType::f64, Device::cuda);
      const Tensor cost = Tensor::full({n, m}, 0, dtype, Device::cuda);
      kernels::pairwise_cost(x.stream(), dtype, features, x.data(), y.data(), cost.data());
      const SinkhornParams p = params(0.8, 1e-3);
      const auto solve = [&](bool streamed) {
        const Tensor f = Tensor::full({n}, 0, DType::f64, Device::cuda);
        const Tensor g = Tensor::full({m}, 0, DType::f64, Device::cuda);
        SinkhornStatus status;
        if (streamed) {
          kernels::sinkhorn_streamed(
              x.stream(), dtype, p,
              {.features = features,
               .x = x.data(),
               .y = y.data(),
               .sides = {.a = a.as<double>(), .b = b.as<double>(), .f = f.as<double>(), .g = g.as<double>()},
               .status = &status});
        } else {
          const SinkhornShape shape{n, m, 0, 0, 0};
          kernels::sinkhorn(
              x.stream(), dtype, p,
              {.count = 1,
               .shapes = &shape,
               .cost = cost.data(),
               .sides = {.a = a.as<double>(), .b = b.as<double>(), .f = f.as<double>(), .g = g.as<double>()},
               .statuses = &status});
        }
        return std::pair(test::doubles(g), status);
      };
      const auto [g_streamed, streamed] = solve(true);
      const auto [g_held, held] = solve(false);
      CHECK(streamed.converged);
      CHECK(held.converged);
      CHECK(streamed.iterations == held.iterations);
      CHECK(test::distance(g_streamed, g_held) < (dtype == DType::f64 ? 1e-10 : 1e-5));
      CHECK(streamed.dual <= streamed.primal);
    }
  }
}

TEST_CASE("sinkhorn on cuda: what does not converge says so", "[sinkhorn][cuda]") {
  if (no_device()) return;
  SinkhornParams p = params(0.01, 1e-9);
  p.max_iterations = 3;
  const Problems problems(Case{"few", {{14, 14}, {270, 2}}, p});
  const Answer answer = problems.solve(Device::cuda, DType::f32, p);
  for (const SinkhornStatus& s : answer.statuses) {
    CHECK_FALSE(s.converged);
    CHECK(s.iterations == 3);
    CHECK(s.marginal_error > 1e-9);
    CHECK(s.dual <= s.primal);
  }
}

}  // namespace
}  // namespace voxot
