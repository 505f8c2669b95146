// Sinkhorn: POT's answers, batches, features and streaming, starts and limits, errors.
#include "solvers/sinkhorn.h"

#include "kernels/sizes.h"
#include "tests/sinkhorn_helpers.h"

using namespace voxot;
using namespace voxot::test;

namespace {

/// Potentials shifted as the goldens are: Σ a·f = Σ b·g over the points with weight.
void check_potentials(const SinkhornResult& r, const std::vector<double>& a, const std::vector<double>& b,
                      const std::vector<double>& f, const std::vector<double>& g, double limit) {
  double shift = 0;
  for (std::size_t i = 0; i < a.size(); ++i) shift += a[i] * r.f[i];
  for (std::size_t j = 0; j < b.size(); ++j) shift -= b[j] * r.g[j];
  std::vector<double> got_f;
  std::vector<double> got_g;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (a[i] > 0) got_f.push_back(r.f[i] - shift / 2);
  }
  for (std::size_t j = 0; j < b.size(); ++j) {
    if (b[j] > 0) got_g.push_back(r.g[j] + shift / 2);
  }
  CHECK(distance(got_f, f) < limit);
  CHECK(distance(got_g, g) < limit);
}

}  // namespace

TEST_CASE("goldens: sinkhorn", "[goldens][sinkhorn]") {
  const Golden g("sinkhorn");
  for (const std::string name : {"plain", "small", "zeros", "one_row"}) {
    for (const DType dtype : {DType::f64, DType::f32}) {
      for (const double omega : {1.0, 1.5}) {
        INFO(name << " " << name_of(dtype) << ", over-relaxation " << omega);
        const bool wide = dtype == DType::f64;
        const std::vector<double> a = normalised(g.values(name + ".a"));
        const std::vector<double> b = normalised(g.values(name + ".b"));
        SinkhornOptions o = options_of(g.number(name + ".epsilon"), wide ? 1e-10 : 1e-6);
        o.over_relaxation = omega;
        const SinkhornResult r = sinkhorn({g.plain(name + ".cost", dtype), a, b, {}}, o);
        CHECK(r.converged);
        check_certificate(r);
        // Stored in fp32: 6e-8 of each number. A marginal error moves the plan by a multiple of it that grows
        // as ε falls.
        CHECK(l1(r.plan, g.values(name + ".plan")) < (wide ? 2e-7 : 2e-5));
        CHECK(r.primal == Approx(g.number(name + ".value")).epsilon(wide ? 1e-7 : 1e-5));
        CHECK(r.dual == Approx(g.number(name + ".value")).epsilon(wide ? 1e-7 : 1e-5));
        CHECK(r.transport_cost == Approx(g.number(name + ".transport_cost")).epsilon(wide ? 2e-7 : 1e-5));
        check_potentials(r, a, b, g.values(name + ".f"), g.values(name + ".g"), wide ? 1e-6 : 1e-4);
      }
    }
  }
}

TEST_CASE("goldens: sinkhorn at 1e-4 of the mean cost", "[goldens][sinkhorn][device]") {
  const Golden g("sinkhorn");
  for (const Device device : devices()) {
    for (const std::string name : {"tiny_epsilon", "tiny_epsilon_wide"}) {
      for (const double scaling : {0.0, 0.25}) {
        for (const double omega : {1.0, 1.7}) {
          // Emulation takes a millisecond and more for an iteration: the fewest, some 4000.
          const bool fewest = name == "tiny_epsilon" && scaling > 0 && omega > 1;
          if (device == Device::cuda && kernels::cuda_build() == "emulated" && !fewest) continue;
          const std::vector<double> a = normalised(g.values(name + ".a"));
          const std::vector<double> b = normalised(g.values(name + ".b"));
          SinkhornOptions o = options_of(g.number(name + ".epsilon"), 1e-6);
          o.max_iterations = 2000000;
          o.scaling = scaling;
          o.over_relaxation = omega;
          const SinkhornResult r = sinkhorn({g.plain(name + ".cost", DType::f32).to(device), a, b, {}}, o);
          INFO(name << " on " << name_of(device) << ", scaling " << scaling << ", over-relaxation " << omega
                    << ": " << r.iterations << " iterations");
          CHECK(r.converged);
          check_certificate(r);
          // Twenty tolerances, as above; values and potentials, stored in fp32, are within the tolerance.
          CHECK(l1(r.plan, g.values(name + ".plan")) < 2e-5);
          CHECK(r.primal == Approx(g.number(name + ".value")).epsilon(1e-6));
          CHECK(r.dual == Approx(g.number(name + ".value")).epsilon(1e-6));
          CHECK(r.transport_cost == Approx(g.number(name + ".transport_cost")).epsilon(1e-6));
          check_potentials(r, a, b, g.values(name + ".f"), g.values(name + ".g"), 1e-6);
        }
      }
    }
  }
}

