// Assignments, and both kinds beside POT and scipy: against every permutation, and by their certificates.
#include "kernels/assignment.h"
#include "kernels/sizes.h"
#include "tests/transport_problems.h"

using namespace voxot;
using namespace voxot::test;

TEST_CASE("exact_ot: against every permutation", "[solvers][exact_ot]") {
  Random random(1, Purpose::test);
  for (std::size_t n = 1; n <= 7; ++n) {
    for (int repeat = 0; repeat < (n < 7 ? 8 : 3); ++repeat) {
      for (int kind = 0; kind < static_cast<int>(Costs::count); ++kind) {
        const Problem p = problem(static_cast<Costs>(kind), n, n, random);
        INFO(kNames[kind] << ", " << n << " points, draw " << repeat);
        const Assignment a = assign(std::span<const float>(p.cost), static_cast<std::int64_t>(n));
        CHECK(std::abs(a.cost - brute_force(p)) <= 1e-12 * magnitude(p, a));
        check_proved(p, a);
      }
    }
  }
}

TEST_CASE("exact_ot: a thousand assignments of 2 to 512 points prove themselves", "[solvers][exact_ot]") {
  Random random(2, Purpose::test);
  for (int k = 0; k < 1000; ++k) {
    const auto kind = static_cast<Costs>(k % static_cast<int>(Costs::count));
    const auto n = to_size(std::lround(std::exp2(1 + 8 * static_cast<double>(random.uniform()))));
    const Problem p = problem(kind, n, n, random);
    INFO(kNames[k % static_cast<int>(Costs::count)] << ", " << n << " points, problem " << k);
    check_proved(p, assign(std::span<const float>(p.cost), static_cast<std::int64_t>(n)));
  }
}

TEST_CASE("exact_ot: against scipy and POT", "[solvers][exact_ot]") {
  const Golden golden("exact_ot");
  int problems = 0;
  for (const auto& [name, array] : golden.below("assign.")) {
    if (!name.ends_with(".cost")) continue;
    const std::string prefix = "assign." + name.substr(0, name.size() - 4);
    INFO(prefix);
    ++problems;
    const auto n = to_size(array.shape.at(0));
    const Problem p{n, n, array.to_floats()};
    const Assignment a = assign(std::span<const float>(p.cost), static_cast<std::int64_t>(n));
    check_proved(p, a);
    CHECK(std::abs(a.cost - wide(golden, prefix + "value")[0]) <= 1e-12 * magnitude(p, a));
    if (golden.has(prefix + "partner")) CHECK(a.partner == golden.integers(prefix + "partner"));
  }
  CHECK(problems == 24);
  for (const auto& [name, array] : golden.below("plan.")) {
    if (!name.ends_with(".cost")) continue;
    const std::string prefix = "plan." + name.substr(0, name.size() - 4);
    INFO(prefix);
    ++problems;
    const Problem p{to_size(array.shape.at(0)), to_size(array.shape.at(1)), floats(golden, prefix + "cost")};
    const std::vector<double> a = wide(golden, prefix + "a");
    const std::vector<double> b = wide(golden, prefix + "b");
    const TransportPlan t = exact_plan(std::span<const float>(p.cost), a, b);
    check_proved(p, a, b, t);
    CHECK(std::abs(t.certificate.primal - wide(golden, prefix + "value")[0]) <=
          1e-12 * t.certificate.magnitude);
    if (!golden.has(prefix + "plan")) continue;
    CHECK(distance(t.dense(), wide(golden, prefix + "plan")) < 1e-12);
    // Potentials are unique but for a constant that goes from one side to the other.
    std::vector<double> f = wide(golden, prefix + "row_potential");
    std::vector<double> g = wide(golden, prefix + "column_potential");
    const double constant = t.row_potential[0] - f[0];
    for (double& v : f) v += constant;
    for (double& v : g) v -= constant;
    f.insert(f.end(), g.begin(), g.end());
    std::vector<double> both = t.row_potential;
    both.insert(both.end(), t.column_potential.begin(), t.column_potential.end());
    CHECK(distance(both, f) < 1e-12);
  }
  CHECK(problems == 24 + 14);
}

