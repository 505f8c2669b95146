#pragma once
// The phases that certify potentials (what and why: kernels/cpu/transport/sinkhorn_certificate.cpp), all in
// double. The rounded plan is a_i·b_j·(x_i·y_j·E_ij + e_i·h_j).
#include "kernels/cuda/transport/sinkhorn_phases.cuh"

namespace voxot::cuda::sinkhorn {

/// a_i·b_j·exp((f_i + g_j − C_ij)/ε) without the weights.
template <class T>
VOXOT_DEVICE double density(const Problem<T>& p, double inverse, int i, int j) {
  return exp((p.f[i] + p.g[j] - static_cast<double>(p.cost[static_cast<std::int64_t>(i) * p.columns + j])) *
             inverse);
}

VOXOT_DEVICE double ratio(double want, double got, bool may_grow) {
  if (!(got > 0)) return 1;
  const double r = want / got;
  return may_grow || r < 1 ? r : 1;
}

template <class T>
VOXOT_DEVICE void plan_rows(const Problem<T>& p, const SinkhornParams& params, double epsilon, Team t) {
  for (int i = t.warp; i < p.rows; i += t.warps) {
    double sum = 0;
    if (p.a[i] > 0) {
      for (int j = t.lane; j < p.columns; j += 32) {
        if (p.b[j] > 0) sum += p.a[i] * p.b[j] * density(p, 1 / epsilon, i, j);
      }
    }
    sum = simt::warp_sum(sum);
    if (t.lane != 0) continue;
    p.row_value(kRowSum)[i] = sum;
    p.row_value(kRowFactor)[i] = std::isinf(params.rho_a) ? ratio(p.a[i], sum, !std::isinf(params.rho_b)) : 1;
  }
}

template <class T>
VOXOT_DEVICE void plan_columns(const Problem<T>& p, double epsilon, Team t) {
  each_column(p, t, [&](int j, int chunk) {
    double plain = 0;
    double scaled = 0;
    if (p.b[j] > 0) {
      for (int i = chunk_begin(p, chunk); i < chunk_begin(p, chunk + 1); ++i) {
        if (!(p.a[i] > 0)) continue;
        const double mass = p.a[i] * p.b[j] * density(p, 1 / epsilon, i, j);
        plain += mass;
        scaled += p.row_value(kRowFactor)[i] * mass;
      }
    }
    p.partials(0)[chunk * p.columns + j] = plain;
    p.partials(1)[chunk * p.columns + j] = scaled;
  });
}

template <class T>
VOXOT_DEVICE void plan_columns_done(const Problem<T>& p, const SinkhornParams& params, int thread,
                                    int threads) {
  const bool hard_a = std::isinf(params.rho_a);
  const bool hard_b = std::isinf(params.rho_b);
  for (int j = thread; j < p.columns; j += threads) {
    double plain = 0;
    double scaled = 0;
    for (int chunk = 0; chunk < p.chunks; ++chunk) {
      plain += p.partials(0)[chunk * p.columns + j];
      scaled += p.partials(1)[chunk * p.columns + j];
    }
    const double y = hard_b ? ratio(p.b[j], scaled, !hard_a) : 1;
    const double rest = p.b[j] - y * scaled;
    p.column_value(kColumnSum)[j] = plain;
    p.column_value(kScaled)[j] = scaled;
    p.column_value(kColumnFactor)[j] = y;
    p.column_value(kMissing)[j] = hard_a && hard_b && rest > 0 ? rest : 0;
  }
}

/// Σ p·log(p/q) − p + q of one pair.
VOXOT_DEVICE double divergence(double p, double q) {
  return q > 0 ? (p > 0 ? p * log(p / q) : 0) - p + q : 0;
}

/// The rows' parts of the objective at the rounded plan a_i·b_j·(x_i·y_j·E_ij + e_i·h_j).
template <class T>
VOXOT_DEVICE void plan_values(const Problem<T>& p, const SinkhornParams& params, double epsilon, Team t) {
  const double missing = ordered_sum(p.column_value(kMissing), p.columns, t.lane);
  const double* const y = p.column_value(kColumnFactor);
  for (int i = t.warp; i < p.rows; i += t.warps) {
    const double x = p.row_value(kRowFactor)[i];
    double cost = 0;
    double entropy = 0;
    double mass = 0;
    if (p.a[i] > 0) {
      double share = 0;
      for (int j = t.lane; j < p.columns; j += 32) {
        if (p.b[j] > 0) share += x * y[j] * density(p, 1 / epsilon, i, j) * p.b[j];
      }
      share = simt::warp_sum(share);
      const double rest = std::isinf(params.rho_a) && std::isinf(params.rho_b) && share < 1 ? 1 - share : 0;
      for (int j = t.lane; j < p.columns; j += 32) {
        if (!(p.b[j] > 0)) continue;
        double w = x * y[j] * density(p, 1 / epsilon, i, j);
        if (missing > 0) w += rest * p.column_value(kMissing)[j] / p.b[j] / missing;
        const double q = w * p.b[j];
        mass += q;
        cost += q * static_cast<double>(p.cost[static_cast<std::int64_t>(i) * p.columns + j]);
        if (w > 0) entropy += q * log(w);
      }
    }
    cost = simt::warp_sum(cost);
    entropy = simt::warp_sum(entropy);
    mass = simt::warp_sum(mass);
    if (t.lane != 0) continue;
    p.row_value(kRowCost)[i] = p.a[i] * cost;
    p.row_value(kRowEntropy)[i] = p.a[i] * entropy;
    p.row_value(kRowMass)[i] = p.a[i] * mass;
    p.row_value(kRowRest)[i] =
        std::isinf(params.rho_a) ? 0 : params.rho_a * divergence(p.a[i] * mass, p.a[i]);
  }
}

struct Side {
  double error = 0;
  double dual = 0;
  double size = 0;  // what rounding is relative to
};

/// One side's error of the marginals and its part of the dual: Σ a·f, or −ρ·Σ a·(exp(−f/ρ) − 1).
VOXOT_DEVICE Side side(const double* weights, const double* potential, const double* sums, int count,
                       double rho, int lane) {
  Side s;
  for (int i = lane; i < count; i += 32) {
    const double w = weights[i];
    if (!(w > 0)) continue;
    const double v = potential[i];
    const double term = w * (std::isinf(rho) ? v : -rho * expm1(-v / rho));
    s.error += fabs(sums[i] - w * wanted(v, rho));
    s.dual += term;
    s.size += fabs(term) + w * fabs(v);
  }
  s.error = simt::warp_sum(s.error);
  s.dual = simt::warp_sum(s.dual);
  s.size = simt::warp_sum(s.size);
  return s;
}

/// The certificate's numbers, the same in every lane of a warp.
template <class T>
VOXOT_DEVICE SinkhornStatus certificate(const Problem<T>& p, const SinkhornParams& params, double epsilon,
                                        const Totals& totals, int lane) {
  const Side a = side(p.a, p.f, p.row_value(kRowSum), p.rows, params.rho_a, lane);
  const Side b = side(p.b, p.g, p.column_value(kColumnSum), p.columns, params.rho_b, lane);
  const double larger = totals.mass_a < totals.mass_b ? totals.mass_b : totals.mass_a;
  const double product = totals.mass_a * totals.mass_b;
  const double mass = ordered_sum(p.column_value(kColumnSum), p.columns, lane);
  SinkhornStatus s;
  s.epsilon = epsilon;
  s.largest_cost = totals.largest_cost;
  s.marginal_error = (a.error + b.error) / larger;
  s.dual = a.dual + b.dual - epsilon * (mass - product);
  s.dual -=
      (a.size + b.size + epsilon * (mass + product)) * 2.220446049250313e-16 * (64.0 + p.rows + p.columns);
  s.transport_cost = ordered_sum(p.row_value(kRowCost), p.rows, lane);
  s.primal = s.transport_cost +
             epsilon * (ordered_sum(p.row_value(kRowEntropy), p.rows, lane) -
                        ordered_sum(p.row_value(kRowMass), p.rows, lane) + product) +
             ordered_sum(p.row_value(kRowRest), p.rows, lane);
  if (!std::isinf(params.rho_b)) {
    double rest = 0;
    for (int j = lane; j < p.columns; j += 32) rest += divergence(p.column_value(kScaled)[j], p.b[j]);
    s.primal += params.rho_b * simt::warp_sum(rest);
  }
  s.converged = s.marginal_error <= params.tolerance && std::isfinite(s.primal);
  return s;
}

}  // namespace voxot::cuda::sinkhorn