TEST_CASE("goldens: unbalanced sinkhorn", "[goldens][sinkhorn]") {
  const Golden g("sinkhorn");
  for (const DType dtype : {DType::f64, DType::f32}) {
    const bool wide = dtype == DType::f64;
    SinkhornOptions o = options_of(g.number("unbalanced.epsilon"), wide ? 1e-11 : 1e-6);
    o.rho_a = g.values("unbalanced.rho")[0];
    o.rho_b = g.values("unbalanced.rho")[1];
    const std::vector<double> a = g.values("unbalanced.a");
    const std::vector<double> b = g.values("unbalanced.b");
    const SinkhornResult r = sinkhorn({g.plain("unbalanced.cost", dtype), a, b, {}}, o);
    CHECK(r.converged);
    check_certificate(r);
    CHECK(l1(r.plan, g.values("unbalanced.plan")) < (wide ? 2e-7 : 1e-5));
    CHECK(r.primal == Approx(g.number("unbalanced.value")).epsilon(wide ? 2e-7 : 1e-5));
    CHECK(r.dual == Approx(g.number("unbalanced.value")).epsilon(wide ? 2e-7 : 1e-5));
  }
}

TEST_CASE("sinkhorn: a ragged batch is its problems, bit for bit", "[sinkhorn]") {
  for (const DType dtype : {DType::f32, DType::f64}) {
    std::vector<RandomProblem> problems;
    for (std::uint64_t seed = 0; seed < 20; ++seed) problems.push_back(random_problem(300 + seed));
    // One that runs on all threads, in several chunks.
    RandomProblem large;
    large.rows = 530;
    large.columns = 510;
    large.cost = test_values(large.rows * large.columns, Values::positive, 3);
    large.a.assign(530, 1.0 / 530);
    large.b.assign(510, 1.0 / 510);
    problems.insert(problems.begin() + 4, large);
    std::vector<SinkhornProblem> views;
    for (const RandomProblem& p : problems) views.push_back(p.problem(dtype));
    SinkhornOptions o = options_of(0.2, 1e-6);
    const std::vector<SinkhornResult> all = sinkhorn(views, o);
    REQUIRE(all.size() == problems.size());
    std::int64_t fewest = 1 << 30;
    std::int64_t most = 0;
    for (std::size_t k = 0; k < all.size(); ++k) {
      INFO("problem " << k);
      const SinkhornResult one = sinkhorn(views[k], o);
      CHECK(one.f == all[k].f);
      CHECK(one.g == all[k].g);
      CHECK(one.iterations == all[k].iterations);
      CHECK(one.primal == all[k].primal);
      CHECK(one.dual == all[k].dual);
      CHECK(doubles(one.plan) == doubles(all[k].plan));
      fewest = std::min(fewest, one.iterations);
      most = std::max(most, one.iterations);
    }
    CHECK(fewest < most);  // nobody waits for the worst
  }
}

TEST_CASE("sinkhorn: the same bits on any number of threads", "[sinkhorn]") {
  const Tensor x = Tensor::normal({700, 20}, {5, Purpose::test, 0}, 0, 1);
  const Tensor y = Tensor::normal({600, 20}, {5, Purpose::test, 1}, 0, 1);
  const SinkhornOptions o = options_of(2, 1e-5, false);
  const int threads = kernels::threads();
  const auto once = [&](int count) {
    kernels::set_threads(count);
    return sinkhorn(x, y, GroundCost::squared_euclidean, o)[0];
  };
  const SinkhornResult one = once(1);
  const SinkhornResult two = once(2);
  kernels::set_threads(threads);
  CHECK(one.f == two.f);
  CHECK(one.primal == two.primal);
}

