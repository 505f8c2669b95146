// POT's answers to a thousand problems of up to 512 points, which are made here and in
// tests/goldens/make_ot_goldens.py from the same hashed integers: costs agree in every bit.
#include "tests/transport_problems.h"

using namespace voxot;
using namespace voxot::test;

namespace {

/// SplitMix64's finaliser of problem, stream, i and j.
struct Hash {
  std::uint64_t problem;

  [[nodiscard]] std::uint64_t number(std::uint64_t stream, std::uint64_t i, std::uint64_t j) const {
    std::uint64_t z = (((problem * 8 + stream) * 1024 + i) * 1024 + j + 1) * 0x9E3779B97F4A7C15U;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9U;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBU;
    return z ^ (z >> 31);
  }
  [[nodiscard]] std::size_t below(std::size_t n, std::uint64_t stream, std::uint64_t i,
                                  std::uint64_t j) const {
    return number(stream, i, j) % n;
  }
};

constexpr double kPower[] = {1e-12, 1e-11, 1e-10, 1e-9, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1e0,
                             1e1,   1e2,   1e3,   1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11, 1e12};
const char* const kKinds[] = {"uniform", "negative", "ties", "duplicates", "clouds",
                              "equal",   "tiny",     "huge", "decades",    "shifted"};

/// Squared distances of points with whole coordinates, `distinct` different ones on either side, drawn from
/// the streams `of_rows` and `of_columns`.
void fill_grid(Problem& p, const Hash& h, std::size_t coordinates, std::size_t dimension, double shift,
               std::uint64_t of_columns, std::size_t distinct) {
  const auto coordinate = [&](std::uint64_t stream, std::size_t i, std::size_t d) {
    return static_cast<double>(h.below(coordinates, stream, i % distinct, d));
  };
  p.fill([&](std::size_t i, std::size_t j) {
    double sum = 0;
    for (std::size_t d = 0; d < dimension; ++d) {
      const double difference = coordinate(2, i, d) - coordinate(of_columns, j, d) - shift;
      sum += difference * difference;
    }
    return sum;
  });
}

void fill(Problem& p, const Hash& h, std::size_t kind) {
  const auto uniform = [&](std::size_t i, std::size_t j) {
    return static_cast<double>(h.number(1, i, j) >> 40) / (1 << 24);
  };
  if (kind == 3) return fill_grid(p, h, 16, 2, 0, 2, 1 + p.rows / 3);
  if (kind == 4) return fill_grid(p, h, 1000, 3, 250, 3, 1024);
  const std::size_t power = h.below(20, 5, 0, 0);
  p.fill([&](std::size_t i, std::size_t j) {
    switch (kind) {
      case 1:
        return uniform(i, j) - 0.5;
      case 2:
        return static_cast<double>(h.below(5, 1, i, j));
      case 5:
        return 2.5;
      case 6:
        return 1e-12 * uniform(i, j);
      case 7:
        return 1e12 * uniform(i, j);
      case 8:
        return (uniform(i, j) + 1.0 / (1 << 24)) * kPower[h.below(6, 4, i, j) + power];
      case 9:
        return 1000 + uniform(i, j);
      default:
        return uniform(i, j);
    }
  });
}

/// Whole numbers, some of them 0.
std::vector<double> whole_masses(const Hash& h, std::uint64_t stream, std::size_t n) {
  std::vector<double> m(n);
  for (std::size_t i = 0; i < n; ++i) {
    const bool none = h.problem % 3 == 0 && h.below(3, stream, i, 1) == 0;
    m[i] = none ? 0 : static_cast<double>(h.below(16, stream, i, 0));
  }
  m[0] += 1;
  return m;
}

/// The value of the plan over its mass, and Σ |cost|·plan over it.
struct Answer {
  double value, magnitude;
};
Answer solve(std::size_t k, std::size_t kind) {
  const Hash h{k};
  const std::size_t size = h.below(20, 0, 2, 0);
  const bool general = k > 0 && (k % 25 == 1 || k % 25 == 2 || h.below(2, 0, 3, 0) == 1);
  const std::size_t most = size == 0 ? 512 : size < 6 ? 100 : 24;
  Problem p;
  p.rows = k == 0 ? 512 : k % 25 == 1 ? 1 : 2 + h.below(most - 1, 0, 0, 0);
  p.columns = !general ? p.rows : k % 25 == 2 ? 1 : 2 + h.below(most - 1, 0, 1, 0);
  fill(p, h, kind);
  if (!general) {
    const Assignment a = assign(std::span<const float>(p.cost), static_cast<std::int64_t>(p.rows));
    const auto n = static_cast<double>(p.rows);
    return {a.cost / n, a.certificate.magnitude / n};
  }
  std::vector<double> a = whole_masses(h, 6, p.rows);
  std::vector<double> b = whole_masses(h, 7, p.columns);
  const double sum_a = std::accumulate(a.begin(), a.end(), 0.0);
  const double sum_b = std::accumulate(b.begin(), b.end(), 0.0);
  for (double& m : a) m *= sum_b;
  for (double& m : b) m *= sum_a;
  const TransportPlan t = exact_plan(std::span<const float>(p.cost), a, b);
  const double mass = sum_a * sum_b;
  return {t.certificate.primal / mass, t.certificate.magnitude / mass};
}

}  // namespace

TEST_CASE("exact_ot: POT's values of a thousand problems", "[solvers][exact_ot]") {
  const Golden golden("exact_ot");
  const std::vector<double> values = wide(golden, "thousand.value");
  REQUIRE(values.size() == 1000);
  for (std::size_t k = 0; k < values.size(); ++k) {
    const std::size_t kind = k % 10;
    const Answer answer = solve(k, kind);
    INFO(kKinds[kind] << ", problem " << k << ": " << answer.value << ", POT " << values[k]);
    // POT's own primal and dual values are up to 1e-7 apart where costs span five decades, 1e-11 elsewhere.
    const double tolerance = kind == 8 ? 1e-6 : 1e-9;
    CHECK(std::abs(answer.value - values[k]) <= tolerance * answer.magnitude);
    // No plan of POT's is better than the exact one.
    CHECK(answer.value <= values[k] + 1e-12 * answer.magnitude);
  }
}
