// Plans between general masses, their certificates, and what is refused.
#include "tests/temp_directory.h"
#include "tests/transport_problems.h"

using namespace voxot;
using namespace voxot::test;

TEST_CASE("exact_ot: plans between general masses prove themselves", "[solvers][exact_ot]") {
  Random random(4, Purpose::test);
  for (int k = 0; k < 1500; ++k) {
    const auto kind = static_cast<Costs>(k % static_cast<int>(Costs::count));
    const std::size_t most = k % 50 == 0 ? 150 : 12;
    Problem p = problem(kind, 1 + random.below(most), 1 + random.below(most), random);
    INFO(kNames[k % static_cast<int>(Costs::count)] << ", " << p.rows << "×" << p.columns << ", problem "
                                                    << k);
    const double zeros = k % 3 == 0 ? 0.3 : 0;
    const std::vector<double> a = masses(p.rows, random, zeros);
    std::vector<double> b = masses(p.columns, random, zeros);
    // Sums may differ within the tolerance.
    if (k % 4 == 0) b[0] *= 1 + 0.5 * kMassTolerance;
    const TransportPlan t = exact_plan(std::span<const float>(p.cost), a, b);
    check_proved(p, a, b, t);
    // Every plan sends each mass somewhere: the independent one costs no less.
    double independent = 0;
    for (std::size_t i = 0; i < p.rows; ++i) {
      for (std::size_t j = 0; j < p.columns; ++j) independent += a[i] * b[j] * p.at(i, j);
    }
    CHECK(t.certificate.primal <= independent + 1e-4 * std::abs(independent));
  }
}

TEST_CASE("exact_ot: plans of whole masses against every permutation", "[solvers][exact_ot]") {
  // Seven units of mass: each unit a point of its own makes an assignment.
  Random random(5, Purpose::test);
  for (int k = 0; k < 60; ++k) {
    Problem p = problem(static_cast<Costs>(k % 6), 1 + random.below(5), 1 + random.below(5), random);
    std::vector<double> a(p.rows);
    std::vector<double> b(p.columns);
    Problem units{7, 7, {}};
    std::vector<std::size_t> row(7);
    std::vector<std::size_t> column(7);
    for (std::size_t u = 0; u < 7; ++u) {
      ++a[row[u] = random.below(p.rows)];
      ++b[column[u] = random.below(p.columns)];
    }
    units.fill([&](std::size_t i, std::size_t j) { return p.at(row[i], column[j]); });
    INFO(kNames[k % 6] << ", " << p.rows << "×" << p.columns << ", problem " << k);
    const TransportPlan t = exact_plan(std::span<const float>(p.cost), a, b);
    check_proved(p, a, b, t);
    CHECK(std::abs(t.certificate.primal - brute_force(units)) <= 1e-12 * t.certificate.magnitude);
  }
}

TEST_CASE("exact_ot: what plans keep to", "[solvers][exact_ot]") {
  Random random(6, Purpose::test);
  for (int k = 0; k < 500; ++k) {
    const Problem p = problem(k % 2 == 0 ? Costs::negative : Costs::clouds, 1 + random.below(9),
                              1 + random.below(9), random);
    INFO(p.rows << "×" << p.columns << ", problem " << k);
    const std::vector<double> a = masses(p.rows, random, 0);
    const std::vector<double> b = masses(p.columns, random, 0);
    const std::vector<double> cost(p.cost.begin(), p.cost.end());
    const TransportPlan t = exact_plan(std::span<const double>(cost), a, b);
    // Random masses leave plan and potentials unique: another order of the rows only reorders them.
    std::vector<double> reversed;
    for (std::size_t i = p.rows; i-- > 0;) {
      reversed.insert(reversed.end(), cost.begin() + static_cast<std::ptrdiff_t>(i * p.columns),
                      cost.begin() + static_cast<std::ptrdiff_t>((i + 1) * p.columns));
    }
    const TransportPlan r =
        exact_plan(std::span<const double>(reversed), std::vector<double>(a.rbegin(), a.rend()), b);
    const std::vector<double> plan = t.dense();
    const std::vector<double> turned = r.dense();
    double moved = 0;
    for (std::size_t i = 0; i < p.rows; ++i) {
      for (std::size_t j = 0; j < p.columns; ++j)
        moved = std::max(moved, std::abs(plan[i * p.columns + j] - turned[(p.rows - 1 - i) * p.columns + j]));
    }
    CHECK(moved < 1e-15);
    // A dearer row moves its potential alone.
    std::vector<double> raised = cost;
    for (std::size_t j = 0; j < p.columns; ++j) raised[j] += 3;
    const TransportPlan d = exact_plan(std::span<const double>(raised), a, b);
    CHECK(distance(d.dense(), plan) < 1e-14);
    const double constant = d.column_potential[0] - t.column_potential[0];
    for (std::size_t i = 0; i < p.rows; ++i)
      CHECK(d.row_potential[i] + constant == Approx(t.row_potential[i] + (i == 0 ? 3 : 0)).margin(1e-11));
    for (std::size_t j = 0; j < p.columns; ++j)
      CHECK(d.column_potential[j] - constant == Approx(t.column_potential[j]).margin(1e-11));
    CHECK(d.certificate.primal == Approx(t.certificate.primal + 3 * a[0]).margin(1e-12));
  }
}