TEST_CASE("sinkhorn: from features, batched and streamed", "[sinkhorn]") {
  for (const DType dtype : {DType::f32, DType::f64}) {
    const double alike = dtype == DType::f64 ? 1e-7 : 1e-3;
    const Tensor x = Tensor::normal({3, 70, 24}, {2, Purpose::test, 0}, 0, 1, dtype);
    const Tensor y = Tensor::normal({3, 90, 24}, {2, Purpose::test, 1}, 0.5, 1, dtype);
    for (const GroundCost kind :
         {GroundCost::squared_euclidean, GroundCost::half_squared_per_dimension, GroundCost::cosine}) {
      SinkhornOptions o = options_of(0.05, dtype == DType::f64 ? 1e-9 : 1e-6, false);
      o.unit = EpsilonUnit::mean_cost;
      const std::vector<double> a = normalised(test_values(70, Values::positive, 4));
      const std::vector<SinkhornResult> all = sinkhorn(x, y, kind, o, {a, {}});
      REQUIRE(all.size() == 3);
      for (std::int64_t k = 0; k < 3; ++k) {
        const Tensor xk = x.window(k * 70 * 24, {70, 24});
        const Tensor yk = y.window(k * 90 * 24, {90, 24});
        const SinkhornResult& r = all[to_size(k)];
        const SinkhornResult matrix = sinkhorn({pairwise_cost(xk, yk, kind), a, {}, {}}, o);
        CHECK(matrix.f == r.f);
        for (const double omega : {1.0, 1.4}) {
          SinkhornOptions relaxed = o;
          relaxed.over_relaxation = omega;
          const SinkhornResult streamed = sinkhorn_streamed(xk, yk, kind, relaxed, {a, {}});
          CHECK(streamed.converged);
          check_certificate(streamed);
          CHECK(streamed.epsilon == Approx(r.epsilon).epsilon(1e-6));
          CHECK(streamed.primal == Approx(r.primal).epsilon(alike));
          CHECK(streamed.dual == Approx(r.dual).epsilon(alike));
          for (std::size_t i = 0; i < r.f.size(); ++i) {
            CHECK(streamed.f[i] - streamed.f[0] == Approx(r.f[i] - r.f[0]).margin(alike * r.epsilon * 20));
          }
        }
      }
    }
  }
}

TEST_CASE("sinkhorn: the symmetric update finds what alternating finds, in few iterations",
          "[sinkhorn][device]") {
  int compared = 0;
  for (const Device device : devices()) {
    for (const DType dtype : {DType::f32, DType::f64}) {
      for (const bool relaxed : {false, true}) {
        for (const double epsilon : {0.3, 0.03, 3e-3}) {
          const std::int64_t n = device == Device::cpu ? 150 : 40;
          const Tensor x = Tensor::normal({n, 2}, {3, Purpose::test, 0}, 0, 1, dtype).to(device);
          const Tensor cost = pairwise_cost(x, x, GroundCost::squared_euclidean);
          std::vector<double> weights = test_values(n, Values::positive, 9);
          weights[4] = 0;
          weights = normalised(weights);
          const double tolerance = dtype == DType::f64 ? 1e-8 : 1e-5;
          SinkhornOptions o = options_of(epsilon, tolerance, false);
          o.unit = EpsilonUnit::mean_cost;
          if (relaxed) o.rho_a = o.rho_b = 3;
          // Values bracket each other's, converged or not.
          o.max_iterations = device == Device::cpu ? 3000 : 100;
          const SinkhornResult plain = sinkhorn({cost, weights, weights, {}}, o);
          o.symmetric = true;
          const SinkhornResult r = sinkhorn({cost, weights, weights, {}}, o);
          INFO(name_of(dtype) << " on " << name_of(device) << ", epsilon " << epsilon << ", relaxed "
                              << relaxed << ": " << r.iterations << " iterations, " << plain.iterations
                              << " alternating");
          CHECK(r.converged);
          check_certificate(r);
          // A half of the error is left by each: 27 halvings are 1e-8, and some for the start.
          CHECK(r.iterations <= 40);
          for (std::size_t i = 0; i < weights.size(); ++i) {
            if (weights[i] > 0) CHECK(r.f[i] == r.g[i]);
          }
          CHECK(r.dual <= plain.primal);
          CHECK(plain.dual <= r.primal);
          if (!plain.converged) continue;
          ++compared;
          CHECK(r.dual == Approx(plain.dual).margin(100 * tolerance));
        }
      }
    }
  }
  CHECK(compared > 5);  // of 12 on the CPU
}

