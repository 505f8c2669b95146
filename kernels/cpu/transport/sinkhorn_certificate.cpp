// What certifies potentials: the marginal error of their plan, the dual value, and the primal value of a plan
// that is feasible (Altschuler, Weed, Rigollet, NIPS 2017, algorithm 2). In double, whatever the costs are:
// near convergence the gap is below what fp32 resolves.
//
// With E_ij = exp((f_i + g_j − C_ij)/ε) the rounded plan is a_i·b_j·w_ij, w_ij = x_i·y_j·E_ij + e_i·h_j: rows
// scaled down by x, columns by y, and what mass is missing spread as the product of what each misses. A
// relaxed marginal is not rounded; beside one a hard one is met by scaling alone.
#include "kernels/cpu/transport/sinkhorn_problem.h"
#include "kernels/cpu/vector_math.h"
#include "kernels/sizes.h"

namespace voxot::cpu::sinkhorn {
namespace {

/// Factors that make a plan feasible, and its sums.
struct Rounding {
  std::vector<double> row_sum, column_sum;  // of the potentials' plan
  std::vector<double> x, y;
  std::vector<double> scaled_column;  // Σ_i x_i·P_ij
  std::vector<double> missing;        // h: of each column, as a share of b and of the whole that is missing
};

struct RowSums {
  std::vector<double> plain, scaled;
};

/// E of one row.
template <class T>
void exponentials(const Problem& p, double f, const T* cost, double* out) {
  const double inverse = 1 / p.epsilon;
#pragma omp simd
  for (std::int64_t j = 0; j < p.columns; ++j) {
    out[j] = exp_lanes((f + p.g[j] - static_cast<double>(cost[j])) * inverse);
  }
}

double ratio(double wanted, double got, bool may_grow) {
  if (!(got > 0)) return 1;
  return may_grow ? wanted / got : std::min(1.0, wanted / got);
}

template <class Source>
Rounding round_rows(const Problem& p, const Source& source) {
  using T = typename Source::Value;
  const auto n = to_size(p.rows);
  const auto m = to_size(p.columns);
  const bool hard_a = std::isinf(p.params.rho_a);
  const bool hard_b = std::isinf(p.params.rho_b);
  Rounding r{std::vector<double>(n),      std::vector<double>(m), std::vector<double>(n, 1.0),
             std::vector<double>(m, 1.0), std::vector<double>(m), std::vector<double>(m)};
  std::vector<RowSums> sums(to_size(p.chunks()), {r.column_sum, r.column_sum});
  for_blocks(p, source, [&](std::int64_t first, std::int64_t count, const T* cost, std::int64_t chunk) {
    static thread_local std::vector<double> buffer;
    buffer.resize(m);
    double* const e = buffer.data();
    double* const plain = sums[to_size(chunk)].plain.data();
    double* const scaled = sums[to_size(chunk)].scaled.data();
    for (std::int64_t k = 0; k < count; ++k) {
      const std::int64_t i = first + k;
      if (p.a[i] == 0) continue;
      exponentials(p, p.f[i], cost + k * p.columns, e);
      double sum = 0;
#pragma omp simd reduction(+ : sum)
      for (std::int64_t j = 0; j < p.columns; ++j) {
        e[j] *= p.a[i] * p.b[j];
        sum += e[j];
      }
      const auto at = to_size(i);
      r.row_sum[at] = sum;
      if (hard_a) r.x[at] = ratio(p.a[i], sum, !hard_b);
      const double x = r.x[at];
#pragma omp simd
      for (std::int64_t j = 0; j < p.columns; ++j) {
        plain[j] += e[j];
        scaled[j] += x * e[j];
      }
    }
  });
  for (const RowSums& chunk : sums) {
    for (std::size_t j = 0; j < m; ++j) {
      r.column_sum[j] += chunk.plain[j];
      r.scaled_column[j] += chunk.scaled[j];
    }
  }
  double missing = 0;
  for (std::size_t j = 0; j < m; ++j) {
    if (hard_b) r.y[j] = ratio(p.b[j], r.scaled_column[j], !hard_a);
    if (hard_a && hard_b && p.b[j] > 0) {
      r.missing[j] = std::max(0.0, 1 - r.y[j] * r.scaled_column[j] / p.b[j]);
      missing += r.missing[j] * p.b[j];
    }
  }
  for (double& h : r.missing) h = missing > 0 ? h / missing : 0;
  return r;
}

/// Parts of the primal objective at the rounded plan.
struct Value {
  double cost = 0;     // ⟨C, P⟩
  double entropy = 0;  // Σ P·log(P/(a⊗b))
  double mass = 0;
  double rows = 0;  // ρ_a·KL(P·1 | a)
};

/// p·log(p/q) − p + q of one pair, exact to its own size where p is close to q: ρ may be large.
double divergence(double p, double q) {
  if (!(q > 0)) return 0;
  const double excess = (p - q) / q;
  return p > 0 ? q * ((1 + excess) * std::log1p(excess) - excess) : q;
}

template <class T>
Value row_value(const Problem& p, const Rounding& r, std::int64_t i, const T* cost, double* w) {
  exponentials(p, p.f[i], cost, w);
  const double x = r.x[to_size(i)];
  const double* const y = r.y.data();
  const double* const h = r.missing.data();
  double share = 0;  // of a_i that the scaled row has
#pragma omp simd reduction(+ : share)
  for (std::int64_t j = 0; j < p.columns; ++j) {
    w[j] *= x * y[j];
    share += w[j] * p.b[j];
  }
  const double missing = p.params.hard() ? std::max(0.0, 1 - share) : 0;
  double cost_sum = 0;
  double entropy = 0;
  double mass = 0;
#pragma omp simd reduction(+ : cost_sum, entropy, mass)
  for (std::int64_t j = 0; j < p.columns; ++j) {
    const double wj = w[j] + missing * h[j];
    const double q = wj * p.b[j];
    mass += q;
    cost_sum += q * static_cast<double>(cost[j]);
    entropy += wj >= std::numeric_limits<double>::min() ? q * log_lanes(wj) : 0.0;
  }
  const double a = p.a[i];
  return {a * cost_sum, a * entropy, a * mass,
          std::isinf(p.params.rho_a) ? 0 : p.params.rho_a * divergence(a * mass, a)};
}

template <class Source>
Value plan_value(const Problem& p, const Source& source, const Rounding& r) {
  using T = typename Source::Value;
  std::vector<Value> parts(to_size(p.chunks()));
  for_blocks(p, source, [&](std::int64_t first, std::int64_t count, const T* cost, std::int64_t chunk) {
    static thread_local std::vector<double> buffer;
    buffer.resize(to_size(p.columns));
    Value& to = parts[to_size(chunk)];
    for (std::int64_t k = 0; k < count; ++k) {
      if (p.a[first + k] == 0) continue;
      const Value v = row_value(p, r, first + k, cost + k * p.columns, buffer.data());
      to.cost += v.cost;
      to.entropy += v.entropy;
      to.mass += v.mass;
      to.rows += v.rows;
    }
  });
  Value total;
  for (const Value& v : parts) {
    total.cost += v.cost;
    total.entropy += v.entropy;
    total.mass += v.mass;
    total.rows += v.rows;
  }
  return total;
}

/// One side of the dual: Σ a·f, or −ρ·Σ a·(exp(−f/ρ) − 1). `size` gathers what rounding is relative to.
double dual_side(const double* weights, const double* potential, std::int64_t count, double rho,
                 double* size) {
  double sum = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    if (weights[i] == 0) continue;
    const double term =
        weights[i] * (std::isinf(rho) ? potential[i] : -rho * std::expm1(-potential[i] / rho));
    sum += term;
    *size += std::abs(term) + weights[i] * std::abs(potential[i]);
  }
  return sum;
}

double side_error(const double* weights, const double* potential, const std::vector<double>& sums,
                  double rho) {
  double error = 0;
  for (std::size_t i = 0; i < sums.size(); ++i) {
    if (weights[i] > 0) error += std::abs(sums[i] - weights[i] * Problem::wanted(potential[i], rho));
  }
  return error;
}

}  // namespace