TEST_CASE("exact_ot: equal masses of equal numbers are an assignment", "[solvers][exact_ot]") {
  Random random(7, Purpose::test);
  const Problem p = problem(Costs::clouds, 30, 30, random);
  const std::vector<double> uniform(30, 1.0 / 30);
  const TransportPlan t = exact_plan(std::span<const float>(p.cost), uniform, uniform);
  check_proved(p, uniform, uniform, t);
  const Assignment a = assign(std::span<const float>(p.cost), 30);
  REQUIRE(t.entries.size() == 30);
  for (std::size_t i = 0; i < 30; ++i) CHECK(t.entries[i].column == a.partner[i]);
  // The network simplex, on masses that are equal but for one part in a million, agrees to as much.
  std::vector<double> uneven = uniform;
  uneven[0] *= 1 + 1e-6;
  CHECK(exact_plan(std::span<const float>(p.cost), uneven, uneven).certificate.primal ==
        Approx(t.certificate.primal).epsilon(1e-5));
}

TEST_CASE("exact_ot: certificates see what is wrong", "[solvers][exact_ot]") {
  Random random(9, Purpose::test);
  const Problem p = problem(Costs::uniform, 40, 40, random);
  const std::span<const float> cost(p.cost);
  const std::vector<double> one = ones(40);
  const Assignment a = assign(cost, 40);
  const auto certificate = [&](const std::vector<std::int64_t>& partner, const std::vector<double>& f,
                               const std::vector<double>& g) {
    return certify(cost, one, one, entries(partner), f, g);
  };
  CHECK(certificate(a.partner, a.row_potential, a.column_potential).gap() < 1e-12);
  // Two partners exchanged: dearer by what the potentials say, and no longer proved.
  std::vector<std::int64_t> partner = a.partner;
  std::swap(partner[3], partner[20]);
  const Certificate worse = certificate(partner, a.row_potential, a.column_potential);
  CHECK(worse.primal > a.cost);
  CHECK(worse.strict_gap() == Approx((worse.primal - a.cost) / worse.primal).epsilon(1e-9));
  CHECK(worse.scale == Approx(40 * *std::max_element(p.cost.begin(), p.cost.end())));
  CHECK(worse.gap() == Approx((worse.primal - a.cost) / worse.scale).epsilon(1e-9));
  CHECK(worse.strict_gap() > 1e-3);
  CHECK_FALSE(worse.proven());
  CHECK(a.certificate.proven());
  // Potentials that claim more than the constraints allow gain nothing.
  std::vector<double> greedy = a.row_potential;
  greedy[5] += 0.5;
  const Certificate violated = certificate(a.partner, greedy, a.column_potential);
  CHECK(violated.violation > 0.4);
  CHECK(violated.dual == Approx(a.certificate.dual).epsilon(1e-12));
  greedy[5] = NAN;
  CHECK_FALSE(certificate(a.partner, greedy, a.column_potential).gap() <= 1);
  CHECK_FALSE(certificate(a.partner, greedy, a.column_potential).proven());
  // A column used twice.
  partner = a.partner;
  partner[1] = partner[0];
  CHECK(certificate(partner, a.row_potential, a.column_potential).marginal_error == Approx(2.0 / 40));
  CHECK_FALSE(certificate(partner, a.row_potential, a.column_potential).proven());
  // A plan that costs nothing is proved by nothing less than a dual of zero.
  const std::vector<float> nothing(4);
  const auto zero = [&](const std::vector<double>& f, const std::vector<double>& g) {
    return certify(std::span<const float>(nothing), ones(2), ones(2), entries({0, 1}), f, g);
  };
  CHECK(zero({-1, -1}, {1, 0}).gap() == INFINITY);
  CHECK(zero({-1, -1}, {1, 1}).gap() == 0);
  CHECK(zero({0, 0}, {1, 0}).violation == INFINITY);
  // Potentials so much larger than the costs that their sum rounds to a feasible one.
  const std::vector<double> small{1e-6};
  const double above = std::nextafter(1e12, 2e12);
  const Certificate lost = certify(std::span<const double>(small), ones(1), ones(1), entries({0}),
                                   std::vector<double>{above}, std::vector<double>{-1e12});
  CHECK(lost.violation > 100);
  CHECK(lost.dual <= 1.0001e-6);
  CHECK(assign(std::span<const float>(nothing), 2).certificate.gap() == 0);
}

