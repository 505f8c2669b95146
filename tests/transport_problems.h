#pragma once
// Transport problems of every kind, and what proves an answer to one, worked out apart from the solvers.
#include <numeric>

#include "kernels/philox.h"
#include "kernels/sizes.h"
#include "solvers/exact_ot.h"
#include "tests/golden.h"

namespace voxot::test {

/// A row-major cost matrix with what a test says of it.
struct Problem {
  std::size_t rows = 0;
  std::size_t columns = 0;
  std::vector<float> cost;

  [[nodiscard]] double at(std::size_t i, std::size_t j) const { return cost[i * columns + j]; }
  template <class Value>
  void fill(Value value) {
    cost.resize(rows * columns);
    for (std::size_t i = 0; i < rows; ++i) {
      for (std::size_t j = 0; j < columns; ++j) cost[i * columns + j] = static_cast<float>(value(i, j));
    }
  }
};

enum class Costs : std::uint8_t {
  uniform,
  negative,
  clouds,
  ties,
  duplicates,
  equal,
  tiny,
  huge,
  shifted,
  offsets,
  wide,
  count
};
inline const char* const kNames[] = {"uniform", "negative", "clouds",  "ties",    "duplicates", "equal",
                                     "tiny",    "huge",     "shifted", "offsets", "wide"};

inline double power_of_ten(Random& random, double low, double high) {
  return std::pow(10.0, low + (high - low) * static_cast<double>(random.uniform()));
}

/// Squared distances; where `kinds` is not 0 there are only so many different points on either side, which
/// are the same ones.
inline void fill_clouds(Problem& p, Random& random, std::size_t dimension, std::size_t kinds) {
  std::vector<float> x(p.rows * dimension);
  std::vector<float> y(p.columns * dimension);
  for (float& v : x) v = random.normal();
  for (float& v : y) v = 0.5F + 0.8F * random.normal();
  p.fill([&](std::size_t i, std::size_t j) {
    double sum = 0;
    for (std::size_t d = 0; d < dimension; ++d) {
      const double a = x[(kinds > 0 ? i % kinds : i) * dimension + d];
      const double b = kinds > 0 ? x[(j * 7 + 3) % kinds * dimension + d] : y[j * dimension + d];
      sum += (a - b) * (a - b);
    }
    return sum;
  });
}

inline Problem problem(Costs kind, std::size_t rows, std::size_t columns, Random& random) {
  Problem p{rows, columns, {}};
  std::vector<double> row_offset(rows);
  for (double& v : row_offset) v = power_of_ten(random, -3, 4);
  const auto uniform = [&](std::size_t, std::size_t) { return random.uniform(); };
  switch (kind) {
    case Costs::clouds:
      fill_clouds(p, random, 1 + random.below(12), 0);
      break;
    case Costs::duplicates:
      fill_clouds(p, random, 2, 1 + random.below(rows));
      break;
    case Costs::negative:
      p.fill([&](std::size_t, std::size_t) { return random.normal(); });
      break;
    case Costs::ties:
      p.fill([&](std::size_t, std::size_t) { return random.below(5); });
      break;
    case Costs::equal:
      p.fill([&](std::size_t, std::size_t) { return 2.5; });
      break;
    case Costs::tiny:
      p.fill([&](std::size_t, std::size_t) { return 1e-12 * random.uniform(); });
      break;
    case Costs::huge:
      p.fill([&](std::size_t, std::size_t) { return 1e12 * random.uniform(); });
      break;
    case Costs::shifted:
      p.fill([&](std::size_t, std::size_t) { return 1000 + random.uniform(); });
      break;
    case Costs::offsets:
      p.fill([&](std::size_t i, std::size_t j) {
        return row_offset[i] - row_offset[j % rows] + random.uniform();
      });
      break;
    case Costs::wide:
      p.fill([&](std::size_t, std::size_t) { return power_of_ten(random, -12, 12); });
      break;
    default:
      p.fill(uniform);
  }
  return p;
}

inline std::vector<double> ones(std::size_t n) { return std::vector<double>(n, 1.0); }

inline std::vector<PlanEntry> entries(const std::vector<std::int64_t>& partner) {
  std::vector<PlanEntry> plan;
  for (std::size_t i = 0; i < partner.size(); ++i)
    plan.push_back({static_cast<std::int64_t>(i), partner[i], 1});
  return plan;
}

/// What a plan and its potentials prove, worked out here and not by the solver.
struct Proof {
  double primal = 0;
  double gap = INFINITY;  // relative to Σ |cost|·plan
  double marginals = 0;   // largest error of a row or column, over the mass
};

inline Proof prove(const Problem& p, std::span<const double> a, std::span<const double> b,
                   std::span<const PlanEntry> plan, std::span<const double> f, std::span<const double> g) {
  REQUIRE(f.size() == p.rows);
  REQUIRE(g.size() == p.columns);
  std::vector<double> rows(a.begin(), a.end());
  std::vector<double> columns(b.begin(), b.end());
  long double primal = 0;
  long double size = 0;
  // Equal to the primal less the dual wherever the marginals hold; each term is small, so nothing cancels.
  long double difference = 0;
  for (const PlanEntry& e : plan) {
    REQUIRE(e.mass > 0);
    const auto i = to_size(e.row);
    const auto j = to_size(e.column);
    REQUIRE(i < p.rows);
    REQUIRE(j < p.columns);
    const auto c = static_cast<long double>(p.at(i, j));
    primal += c * e.mass;
    size += std::abs(c) * e.mass;
    difference += (c - f[i] - g[j]) * e.mass;
    rows[i] -= e.mass;
    columns[j] -= e.mass;
  }
  for (std::size_t i = 0; i < p.rows; ++i) {
    // Wider than double: potentials may be far larger than the costs.
    long double violation = 0;
    for (std::size_t j = 0; j < p.columns; ++j)
      violation = std::max(violation, static_cast<long double>(f[i]) + g[j] - p.at(i, j));
    difference += violation * a[i];
  }
  Proof proof;
  proof.primal = static_cast<double>(primal);
  proof.gap = difference <= 0 ? 0 : static_cast<double>(difference / size);
  const double mass = std::accumulate(a.begin(), a.end(), 0.0);
  for (const double r : rows) proof.marginals = std::max(proof.marginals, std::abs(r) / mass);
  for (const double r : columns) proof.marginals = std::max(proof.marginals, std::abs(r) / mass);
  return proof;
}
inline Proof prove(const Problem& p, const Assignment& a) {
  return prove(p, ones(p.rows), ones(p.rows), entries(a.partner), a.row_potential, a.column_potential);
}

/// Rounding leaves about 1e-10 where the potentials are far larger than the value.
inline constexpr double kProved = 1e-8;

inline void check_proved(const Problem& p, const Assignment& a) {
  const Proof proof = prove(p, a);
  CHECK(proof.gap <= kProved);
  CHECK(proof.marginals == 0);  // a permutation
  CHECK(a.cost == Approx(proof.primal).epsilon(1e-14));
  CHECK(a.certificate.primal == a.cost);
  CHECK(a.certificate.strict_gap() <= kProved);
  CHECK(a.certificate.marginal_error == 0);
  CHECK(a.certificate.violation <= 1e-15);
  // The dual never exceeds the primal but for the rounding of either sum.
  CHECK(a.certificate.dual <= a.cost + 1e-14 * a.certificate.magnitude);
}

/// Row sums a, column sums b but for the scale that makes the sums agree.
inline Proof check_proved(const Problem& p, std::span<const double> a, std::span<const double> b,
                          const TransportPlan& t) {
  const double scale = std::accumulate(a.begin(), a.end(), 0.0) / std::accumulate(b.begin(), b.end(), 0.0);
  std::vector<double> scaled(b.begin(), b.end());
  for (double& m : scaled) m *= scale;
  const Proof proof = prove(p, a, scaled, t.entries, t.row_potential, t.column_potential);
  CHECK(proof.gap <= kProved);
  CHECK(proof.marginals <= 1e-15);
  CHECK(t.certificate.strict_gap() <= kProved);
  CHECK(t.certificate.primal == Approx(proof.primal).epsilon(1e-12));
  CHECK(t.certificate.dual <= t.certificate.primal + 1e-12 * t.certificate.magnitude);
  CHECK(t.certificate.marginal_error <= 1e-14);
  CHECK(t.certificate.violation <= 1e-14);
  CHECK(t.entries.size() <= p.rows + p.columns - 1);
  return proof;
}

inline double brute_force(const Problem& p) {
  std::vector<std::size_t> order(p.rows);
  std::iota(order.begin(), order.end(), 0U);
  double best = INFINITY;
  do {
    double sum = 0;
    for (std::size_t i = 0; i < p.rows; ++i) sum += p.at(i, order[i]);
    best = std::min(best, sum);
  } while (std::next_permutation(order.begin(), order.end()));
  return best;
}

inline double magnitude(const Problem& p, const Assignment& a) {
  double sum = 0;
  for (std::size_t i = 0; i < p.rows; ++i) sum += std::abs(p.at(i, to_size(a.partner[i])));
  return sum;
}

inline std::vector<double> masses(std::size_t n, Random& random, double zeros) {
  std::vector<double> m(n);
  for (double& v : m)
    v = static_cast<double>(random.uniform()) < zeros ? 0 : 0.05 + static_cast<double>(random.uniform());
  m[random.below(n)] += 0.5;
  const double sum = std::accumulate(m.begin(), m.end(), 0.0);
  for (double& v : m) v /= sum;
  return m;
}

inline std::vector<float> floats(const Golden& golden, const std::string& name) {
  return golden.array(name).to_floats();
}
inline std::vector<double> wide(const Golden& golden, const std::string& name) {
  const HostArray& a = golden.array(name);
  REQUIRE(a.type == FileType::f64);
  std::vector<double> v(to_size(a.count()));
  std::memcpy(v.data(), a.bytes.data(), a.bytes.size());
  return v;
}

}  // namespace voxot::test