TEST_CASE("sinkhorn: the symmetric update on streamed costs is what it is on held ones",
          "[sinkhorn][device]") {
  for (const Device device : devices()) {
    for (const DType dtype : {DType::f32, DType::f64}) {
      for (const GroundCost kind : {GroundCost::squared_euclidean, GroundCost::cosine}) {
        const std::int64_t n = device == Device::cpu ? 150 : 40;
        const Tensor x = Tensor::normal({n, 5}, {3, Purpose::test, 1}, 0, 1, dtype).to(device);
        const std::vector<double> weights = normalised(test_values(n, Values::positive, 9));
        SinkhornOptions o = options_of(0.02, dtype == DType::f64 ? 1e-8 : 1e-5, false);
        o.unit = EpsilonUnit::mean_cost;
        o.symmetric = true;
        const SinkhornResult held = sinkhorn({pairwise_cost(x, x, kind), weights, weights, {}}, o);
        const SinkhornResult streamed = sinkhorn_streamed(x, x, kind, o, {weights, weights});
        INFO(name_of(dtype) << " on " << name_of(device) << ": " << streamed.iterations << " iterations, "
                            << held.iterations << " held");
        CHECK(streamed.converged);
        check_certificate(streamed);
        CHECK(streamed.iterations <= 40);
        CHECK(streamed.f == streamed.g);
        CHECK(streamed.dual == Approx(held.dual).epsilon(dtype == DType::f64 ? 1e-7 : 1e-4));
        CHECK(streamed.primal == Approx(held.primal).epsilon(dtype == DType::f64 ? 1e-7 : 1e-3));
      }
    }
  }
}

TEST_CASE("sinkhorn: costs that are not symmetric are solved all the same", "[sinkhorn][device]") {
  for (const Device device : devices()) {
    const Tensor x = Tensor::normal({20, 4}, {8, Purpose::test, 0}, 0, 1);
    const Tensor y = Tensor::normal({20, 4}, {8, Purpose::test, 1}, 0, 1);
    const Tensor cost = pairwise_cost(x, y, GroundCost::squared_euclidean).to(device);
    SinkhornOptions o = options_of(0.2, 1e-5);
    o.unit = EpsilonUnit::mean_cost;
    const SinkhornResult plain = sinkhorn({cost, {}, {}, {}}, o);
    o.symmetric = true;
    const SinkhornResult r = sinkhorn({cost, {}, {}, {}}, o);
    CHECK(r.converged);
    check_certificate(r);
    CHECK(r.iterations > plain.iterations);
    CHECK(l1(r.plan, doubles(plain.plan)) < 1e-3);
  }
}

TEST_CASE("sinkhorn: starts, limits, relative epsilon", "[sinkhorn]") {
  const Tensor x = Tensor::normal({80, 6}, {8, Purpose::test, 0}, 0, 1);
  const Tensor y = Tensor::normal({80, 6}, {8, Purpose::test, 1}, 1, 1);
  const Tensor cost = pairwise_cost(x, y, GroundCost::squared_euclidean);
  SinkhornOptions o = options_of(0.02, 1e-5, false);
  o.unit = EpsilonUnit::mean_cost;
  const SinkhornResult cold = sinkhorn({cost, {}, {}, {}}, o);
  REQUIRE(cold.converged);
  // A start at the answer needs next to nothing, with ε-scaling too.
  for (const double scaling : {0.0, 0.5}) {
    o.scaling = scaling;
    const SinkhornResult warm = sinkhorn({cost, {}, {}, cold.g}, o);
    CHECK(warm.converged);
    CHECK(warm.iterations <= 3);
  }
  // What was not reached is said, and still certified.
  o.scaling = 0;
  o.max_iterations = 3;
  const SinkhornResult few = sinkhorn({cost, {}, {}, {}}, o);
  CHECK_FALSE(few.converged);
  CHECK(few.iterations == 3);
  CHECK(few.marginal_error > 1e-5);
  check_certificate(few);
  CHECK(few.dual <= cold.dual + 1e-9);
  CHECK(few.primal >= cold.primal - 1e-4);
  double sum = 0;
  double most = 0;
  for (const double c : doubles(cost)) {
    sum += c;
    most = std::max(most, c);
  }
  CHECK(few.epsilon == Approx(0.02 * sum / 6400));
  o.unit = EpsilonUnit::max_cost;
  CHECK(sinkhorn({cost, {}, {}, {}}, o).epsilon == Approx(0.02 * most));
  // Costs of 0 have no scale, and the product plan answers.
  o.plan = true;
  const SinkhornResult flat = sinkhorn({Tensor::full({4, 5}, 0), {}, {}, {}}, o);
  CHECK(flat.converged);
  CHECK(l1(flat.plan, std::vector<double>(20, 0.05)) < 1e-6);
}

