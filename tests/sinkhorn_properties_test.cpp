// What holds of every Sinkhorn problem: random ones, at small ε, near the exact plan, with relaxed marginals.
#include "kernels/sizes.h"
#include "solvers/exact_ot.h"
#include "tests/sinkhorn_helpers.h"

using namespace voxot;
using namespace voxot::test;

TEST_CASE("sinkhorn: random problems", "[sinkhorn]") {
  // Marginals hold, the certificate holds, permuted inputs give the permuted plan, a constant on a row moves
  // only its potential, a scaled cost with a scaled ε changes nothing but the potentials' scale.
  const DType dtype = GENERATE(DType::f32, DType::f64);
  const double tolerance = dtype == DType::f64 ? 1e-9 : 1e-6;
  // The plans of two runs are each some tolerances from the answer; how many grows with cost/ε, here up
  // to 80.
  const double alike = dtype == DType::f64 ? 1e-6 : 1e-3;
  int converged = 0;
  for (std::uint64_t seed = 0; seed < 1000; ++seed) {
    INFO("seed " << seed << " in " << name_of(dtype));
    const RandomProblem p = random_problem(seed);
    Random random(seed, Purpose::noise);
    SinkhornOptions o = options_of(random.uniform(0.05F, 1.0F), tolerance);
    const SinkhornResult r = sinkhorn(p.problem(dtype), o);
    check_certificate(r);
    CHECK(r.converged);
    converged += r.converged ? 1 : 0;
    // The plan is stored in the costs' type.
    CHECK(marginal_error(r.plan, p.a, p.b) < tolerance + (dtype == DType::f64 ? 1e-14 : 2e-7));
    const std::vector<double> plan = doubles(r.plan);
    const auto n = to_size(p.rows);
    const auto m = to_size(p.columns);

    // Reversed rows and columns.
    RandomProblem reversed = p;
    std::reverse(reversed.cost.begin(), reversed.cost.end());
    std::reverse(reversed.a.begin(), reversed.a.end());
    std::reverse(reversed.b.begin(), reversed.b.end());
    std::vector<double> back = doubles(sinkhorn(reversed.problem(dtype), o).plan);
    std::reverse(back.begin(), back.end());
    CHECK(l1(r.plan, back) < alike);

    // 2 is exact in fp32 for these costs; a row's constant moves its potential by as much.
    RandomProblem moved = p;
    const std::size_t row = random.below(n);
    for (std::size_t j = 0; j < m; ++j) moved.cost[row * m + j] += 2;
    const SinkhornResult s = sinkhorn(moved.problem(DType::f64), o);
    CHECK(l1(s.plan, plan) < alike);
    CHECK(s.dual - r.dual == Approx(2 * p.a[row]).margin(dtype == DType::f64 ? 1e-8 : 1e-5));
    if (dtype == DType::f64) CHECK(s.f[row] - r.f[row] == Approx(2).margin(1e-4));

    // A power of two keeps every bit of the arithmetic.
    RandomProblem scaled = p;
    for (double& c : scaled.cost) c *= 1024;
    SinkhornOptions larger = o;
    larger.epsilon *= 1024;
    const SinkhornResult t = sinkhorn(scaled.problem(dtype), larger);
    CHECK(t.iterations == r.iterations);
    CHECK(doubles(t.plan) == plan);
    CHECK(t.f[0] == 1024 * r.f[0]);
  }
  CHECK(converged == 1000);
}

