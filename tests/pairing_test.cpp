#include "solvers/pairing.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <numeric>

#include "engine/graph.h"
#include "kernels/features.h"
#include "kernels/sizes.h"
#include "solvers/exact_ot.h"
#include "tests/op_case.h"

namespace voxot {
namespace {

Buffer<std::int64_t> labels(const std::vector<std::int64_t>& values, Device device = Device::cpu) {
  return Buffer<std::int64_t>::from(values, device);
}

Tensor points(std::int64_t n, std::int64_t dimension, std::uint64_t step, DType dtype = DType::f32) {
  return Tensor::normal({n, dimension}, {11, Purpose::test, step}, 0, 1, dtype);
}

PairingOptions options(PairingPlan plan, PartnerRule rule, double epsilon = 0.1) {
  PairingOptions o;
  o.plan = plan;
  o.rule = rule;
  o.sinkhorn.epsilon = epsilon;
  o.sinkhorn.unit = EpsilonUnit::mean_cost;
  o.keep_plan = true;
  return o;
}

bool is_permutation_of_all(const std::vector<std::int64_t>& partner) {
  std::vector<std::int64_t> sorted = partner;
  std::sort(sorted.begin(), sorted.end());
  for (std::size_t i = 0; i < sorted.size(); ++i) {
    if (sorted[i] != static_cast<std::int64_t>(i)) return false;
  }
  return true;
}

/// Mean cost of the exact assignment, found apart from the pairing.
double assignment_cost(const Tensor& x, const Tensor& y) {
  const Tensor cost = pairwise_cost(x, y, GroundCost::half_squared_per_dimension);
  const auto count = to_size(cost.count());
  return assign(std::span<const float>(cost.as<float>(), count), x.extent(0)).cost /
         static_cast<double>(x.extent(0));
}

TEST_CASE("pairing: the worst of several certificates", "[pairing]") {
  CHECK(worse(1, 2) == 2);
  CHECK(worse(2, 1) == 2);
  for (const double other : {-HUGE_VAL, 0.0, HUGE_VAL}) {
    CHECK(std::isnan(worse(NAN, other)));
    CHECK(std::isnan(worse(other, NAN)));
  }
}

TEST_CASE("pairing: the exact permutation costs what the assignment costs", "[pairing]") {
  const Tensor x = points(37, 5, 1);
  const Tensor y = points(37, 5, 2);
  const Pairing p = pair(x, y, options(PairingPlan::exact, PartnerRule::permutation));
  CHECK(is_permutation_of_all(p.partner));
  CHECK(p.diagnostics.cost == Approx(assignment_cost(x, y)).epsilon(1e-6));
  CHECK(p.diagnostics.exact_cost == Approx(assignment_cost(x, y)).epsilon(1e-6));
  CHECK(std::abs(p.diagnostics.gap()) < 1e-6);
  CHECK(p.diagnostics.effective_partners == Approx(1));
  CHECK(p.diagnostics.plan_entropy == Approx(std::log(37.0)));
  CHECK(p.diagnostics.reused == 0);
  CHECK(p.diagnostics.most_reused == 1);
  CHECK(p.converged);
  CHECK(p.duality_gap < 1e-6);
  const double mean = std::accumulate(p.cost.begin(), p.cost.end(), 0.0) / 37;
  CHECK(mean == Approx(p.diagnostics.cost));
}

TEST_CASE("pairing: every rule of the exact plan gives its permutation", "[pairing]") {
  const Tensor x = points(20, 3, 3);
  const Tensor y = points(20, 3, 4);
  const auto permutation = pair(x, y, options(PairingPlan::exact, PartnerRule::permutation)).partner;
  CHECK(pair(x, y, options(PairingPlan::exact, PartnerRule::maximum)).partner == permutation);
  CHECK(pair(x, y, options(PairingPlan::exact, PartnerRule::sample)).partner == permutation);
}

TEST_CASE("pairing: a small epsilon leads to the exact permutation, a large one to anybody", "[pairing]") {
  const Tensor x = points(24, 4, 5);
  const Tensor y = points(24, 4, 6);
  const auto exact = pair(x, y, options(PairingPlan::exact, PartnerRule::permutation));
  auto sharp_options = options(PairingPlan::sinkhorn, PartnerRule::permutation, 1e-3);
  sharp_options.sinkhorn.max_iterations = 100000;
  sharp_options.sinkhorn.tolerance = 1e-3;
  const auto sharp = pair(x, y, sharp_options);
  CHECK(sharp.partner == exact.partner);
  CHECK(sharp.diagnostics.effective_partners < 1.2);
  const auto blunt = pair(x, y, options(PairingPlan::sinkhorn, PartnerRule::sample, 100));
  CHECK(blunt.diagnostics.effective_partners > 23.5);
  CHECK(blunt.diagnostics.plan_entropy == Approx(std::log(24.0 * 24.0)).epsilon(1e-2));
  CHECK(blunt.diagnostics.gap() > 0.2);
  CHECK(blunt.diagnostics.reused > 0.2);
}

TEST_CASE("pairing: draws follow the plan's rows", "[pairing]") {
  // Two targets whose plan rows are known: with symmetric costs of 0 and c the diagonal has 1/(1 + e^(-c/ε)).
  const Tensor x = Tensor::from({2, 1}, std::array{0.0F, 1.0F});
  auto o = options(PairingPlan::sinkhorn, PartnerRule::sample, 0.5);
  o.sinkhorn.unit = EpsilonUnit::absolute;
  o.compare_exact = false;
  const double diagonal = 1 / (1 + std::exp(-0.5 / 0.5));
  int kept = 0;
  constexpr int kDraws = 4000;
  std::vector<PairingBatch> batches(kDraws, PairingBatch{x, x});
  for (const Pairing& p : pair(batches, o)) kept += (p.partner[0] == 0) + (p.partner[1] == 1);
  const double share = kept / (2.0 * kDraws);
  const double deviation = std::sqrt(diagonal * (1 - diagonal) / (2.0 * kDraws));
  CHECK(std::abs(share - diagonal) < 4 * deviation);
}

TEST_CASE("pairing: a batch is paired the same alone and among others", "[pairing]") {
  const auto o = options(PairingPlan::sinkhorn, PartnerRule::sample);
  std::vector<PairingBatch> batches;
  for (const std::int64_t n : {7, 16, 1, 33}) batches.push_back({points(n, 6, 20 + n), points(n, 6, 60 + n)});
  const auto together = pair(batches, o, 100);
  for (std::size_t b = 0; b < batches.size(); ++b) {
    const Pairing alone = pair(batches[b].source, batches[b].target, o, 100 + b);
    CHECK(alone.partner == together[b].partner);
    CHECK(alone.cost == together[b].cost);
    CHECK(alone.diagnostics.plan_entropy == together[b].diagnostics.plan_entropy);
  }
  // Another draw, other partners; another seed too.
  auto other = o;
  other.seed = 1;
  CHECK(pair(batches[3].source, batches[3].target, o, 104).partner != together[3].partner);
  CHECK(pair(batches[3].source, batches[3].target, other, 103).partner != together[3].partner);
}

TEST_CASE("pairing: within labels only, and the plan has the batch's marginals", "[pairing]") {
  const std::int64_t n = 30;
  const Tensor x = points(n, 4, 7);
  const Tensor y = points(n, 4, 8);
  std::vector<std::int64_t> source(n);
  std::vector<std::int64_t> target(n);
  for (std::int64_t i = 0; i < n; ++i) {
    source[to_size(i)] = i % 3;
    target[to_size(i)] = i < 4 ? 2 : i % 3 == 2 ? 0 : i % 3;  // other counts of each
  }
  for (const auto plan : {PairingPlan::exact, PairingPlan::sinkhorn}) {
    for (const auto rule : {PartnerRule::sample, PartnerRule::maximum}) {
      const PairingBatch batch{x, y, labels(source), labels(target)};
      const Pairing p = pair(std::span(&batch, 1), options(plan, rule)).front();
      for (std::size_t i = 0; i < source.size(); ++i) CHECK(source[i] == target[to_size(p.partner[i])]);
      double total = 0;
      for (std::int64_t i = 0; i < n; ++i) {
        double row = 0;
        for (std::int64_t j = 0; j < n; ++j) {
          const double mass = static_cast<double>(p.plan.as<float>()[i * n + j]);
          row += mass;
          if (source[to_size(i)] != target[to_size(j)]) CHECK(mass == 0);
        }
        CHECK(row == Approx(1.0 / n).epsilon(1e-4));
        total += row;
      }
      CHECK(total == Approx(1).epsilon(1e-5));
    }
  }
  const PairingBatch batch{x, y, labels(source), labels(target)};
  CHECK_THROWS_WITH(pair(std::span(&batch, 1), options(PairingPlan::exact, PartnerRule::permutation)),
                    Catch::Contains("a permutation pairs sets of equal size"));
}

TEST_CASE("pairing: permuted inputs give permuted partners", "[pairing]") {
  const std::int64_t n = 21;
  const Tensor x = points(n, 3, 9);
  const Tensor y = points(n, 3, 10);
  Tensor turned = y.clone();
  for (std::int64_t j = 0; j < n; ++j)
    std::copy_n(y.as<float>() + j * 3, 3, turned.as<float>() + (n - 1 - j) * 3);
  for (const auto plan : {PairingPlan::exact, PairingPlan::sinkhorn}) {
    const auto straight = pair(x, y, options(plan, PartnerRule::permutation)).partner;
    const auto reversed = pair(x, turned, options(plan, PartnerRule::permutation)).partner;
    for (std::size_t i = 0; i < straight.size(); ++i) CHECK(reversed[i] == n - 1 - straight[i]);
  }
}

TEST_CASE("pairing: features of any shape, fp64, and sets that differ in size", "[pairing]") {
  const Tensor x = points(6, 24, 11, DType::f64).reshaped({6, 2, 2, 2, 3});
  const Tensor y = points(9, 24, 12, DType::f64).reshaped({9, 2, 2, 2, 3});
  const Pairing p = pair(x, y, options(PairingPlan::exact, PartnerRule::sample));
  CHECK(p.partner.size() == 6);
  CHECK(p.plan.dtype() == DType::f64);
  CHECK(p.diagnostics.effective_partners > 1.2);  // 6 rows share 9 columns
  CHECK(p.duality_gap < 1e-12);
}

TEST_CASE("pairing: on a GPU the partners are the host's", "[pairing][cuda]") {
  if (test::no_device()) return;
  const Tensor x = points(18, 7, 15);
  const Tensor y = points(18, 7, 16);
  std::vector<std::int64_t> groups;
  for (std::int64_t i = 0; i < 18; ++i) groups.push_back(i % 4 == 0 ? -2 : i % 3);
  for (const auto plan : {PairingPlan::sinkhorn, PairingPlan::exact}) {
    for (const auto rule : {PartnerRule::sample, PartnerRule::maximum, PartnerRule::permutation}) {
      for (const bool labelled : {false, true}) {
        CAPTURE(static_cast<int>(plan), static_cast<int>(rule), labelled);
        const auto o = options(plan, rule);
        const auto on = [&](Device device) {
          PairingBatch batch{x.to(device), y.to(device)};
          if (labelled) {
            batch.source_labels = labels(groups, device);
            batch.target_labels = labels(groups, device);
          }
          return pair(std::span(&batch, 1), o, 3).front();
        };
        const Pairing there = on(Device::cuda);
        const Pairing here = on(Device::cpu);
        CHECK(there.partner == here.partner);
        // The devices' plans differ by the tolerance of Sinkhorn's iterations and by fp32 costs.
        CHECK(there.diagnostics.plan_entropy == Approx(here.diagnostics.plan_entropy).epsilon(1e-4));
        CHECK(there.diagnostics.effective_partners ==
              Approx(here.diagnostics.effective_partners).epsilon(1e-4));
        CHECK(there.diagnostics.exact_cost == Approx(here.diagnostics.exact_cost).epsilon(1e-5));
        CHECK(there.diagnostics.cost == Approx(here.diagnostics.cost).epsilon(1e-5));
        CHECK(there.diagnostics.reused == here.diagnostics.reused);
        CHECK(there.marginal_error <= std::max(1e-12, o.sinkhorn.tolerance));
        CHECK(there.duality_gap == Approx(here.duality_gap).margin(1e-5));
        CHECK(test::distance(there.plan, here.plan) < 1e-4);
      }
    }
  }
}

TEST_CASE("pairing: on a GPU exact plans between sets that differ in size, and features that are no numbers",
          "[pairing][cuda]") {
  if (test::no_device()) return;
  const Tensor x = points(9, 3, 31, DType::f64);
  const Tensor y = points(14, 3, 32, DType::f64);
  const auto o = options(PairingPlan::exact, PartnerRule::sample);
  const Pairing there = pair(x.to(Device::cuda), y.to(Device::cuda), o, 5);
  const Pairing here = pair(x, y, o, 5);
  CHECK(there.partner == here.partner);
  CHECK(there.duality_gap < 1e-12);
  Tensor bad = points(6, 3, 33);
  bad.as<float>()[4] = std::nanf("");
  const Tensor good = points(6, 3, 34);
  for (const auto plan : {PairingPlan::sinkhorn, PairingPlan::exact}) {
    CHECK_THROWS_WITH(pair(bad.to(Device::cuda), good.to(Device::cuda), options(plan, PartnerRule::sample)),
                      Catch::Contains("costs that are not finite"));
  }
}

TEST_CASE("pairing: queued it chooses what pair() chooses, eagerly and recorded",
          "[pairing][static_step][device]") {
  constexpr std::uint64_t kDraws = 5;
  for (const Device device : test::devices()) {
    for (const auto plan : {PairingPlan::sinkhorn, PairingPlan::exact}) {
      for (const auto rule : {PartnerRule::sample, PartnerRule::maximum, PartnerRule::permutation}) {
        CAPTURE(name_of(device), static_cast<int>(plan), static_cast<int>(rule));
        auto o = options(plan, rule);
        o.seed = 9;
        const std::int64_t n = 21;
        const bool square = plan == PairingPlan::exact || rule == PartnerRule::permutation;
        const std::int64_t m = square ? n : 34;
        const Tensor x = Tensor::empty({n, 2, 3}, DType::f32, device);
        const Tensor y = Tensor::empty({m, 2, 3}, DType::f32, device);
        const Buffer<std::uint64_t> number(1, device);
        StepGraph graph(device, true);
        Buffer<std::int32_t> partner;
        Buffer<SinkhornStatus> status;
        Tensor gathered;
        for (std::uint64_t draw = 0; draw < kDraws; ++draw) {
          x.copy_from(points(n, 6, 40 + draw));
          y.copy_from(points(m, 6, 60 + draw));
          kernels::copy_bytes(number.stream(), number.data(), &draw, sizeof draw);
          graph.run([&] {
            // A recorded run finds the blocks of the eager one free, as a step that ends does.
            partner = {};
            status = {};
            gathered = {};
            const QueuedPairing queued = queue_pairing(x, y, o, number.data());
            partner = queued.partner;
            status = queued.status;
            gathered = gather_rows(y, partner);
          });
          const Pairing host = pair(x, y, o, draw);
          const std::vector<std::int32_t> found = partner.to_host();
          CHECK(std::equal(found.begin(), found.end(), host.partner.begin(), host.partner.end()));
          const Tensor targets = y.to(Device::cpu);
          for (std::int64_t i = 0; i < n; ++i) {
            REQUIRE(gathered.window(6 * i, {6}).to_floats() ==
                    targets.window(6 * host.partner[to_size(i)], {6}).to_floats());
          }
          if (plan == PairingPlan::exact) continue;
          const SinkhornStatus s = status.to_host().front();
          CHECK(s.converged);
          CHECK(s.iterations == host.iterations);
          CHECK(s.marginal_error == host.marginal_error);
        }
      }
    }
  }
}

TEST_CASE("pairing: queued with features that are no numbers it names targets that exist, and says so",
          "[pairing][cuda]") {
  if (test::no_device()) return;
  Tensor bad = points(7, 3, 71);
  bad.as<float>()[5] = std::nanf("");
  const Tensor x = bad.to(Device::cuda);
  const Tensor y = points(7, 3, 72).to(Device::cuda);
  const auto draw = Buffer<std::uint64_t>::from(std::vector<std::uint64_t>{0}, Device::cuda);
  for (const auto plan : {PairingPlan::sinkhorn, PairingPlan::exact}) {
    for (const auto rule : {PartnerRule::sample, PartnerRule::maximum, PartnerRule::permutation}) {
      auto o = options(plan, rule);
      o.sinkhorn.max_iterations = 20;
      const QueuedPairing queued = queue_pairing(x, y, o, draw.data());
      for (const std::int32_t j : queued.partner.to_host()) CHECK((j >= 0 && j < 7));
      if (plan == PairingPlan::sinkhorn) {
        CHECK(std::isnan(queued.status.to_host().front().marginal_error));
        CHECK_FALSE(queued.status.to_host().front().converged);
      }
    }
  }
  const auto o = options(PairingPlan::sinkhorn, PartnerRule::sample);
  CHECK_THROWS_WITH(
      queue_pairing(points(257, 2, 73).to(Device::cuda), points(4, 2, 74).to(Device::cuda), o, draw.data()),
      "pair: 257 and 4 samples to pair without the host; cuda takes up to 256");
}

TEST_CASE("pairing: a set with itself and with its permutation is proved", "[pairing]") {
  const std::int64_t n = 40;
  const Tensor x = points(n, 3, 81);
  const Tensor turned = x.clone();
  for (std::int64_t j = 0; j < n; ++j)
    std::copy_n(x.as<float>() + j * 3, 3, turned.as<float>() + (n - 1 - j) * 3);
  const Tensor same = Tensor::full({n, 3}, 0.5);
  for (const Device device : test::devices()) {
    for (const auto plan : {PairingPlan::exact, PairingPlan::sinkhorn}) {
      CAPTURE(name_of(device), static_cast<int>(plan));
      const auto o = options(plan, PartnerRule::permutation, 1e-4);
      const auto check = [&](const Tensor& target, bool reversed) {
        const Pairing p = pair(x.to(device), target.to(device), o);
        for (std::size_t i = 0; i < p.partner.size(); ++i) {
          const auto at = static_cast<std::int64_t>(i);
          CHECK(p.partner[i] == (reversed ? n - 1 - at : at));
        }
        CHECK(p.converged);
        CHECK(p.dual <= p.primal + 1e-15);  // rounding of either sum
        CHECK(p.duality_gap < (plan == PairingPlan::exact ? 1e-12 : 1e-6));
        CHECK(p.diagnostics.exact_cost < 1e-6);
      };
      check(x, false);
      check(turned, true);
      // One point many times: every cost is 0.
      const Pairing p = pair(same.to(device), same.to(device), o);
      CHECK(p.converged);
      CHECK(p.duality_gap < 1e-6);
    }
  }
}

TEST_CASE("pairing: costs beyond what can be solved leave the threads as one error", "[pairing]") {
  const Tensor large = points(12, 3, 91);
  const Tensor wide = points(12, 3, 91, DType::f64);
  for (std::int64_t i = 0; i < 36; ++i) {
    large.as<float>()[i] *= 1e30F;
    wide.as<double>()[i] *= 1e120;
  }
  auto o = options(PairingPlan::exact, PartnerRule::permutation);
  o.cost = GroundCost::squared_euclidean;
  const std::vector<PairingBatch> batches(7, PairingBatch{wide, wide});
  CHECK_THROWS_WITH(pair(batches, o), Catch::StartsWith("exact_plan: cost [0, 1] of 12×12 is "));
  // 1e60 is beyond fp32, in which a Sinkhorn plan's costs are, and no trouble for the exact plan's.
  CHECK(pair(large, large, o).converged);
  o.plan = PairingPlan::sinkhorn;
  CHECK_THROWS_WITH(pair(large, large, o), Catch::Contains("costs between finite features overflow fp32"));
}

TEST_CASE("pairing: what it refuses", "[pairing]") {
  const auto o = options(PairingPlan::sinkhorn, PartnerRule::sample);
  const Tensor x = points(4, 3, 13);
  CHECK_THROWS_WITH(
      pair(x, points(4, 2, 14), o),
      "pair: source features 4×3 fp32 on cpu, target features 4×2 fp32 on cpu; expected the same "
      "device, type and extents after the first");
  CHECK_THROWS_WITH(pair(x, Tensor::empty({0, 3}), o), "pair: the target features are empty");
  CHECK_THROWS_WITH(pair(x, points(4, 3, 14, DType::f64), o), Catch::Contains("expected the same device"));
  Tensor bad = x.clone();
  bad.as<float>()[5] = std::nanf("");
  CHECK_THROWS_AS(pair(bad, x, o), Error);
  const std::vector<std::int64_t> three{0, 0, 0};
  const std::vector<std::int64_t> zeros{0, 0, 0, 0};
  const std::vector<std::int64_t> other{0, 0, 0, 5};
  const PairingBatch few{x, x, labels(three), labels(zeros)};
  CHECK_THROWS_WITH(pair(std::span(&few, 1), o),
                    "pair: 3 source labels for 4 samples, 4 target labels for 4");
  const PairingBatch lonely{x, x, labels(zeros), labels(other)};
  CHECK_THROWS_WITH(pair(std::span(&lonely, 1), o),
                    "pair: label 5 has 0 source samples and 1 target samples; both need one");
  auto relaxed = o;
  relaxed.sinkhorn.rho_a = 1;
  CHECK_THROWS_WITH(pair(x, x, relaxed), Catch::Contains("expected hard marginals"));
}

}  // namespace
}  // namespace voxot