template <class Source>
void certify(const Problem& p, const Source& source, SinkhornStatus& status) {
  const Rounding r = round_rows(p, source);
  status.marginal_error =
      (side_error(p.a, p.f, r.row_sum, p.params.rho_a) + side_error(p.b, p.g, r.column_sum, p.params.rho_b)) /
      std::max(p.mass_a, p.mass_b);
  double mass = 0;
  for (const double c : r.column_sum) mass += c;
  double size = p.epsilon * (mass + p.mass_a * p.mass_b);
  status.dual = dual_side(p.a, p.f, p.rows, p.params.rho_a, &size) +
                dual_side(p.b, p.g, p.columns, p.params.rho_b, &size) -
                p.epsilon * (mass - p.mass_a * p.mass_b);
  // Sums of rows + columns terms, exponents that are differences of the potentials.
  status.dual -=
      size * std::numeric_limits<double>::epsilon() * (64 + static_cast<double>(p.rows + p.columns));

  const Value v = plan_value(p, source, r);
  status.transport_cost = v.cost;
  status.primal = v.cost + p.epsilon * (v.entropy - v.mass + p.mass_a * p.mass_b) + v.rows;
  if (!std::isinf(p.params.rho_b)) {
    for (std::int64_t j = 0; j < p.columns; ++j) {
      status.primal += p.params.rho_b * divergence(r.scaled_column[to_size(j)], p.b[j]);
    }
  }
}

template void certify(const Problem&, const MatrixRows<float>&, SinkhornStatus&);
template void certify(const Problem&, const MatrixRows<double>&, SinkhornStatus&);
template void certify(const Problem&, const FeatureRows<float>&, SinkhornStatus&);
template void certify(const Problem&, const FeatureRows<double>&, SinkhornStatus&);

}  // namespace voxot::cpu::sinkhorn