TEST_CASE("sinkhorn: a relative epsilon needs costs whose unit is above 0", "[sinkhorn]") {
  const Tensor below = Tensor::from({2, 3}, std::array{-3.0F, 1.0F, -1.0F, -2.0F, 0.5F, -2.0F});
  const Tensor balanced = Tensor::from({2, 2}, std::array{-1.0F, 1.0F, 1.0F, -1.0F});
  const Tensor negative = Tensor::from({2, 2}, std::array{-1.0F, -2.0F, -2.0F, 0.0F});
  // A problem for a whole device, where cuda has a form of its own.
  const Tensor large = Tensor::full({257, 3}, -1);
  const Tensor points = Tensor::normal({257, 2}, {4, Purpose::test, 0}, 0, 1);
  for (const Device device : devices()) {
    INFO(name_of(device));
    SinkhornOptions o = options_of(0.1, 1e-5);
    const auto message = [&](const Tensor& cost) {
      return error_of([&] { sinkhorn({cost.to(device), {}, {}, {}}, o); });
    };
    CHECK(message(below).empty());
    o.unit = EpsilonUnit::mean_cost;
    for (const Tensor& cost : {below, balanced, negative, large})
      CHECK_THAT(message(cost), Catch::Contains("a multiple of the mean cost; expected a mean cost above 0"));
    CHECK_THAT(message(balanced), Catch::Contains("an epsilon of 0,"));
    o.unit = EpsilonUnit::max_cost;
    for (const Tensor& cost : {negative, large})
      CHECK_THAT(message(cost), Catch::Contains("expected a largest cost above 0"));
    CHECK(message(below).empty());
    const SinkhornResult flat = sinkhorn({Tensor::full({4, 5}, 0).to(device), {}, {}, {}}, o);
    CHECK(flat.converged);
    CHECK(l1(flat.plan, std::vector<double>(20, 0.05)) < 1e-6);
    // One in a batch is named.
    const Tensor here = below.to(device);
    const std::vector<SinkhornProblem> both{{.cost = here}, {.cost = Tensor::full({2, 2}, -1).to(device)}};
    CHECK_THAT(error_of([&] { sinkhorn(both, o); }),
               Catch::Contains("problem 1 of 2 has an epsilon of -0.1"));
    o.plan = false;
    const SinkhornResult streamed =
        sinkhorn_streamed(points.to(device), points.to(device), GroundCost::squared_euclidean, o);
    CHECK(streamed.converged);
    CHECK(streamed.largest_cost > 0);
    CHECK(streamed.epsilon == Approx(0.1 * streamed.largest_cost));
  }
}

