// From a plan to partners: the same on every device from the same plan, and what is said of plans and pairs.
#include "kernels/partners.h"

#include <algorithm>
#include <numeric>

#include "kernels/assignment.h"
#include "kernels/dual_excess.h"
#include "kernels/sizes.h"
#include "solvers/pairing.h"
#include "solvers/partners.h"
#include "tests/op_case.h"
#include "tests/temp_directory.h"

using namespace voxot;
using namespace voxot::test;

namespace {

enum class Plan : std::uint8_t { spread, sparse, tied, empty_rows, not_numbers };

Tensor plan_of(std::int64_t n, std::int64_t m, Plan kind, DType dtype) {
  Random random(static_cast<std::uint64_t>(100 * n + m), Purpose::test, static_cast<std::uint64_t>(kind));
  std::vector<double> values;
  for (std::int64_t k = 0; k < n * m; ++k) {
    const auto u = static_cast<double>(random.uniform());
    double mass = u / static_cast<double>(n * m);
    if (kind == Plan::sparse) mass = u < 0.9 ? 0 : std::pow(10.0, -30 * u);
    if (kind == Plan::tied) mass = std::floor(4 * u);
    if (kind == Plan::empty_rows && k / m % 2 == 0) mass = 0;
    if (kind == Plan::not_numbers && u < 0.5) mass = NAN;
    values.push_back(mass);
  }
  return Tensor::from({n, m}, std::span<const double>(values), dtype);
}

std::vector<std::int32_t> chosen(const Tensor& plan, PartnerRule rule, const RandomState& state,
                                 const std::vector<std::int32_t>& places = {}) {
  const Device device = plan.device();
  const std::int64_t n = plan.extent(0);
  // A number before and one behind that nobody may change.
  const auto all = Buffer<std::int32_t>::from(std::vector<std::int32_t>(to_size(n) + 2, -77), device);
  const auto there = Buffer<std::int32_t>::from(places, device);
  choose_partners(plan, rule, state, places.empty() ? nullptr : there.data(), all.data() + 1);
  const std::vector<std::int32_t> values = all.to_host();
  CHECK(values.front() == -77);
  CHECK(values.back() == -77);
  return {values.begin() + 1, values.end() - 1};
}

/// By the definition, with what the contract says of numbers that are none.
std::int32_t defined_partner(const std::vector<double>& row, PartnerRule rule, double share) {
  std::int32_t best = -1;
  double sum = 0;
  for (std::size_t j = 0; j < row.size(); ++j) {
    if (std::isnan(row[j])) continue;
    if (best < 0 || row[j] > row[to_size(best)]) best = static_cast<std::int32_t>(j);
    sum += row[j];
  }
  if (rule == PartnerRule::maximum) return std::max(best, 0);
  double passed = 0;
  std::int32_t last = 0;
  for (std::size_t j = 0; j < row.size(); ++j) {
    if (!(row[j] > 0)) continue;
    last = static_cast<std::int32_t>(j);
    passed += row[j];
    if (passed > share * sum) break;
  }
  return last;
}

constexpr std::array<std::int64_t, 2> kExtents[] = {{1, 1},   {1, 40},  {40, 1},   {31, 33},
                                                    {32, 32}, {65, 64}, {130, 97}, {3, 1000}};
constexpr Plan kPlans[] = {Plan::spread, Plan::sparse, Plan::tied, Plan::empty_rows, Plan::not_numbers};

}  // namespace