TEST_CASE("sinkhorn: small epsilon, wide costs, tiny weights", "[sinkhorn]") {
  // Nothing here is asked to converge: no NaN, a certificate that brackets, and the exact cost within it.
  const DType dtype = GENERATE(DType::f32, DType::f64);
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    RandomProblem p = random_problem(1000 + seed);
    p.columns = p.rows;
    p.cost.resize(to_size(p.rows * p.rows), 0.25);
    p.a.assign(to_size(p.rows), 1 / static_cast<double>(p.rows));
    p.b = p.a;
    if (p.mean() == 0) continue;
    const double exact = assign(p.cost, p.rows).cost / static_cast<double>(p.rows);
    for (const double epsilon : {1e-2, 1e-3, 1e-4, 1e-7, 1e-12}) {
      for (const double scaling : {0.0, 0.25}) {
        for (const double omega : {1.0, 1.7}) {
          INFO("seed " << seed << ", epsilon " << epsilon << ", scaling " << scaling << ", omega " << omega);
          SinkhornOptions o = options_of(epsilon, 1e-6);
          o.unit = EpsilonUnit::mean_cost;
          o.max_iterations = 300;
          o.scaling = scaling;
          o.over_relaxation = omega;
          const SinkhornResult r = sinkhorn(p.problem(dtype), o);
          check_certificate(r);
          CHECK(r.converged == (r.marginal_error <= 1e-6));
          CHECK(r.transport_cost >= exact - 1e-12);
          for (const double v : doubles(r.plan)) CHECK(std::isfinite(v));
        }
      }
    }
  }
  // Costs from 1e-12 to 1e12 and weights down to 1e-300.
  RandomProblem p = random_problem(7);
  p.rows = p.columns = 6;
  p.cost.resize(36);
  for (std::size_t k = 0; k < 36; ++k) p.cost[k] = std::pow(10.0, static_cast<double>((k * 7) % 25) - 12);
  p.a = {1, 1e-300, 0, 1e-30, 1e-10, 1};
  p.b = {0, 1, 1, 1e-200, 1e-5, 1e-5};
  p.a = normalised(p.a);
  p.b = normalised(p.b);
  for (const double epsilon : {1e-14, 1e-6, 1.0, 1e6, 1e14}) {
    SinkhornOptions o = options_of(epsilon, 1e-6);
    o.max_iterations = 1000;
    const SinkhornResult r = sinkhorn(p.problem(dtype), o);
    INFO("epsilon " << epsilon);
    check_certificate(r);
    for (const double v : doubles(r.plan)) CHECK(std::isfinite(v));
  }
}

TEST_CASE("sinkhorn: the plan tends to the exact one", "[sinkhorn]") {
  const std::int64_t n = 12;
  const Tensor x = Tensor::normal({n, 3}, {5, Purpose::test, 0}, 0, 1);
  const Tensor y = Tensor::normal({n, 3}, {5, Purpose::test, 1}, 0, 1);
  const Tensor cost = pairwise_cost(x, y, GroundCost::squared_euclidean);
  const std::vector<double> costs = doubles(cost);
  const Assignment exact = assign(costs, n);
  std::vector<double> plan(costs.size(), 0.0);
  for (std::size_t i = 0; i < exact.partner.size(); ++i) {
    plan[i * exact.partner.size() + to_size(exact.partner[i])] = 1.0 / static_cast<double>(n);
  }
  double before = INFINITY;
  for (const double epsilon : {1.0, 0.3, 0.1, 0.03, 0.01, 1e-3, 1e-4}) {
    SinkhornOptions o = options_of(epsilon, 1e-6);
    o.unit = EpsilonUnit::mean_cost;
    o.scaling = 0.25;
    o.over_relaxation = 1.8;
    o.max_iterations = 200000;
    const SinkhornResult r = sinkhorn({cost, {}, {}, {}}, o);
    INFO("epsilon " << epsilon << ", " << r.iterations << " iterations, error " << r.marginal_error);
    CHECK(r.converged);
    check_certificate(r);
    const double away = l1(r.plan, plan);
    CHECK(away <= before + 1e-5);
    before = away;
    // ε·KL ≤ ε·log n, and without it the value is the exact cost.
    const double least = exact.cost / static_cast<double>(n);
    CHECK(r.primal >= least);
    CHECK(r.dual <= least + r.epsilon * std::log(static_cast<double>(n)));
  }
  CHECK(before < 1e-4);
}

TEST_CASE("sinkhorn: relaxed marginals", "[sinkhorn]") {
  // The dual never exceeds the primal with one side relaxed or both; a large ρ is a hard marginal.
  int compared = 0;
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    INFO("seed " << seed);
    const RandomProblem p = random_problem(500 + seed);
    Random random(seed, Purpose::noise);
    SinkhornOptions o = options_of(random.uniform(0.1F, 0.5F), 1e-8);
    o.max_iterations = 3000;
    const SinkhornResult hard = sinkhorn(p.problem(DType::f64), o);
    for (const int sides : {1, 2, 3}) {
      for (const double rho : {0.1, 3.0, 1e7}) {
        SinkhornOptions relaxed = o;
        if ((sides & 1) != 0) relaxed.rho_a = rho;
        if ((sides & 2) != 0) relaxed.rho_b = rho;
        const SinkhornResult r = sinkhorn(p.problem(DType::f64), relaxed);
        check_certificate(r);
        if (rho < 1) CHECK(r.converged);
        CHECK(r.dual <= hard.primal + 1e-9);
        if (rho < 1e6 || !r.converged || !hard.converged) continue;
        ++compared;
        CHECK(r.primal == Approx(hard.primal).margin(1e-5));
      }
    }
  }
  CHECK(compared > 60);  // of 180
}