TEST_CASE("sinkhorn: refuses what makes no sense", "[sinkhorn]") {
  const Tensor cost = Tensor::full({2, 3}, 1);
  const auto message = [&](const SinkhornProblem& p, const SinkhornOptions& o = {}) {
    const std::string text = error_of([&] { sinkhorn(p, o); });
    CHECK(text.find('\n') == std::string::npos);
    return text;
  };
  const std::vector<double> two{0.5, 0.5};
  const std::vector<double> three{0.25, 0.25, 0.5};
  CHECK(message({cost, two, three, {}}).empty());
  for (const float bad : {NAN, INFINITY, -INFINITY}) {
    const Tensor wrong = Tensor::full({2, 3}, 1);
    wrong.as<float>()[4] = bad;
    CHECK_THAT(message({wrong, {}, {}, {}}), Catch::Contains("value 4 of the cost matrix 2×3 is"));
    const std::vector<double> weights{0.5, static_cast<double>(bad)};
    CHECK_THAT(message({cost, weights, {}, {}}), Catch::Contains("source weight 1 is"));
  }
  CHECK_THAT(message({cost, {}, std::vector<double>{1, -0.5, 0.5}, {}}),
             Catch::Contains("target weight 1 is -0.5"));
  CHECK_THAT(message({cost, std::vector<double>{0, 0}, {}, {}}),
             Catch::Contains("source weights add up to 0"));
  CHECK_THAT(message({cost, three, {}, {}}), Catch::Contains("3 source weights for 2 points"));
  CHECK_THAT(message({cost, std::vector<double>{1, 1}, {}, {}}),
             Catch::Contains("hard marginals need equal masses"));
  CHECK_THAT(message({Tensor::full({0, 3}, 1), {}, {}, {}}), Catch::Contains("source set is empty"));
  CHECK_THAT(message({Tensor::full({3, 0}, 1), {}, {}, {}}), Catch::Contains("target set is empty"));
  CHECK_THAT(message({Tensor::full({2, 3, 1}, 1), {}, {}, {}}), Catch::Contains("costs 2×3×1; expected n×m"));
  CHECK_THAT(message({Tensor::full({2, 3}, 1, DType::bf16), {}, {}, {}}), Catch::Contains("bf16"));
  CHECK_THAT(message({Tensor{}, {}, {}, {}}), Catch::Contains("no cost matrix"));
  CHECK_THAT(message({cost, {}, {}, two}), Catch::Contains("start of 2 potentials for 3"));
  const auto refuses = [&](const char* part, const auto& change) {
    SinkhornOptions o;
    change(o);
    CHECK_THAT(message({cost, {}, {}, {}}, o), Catch::Contains(part));
  };
  for (const double epsilon : {0.0, -1.0, static_cast<double>(NAN), static_cast<double>(INFINITY)}) {
    refuses("epsilon is", [&](SinkhornOptions& o) { o.epsilon = epsilon; });
  }
  refuses("tolerance is", [](SinkhornOptions& o) { o.tolerance = NAN; });
  refuses("0 iterations", [](SinkhornOptions& o) { o.max_iterations = 0; });
  refuses("scaling by 1", [](SinkhornOptions& o) { o.scaling = 1; });
  refuses("over-relaxation by 2", [](SinkhornOptions& o) { o.over_relaxation = 2; });
  refuses("rho is 0", [](SinkhornOptions& o) { o.rho_a = 0; });
  refuses("symmetric, with rho 1 and 2", [](SinkhornOptions& o) {
    o.symmetric = true;
    o.rho_a = 1;
    o.rho_b = 2;
  });
  refuses("symmetric, with 2 source and 3 target", [](SinkhornOptions& o) { o.symmetric = true; });
  refuses("relaxed marginal", [](SinkhornOptions& o) {
    o.rho_a = 1;
    o.over_relaxation = 1.5;
  });
  const Tensor x = Tensor::full({2, 4}, 1);
  CHECK_THAT(error_of([&] {
               sinkhorn(x, Tensor::full({2, 5}, 1), GroundCost::cosine);
             }),
             Catch::Contains("features 2×4"));
  CHECK_THAT(error_of([&] {
               sinkhorn(x, Tensor::full({2, 4}, NAN), GroundCost::cosine);
             }),
             Catch::Contains("value 0 of the target 2×4 is nan"));
  CHECK_THAT(error_of([&] {
               sinkhorn(x, Tensor::full({2, 4}, 1e30), GroundCost::squared_euclidean);
             }),
             Catch::Contains("costs between finite features overflow fp32"));
  CHECK_THAT(error_of([&] {
               sinkhorn_streamed(x, Tensor::full({2, 5}, 1), GroundCost::cosine);
             }),
             Catch::Contains("sinkhorn_streamed: features"));
  CHECK_THAT(error_of([&] {
               SinkhornOptions o;
               o.plan = true;
               sinkhorn_streamed(x, x, GroundCost::cosine, o);
             }),
             Catch::Contains("a plan was asked for"));
}