TEST_CASE("partners: drawn and largest as they are defined, on every device", "[partners][pairing][device]") {
  for (const Device device : devices()) {
    for (const auto& [n, m] : kExtents) {
      for (const Plan kind : kPlans) {
        for (const DType dtype : {DType::f32, DType::f64}) {
          CAPTURE(name_of(device), n, m, static_cast<int>(kind), name_of(dtype));
          const Tensor plan = plan_of(n, m, kind, dtype);
          const std::vector<double> values = doubles(plan);
          const RandomState state{7, Purpose::pairing, 5};
          std::vector<std::int32_t> places(to_size(n));
          for (std::size_t i = 0; i < places.size(); ++i) places[i] = static_cast<std::int32_t>(1000 - 3 * i);
          const auto drawn = chosen(plan.to(device), PartnerRule::sample, state);
          const auto placed = chosen(plan.to(device), PartnerRule::sample, state, places);
          const auto largest = chosen(plan.to(device), PartnerRule::maximum, state);
          for (std::size_t i = 0; i < places.size(); ++i) {
            const auto begin = values.begin() + static_cast<std::ptrdiff_t>(i) * m;
            const std::vector<double> row(begin, begin + m);
            const auto share = [](std::uint64_t place) {
              return static_cast<double>(
                  Random(7, Purpose::pairing, (std::uint64_t{5} << 20) + place).uniform());
            };
            REQUIRE(drawn[i] == defined_partner(row, PartnerRule::sample, share(i)));
            REQUIRE(placed[i] ==
                    defined_partner(row, PartnerRule::sample, share(static_cast<std::uint64_t>(places[i]))));
            REQUIRE(largest[i] == defined_partner(row, PartnerRule::maximum, 0));
          }
        }
      }
    }
  }
}

TEST_CASE("partners: a draw's number in memory moves the draw", "[partners][pairing][device]") {
  for (const Device device : devices()) {
    CAPTURE(name_of(device));
    const Tensor plan = plan_of(50, 20, Plan::spread, DType::f32).to(device);
    const auto draw = Buffer<std::uint64_t>::from(std::vector<std::uint64_t>{9}, device);
    const auto at = chosen(plan, PartnerRule::sample, {3, Purpose::pairing, 0, draw.data()});
    CHECK(at == chosen(plan, PartnerRule::sample, {3, Purpose::pairing, 9}));
    CHECK(at != chosen(plan, PartnerRule::sample, {3, Purpose::pairing, 8}));
  }
}

TEST_CASE("partners: the permutation with most of a plan's mass, on every device",
          "[partners][pairing][device]") {
  for (const std::int64_t n : {1, 2, 5, 6}) {
    const Tensor plan = plan_of(n, n, Plan::spread, DType::f32);
    const std::vector<double> mass = doubles(plan);
    std::vector<std::int32_t> permutation(to_size(n));
    std::iota(permutation.begin(), permutation.end(), 0);
    std::vector<std::int32_t> best;
    double most = -1;
    do {
      double sum = 0;
      for (std::size_t i = 0; i < permutation.size(); ++i)
        sum += mass[i * permutation.size() + to_size(permutation[i])];
      if (sum > most) best = permutation;
      most = std::max(most, sum);
    } while (std::next_permutation(permutation.begin(), permutation.end()));
    for (const Device device : devices()) {
      CAPTURE(name_of(device), n);
      CHECK(chosen(plan.to(device), PartnerRule::permutation, {}) == best);
    }
  }
  for (const Device device : devices()) {
    CHECK_THAT(error_of([&] {
                 chosen(plan_of(3, 4, Plan::spread, DType::f32).to(device), PartnerRule::permutation, {});
               }),
               Catch::Contains("3 source and 4 target samples"));
  }
}

TEST_CASE("partners: a GPU refuses a permutation of more points than it takes, and pair() asks the host",
          "[partners][cuda]") {
  if (no_device()) return;
  constexpr std::int64_t kMany = kMostAssignedOnCuda + 1;
  const Tensor plan = plan_of(kMany, kMany, Plan::spread, DType::f64);
  CHECK_THAT(error_of([&] { chosen(plan.to(Device::cuda), PartnerRule::permutation, {}); }),
             Catch::Contains("257 points; cuda takes up to 256"));
  PairingOptions options;
  options.rule = PartnerRule::permutation;
  options.compare_exact = false;
  options.sinkhorn.max_iterations = 1;  // any plan will do
  const auto cloud = [](std::uint64_t seed) {
    return Tensor::normal({kMany, 2}, {seed, Purpose::test, 0}, 0, 1).to(Device::cuda);
  };
  std::vector<std::int64_t> partner = pair(cloud(1), cloud(2), options).partner;
  std::sort(partner.begin(), partner.end());
  for (std::int64_t i = 0; i < kMany; ++i) CHECK(partner[to_size(i)] == i);
}