TEST_CASE("exact_ot: what assignments keep to", "[solvers][exact_ot]") {
  Random random(3, Purpose::test);
  for (int k = 0; k < 2000; ++k) {
    const std::size_t n = 1 + random.below(14);
    const auto size = static_cast<std::int64_t>(n);
    INFO(n << " points, problem " << k);
    const Problem p = problem(k % 2 == 0 ? Costs::negative : Costs::clouds, n, n, random);
    std::vector<double> cost(p.cost.begin(), p.cost.end());
    const Assignment a = assign(std::span<const double>(cost), size);
    CHECK(prove(p, a).gap <= kProved);
    // fp32 and double costs of equal value have one answer.
    CHECK(assign(std::span<const float>(p.cost), size).partner == a.partner);

    // Rows and columns in another order.
    std::vector<std::size_t> rows(n);
    std::vector<std::size_t> columns(n);
    std::iota(rows.begin(), rows.end(), 0U);
    std::iota(columns.begin(), columns.end(), 0U);
    for (std::size_t i = n; i > 1; --i) {
      std::swap(rows[i - 1], rows[random.below(i)]);
      std::swap(columns[i - 1], columns[random.below(i)]);
    }
    std::vector<double> shuffled(n * n);
    for (std::size_t i = 0; i < n; ++i) {
      for (std::size_t j = 0; j < n; ++j) shuffled[i * n + j] = cost[rows[i] * n + columns[j]];
    }
    const Assignment s = assign(std::span<const double>(shuffled), size);
    for (std::size_t i = 0; i < n; ++i) CHECK(columns[to_size(s.partner[i])] == to_size(a.partner[rows[i]]));

    // A dearer row changes no partner and, by as much, its own potential alone: the others remain optimal.
    const std::size_t row = random.below(n);
    const double dearer = 4 * static_cast<double>(random.normal());
    std::vector<double> raised = cost;
    for (std::size_t j = 0; j < n; ++j) raised[row * n + j] += dearer;
    const Assignment r = assign(std::span<const double>(raised), size);
    CHECK(r.partner == a.partner);
    CHECK(r.cost == Approx(a.cost + dearer).margin(1e-12));
    std::vector<double> moved = a.row_potential;
    moved[row] += dearer;
    CHECK(certify(std::span<const double>(raised), ones(n), ones(n), entries(r.partner), moved,
                  a.column_potential)
              .gap() <= 1e-12);

    // All costs times one number: value and potentials too. A power of two has the same bits.
    std::vector<double> scaled = cost;
    for (double& c : scaled) c *= 0x1p-40;
    const Assignment t = assign(std::span<const double>(scaled), size);
    CHECK(t.partner == a.partner);
    CHECK(t.cost == a.cost * 0x1p-40);
    for (std::size_t j = 0; j < n; ++j) CHECK(t.column_potential[j] == a.column_potential[j] * 0x1p-40);
  }
}

TEST_CASE("exact_ot: batches, and sorted points on a line", "[solvers][exact_ot]") {
  Random random(8, Purpose::test);
  std::vector<float> costs;
  std::vector<Problem> problems;
  for (int k = 0; k < 20; ++k) {
    problems.push_back(problem(Costs::clouds, 33, 33, random));
    costs.insert(costs.end(), problems.back().cost.begin(), problems.back().cost.end());
  }
  const std::vector<Assignment> batch = assign_batch(std::span<const float>(costs), 20, 33);
  REQUIRE(batch.size() == 20);
  for (std::size_t k = 0; k < 20; ++k) {
    check_proved(problems[k], batch[k]);
    const Assignment alone = assign(std::span<const float>(problems[k].cost), 33);
    CHECK(batch[k].partner == alone.partner);
    CHECK(batch[k].column_potential == alone.column_potential);
  }
  CHECK(assign_batch(std::span<const float>(), 0, 5).empty());
  std::vector<double> line;
  for (int i = 0; i < 60; ++i) {
    for (int j = 0; j < 60; ++j) line.push_back(std::pow(i - 0.3 * (59 - j) - 7, 2));
  }
  const Assignment sorted = assign(line, 60);
  for (int i = 0; i < 60; ++i) CHECK(sorted.partner[to_size(i)] == 59 - i);
}

TEST_CASE("exact_ot: with and without the initialisation", "[solvers][exact_ot]") {
  Random random(10, Purpose::test);
  for (int k = 0; k < 40; ++k) {
    const std::size_t n = 2 + random.below(60);
    const Problem p = problem(static_cast<Costs>(k % static_cast<int>(Costs::count)), n, n, random);
    INFO(kNames[k % static_cast<int>(Costs::count)] << ", " << n << " points");
    Assignment plain;
    std::vector<std::int32_t> partner(n);
    plain.row_potential.resize(n);
    plain.column_potential.resize(n);
    kernels::assignment({}, DType::f32, {.count = 1, .n = static_cast<std::int64_t>(n), .initialise = false},
                        {.cost = p.cost.data(),
                         .column_of_row = partner.data(),
                         .row_potential = plain.row_potential.data(),
                         .column_potential = plain.column_potential.data()});
    plain.partner.assign(partner.begin(), partner.end());
    const Proof proof = prove(p, plain);
    CHECK(proof.gap <= kProved);
    CHECK(proof.primal ==
          Approx(assign(std::span<const float>(p.cost), static_cast<std::int64_t>(n)).cost).epsilon(1e-9));
  }
}