TEST_CASE("exact_ot: bad costs and masses are refused", "[solvers][exact_ot]") {
  using Doubles = std::vector<double>;
  const auto refused = [](const Doubles& cost, const Doubles& a, const Doubles& b) {
    return error_of([&] { exact_plan(std::span<const double>(cost), a, b); });
  };
  CHECK_THAT(error_of([] { assign(Doubles(5), 2); }), Catch::Contains("5 costs for 2×2"));
  CHECK(error_of([] { assign(Doubles(5), 46341); }) == "assign: 46341×46341 points; expected at most 46340");
  CHECK_THAT(error_of([] { assign(Doubles{}, 0); }), Catch::Contains("0×0"));
  CHECK_THAT(error_of([] { assign(Doubles{1, NAN, 2, 3}, 2); }), Catch::Contains("[0, 1] of 2×2 is nan"));
  CHECK_THAT(error_of([] {
               assign(Doubles{1, 2, INFINITY, 3}, 2);
             }),
             Catch::Contains("[1, 0] of 2×2 is inf"));
  CHECK_THAT(error_of([] { assign(Doubles{1, 2, -1e201, 3}, 2); }), Catch::Contains("-1e+201"));
  CHECK_THAT(error_of([] { assign_batch(Doubles(9), 2, 2); }), Catch::Contains("9 costs for 2 times 2×2"));
  CHECK_THAT(error_of([] { assign_batch(Doubles(9), -1, 3); }), Catch::Contains("-1 times"));
  CHECK_THAT(refused(Doubles(5), {1, 1}, {1, 1}), Catch::Contains("5 costs for 2×2"));
  CHECK_THAT(refused({}, {}, {1}), Catch::Contains("0 costs for 0×1"));
  CHECK_THAT(refused({1, NAN}, {1}, {0.5, 0.5}), Catch::Contains("[0, 1] of 1×2 is nan"));
  CHECK_THAT(refused({1, 2}, {1}, {1.5, -0.5}), Catch::Contains("b[1] is -0.5"));
  CHECK_THAT(refused({1, 2}, {NAN}, {1, 0}), Catch::Contains("a[0] is nan"));
  CHECK_THAT(refused({1, 2}, {INFINITY}, {1, 0}), Catch::Contains("a[0] is inf"));
  CHECK_THAT(refused({1, 2}, {0}, {0, 0}), Catch::Contains("masses a sum to 0"));
  CHECK_THAT(refused({1, 2}, {1}, {0.5, 0.6}), Catch::Contains("sum to 1 and 1.1"));
  CHECK_THAT(
      error_of([] { certify(std::span<const double>(Doubles(4)), ones(2), ones(2), {}, ones(3), ones(2)); }),
      Catch::Contains("3 and 2 potentials"));
  const std::vector<PlanEntry> outside{{0, 2, 1}};
  CHECK_THAT(error_of([&] {
               certify(std::span<const double>(Doubles(4)), ones(2), ones(2), outside, ones(2), ones(2));
             }),
             Catch::Contains("[0, 2] of a 2×2"));
}