TEST_CASE("partners: sums and entropies of rows, and costs of pairs, on every device",
          "[partners][pairing][device]") {
  for (const Device device : devices()) {
    for (const auto& [n, m] : kExtents) {
      for (const DType dtype : {DType::f32, DType::f64}) {
        CAPTURE(name_of(device), n, m, name_of(dtype));
        const Tensor plan = plan_of(n, m, Plan::sparse, dtype);
        const std::vector<double> values = doubles(plan);
        const Tensor there = plan.to(device);
        const PlanExtent extent{n, m};
        const Buffer<double> sums(n, device);
        const Buffer<double> entropies(n, device);
        kernels::plan_rows(there.stream(), dtype, extent, there.data(), sums.data(), entropies.data());
        std::vector<std::int32_t> partner;
        for (std::int64_t i = 0; i < n; ++i) partner.push_back(static_cast<std::int32_t>(7 * i % m));
        const auto partners = Buffer<std::int32_t>::from(partner, device);
        const Buffer<double> costs(n, device);
        kernels::pair_costs(there.stream(), dtype, extent, there.data(), partners.data(), costs.data());
        const auto s = sums.to_host();
        const auto e = entropies.to_host();
        const auto c = costs.to_host();
        for (std::int64_t i = 0; i < n; ++i) {
          double sum = 0;
          double entropy = 0;
          for (std::int64_t j = 0; j < m; ++j) {
            const double p = values[to_size(i * m + j)];
            sum += p;
            if (p > 0) entropy -= p * std::log(p);
          }
          const auto at = to_size(i);
          // Positive terms in double, in another order.
          REQUIRE(s[at] == Approx(sum).epsilon(1e-13));
          REQUIRE(e[at] == Approx(entropy).epsilon(1e-12));
          REQUIRE(c[at] == values[to_size(i * m + partner[at])]);
        }
      }
    }
  }
}

TEST_CASE("dual_excess: what potentials violate, to the last bit on every device",
          "[partners][exact_ot][device]") {
  const std::int64_t count = 2;
  for (const auto& [n, m] : kExtents) {
    for (const DType dtype : {DType::f32, DType::f64}) {
      // Row potentials and costs that are large, exact in fp32 and equal: what is left of a row is its
      // largest column potential, whose last bits the sum f + g loses.
      std::vector<double> f;
      std::vector<double> values;
      Random random(5, Purpose::test);
      for (std::int64_t i = 0; i < count * n; ++i) {
        const double size = std::ldexp(1 + static_cast<double>(random.below(7)), 27);
        f.push_back(random.uniform() < 0.5F ? size : -size);
        values.insert(values.end(), to_size(m), f.back());
      }
      const Tensor cost = Tensor::from({count * n, m}, std::span<const double>(values), dtype);
      const Tensor g = Tensor::normal({count * m}, {7, Purpose::test}, 0, 1, DType::f64);
      for (std::int64_t j = 0; j < g.count(); ++j) g.as<double>()[j] += 1e-12 * static_cast<double>(j % 100);
      std::vector<double> first;
      for (const Device device : devices()) {
        CAPTURE(name_of(device), n, m, name_of(dtype));
        const Tensor there = cost.to(device);
        const Tensor row_potential = Tensor::from({count * n}, std::span<const double>(f)).to(device);
        const Tensor column_potential = g.to(device);
        const Buffer<double> excess(count * n, device);
        const Buffer<double> largest(count * n, device);
        kernels::dual_excess(there.stream(), dtype, {count, n, m},
                             {.cost = there.data(),
                              .f = row_potential.as<double>(),
                              .g = column_potential.as<double>(),
                              .excess = excess.data(),
                              .largest = largest.data()});
        const auto over = excess.to_host();
        const auto size = largest.to_host();
        for (std::int64_t i = 0; i < count * n; ++i) {
          const double* const begin = g.as<double>() + i / n * m;
          REQUIRE(over[to_size(i)] == *std::max_element(begin, begin + m));
          REQUIRE(size[to_size(i)] == std::abs(f[to_size(i)]));
        }
        if (first.empty()) first = over;
        CHECK(over == first);
      }
    }
  }
}
