// Sinkhorn's iteration in the log domain. A block of rows takes its f by log-sum-exp over the row and then
// adds itself to a running log-sum-exp of every column, so the costs are read once for both potentials.
#include "kernels/cpu/transport/sinkhorn_problem.h"
#include "kernels/cpu/vector_math.h"
#include "kernels/sizes.h"

namespace voxot::cpu::sinkhorn {
namespace {

/// log Σ_j exp((h_j − C_j)/ε), as a cost: ε·log.
template <class T>
double soft_maximum(const T* cost, const double* h, std::int64_t count, double epsilon) {
  double top = kNever;
#pragma omp simd reduction(max : top)
  for (std::int64_t j = 0; j < count; ++j) top = std::max(top, h[j] - static_cast<double>(cost[j]));
  const double inverse = 1 / epsilon;
  T sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t j = 0; j < count; ++j) {
    sum += exp_lanes(static_cast<T>((h[j] - static_cast<double>(cost[j]) - top) * inverse));
  }
  return top + epsilon * std::log(static_cast<double>(sum));
}

/// A running log-sum-exp of each column: top + ε·log(sum).
template <class T>
struct Columns {
  std::vector<double> top;
  std::vector<T> sum;

  explicit Columns(std::int64_t count) : top(to_size(count), kNever), sum(to_size(count), T{0}) {}

  template <int Rows>
  void add(const T* cost, std::int64_t stride, const double* k, double inverse) {
    const auto count = std::ssize(top);
    double* const tops = top.data();
    T* const sums = sum.data();
#pragma omp simd
    for (std::int64_t j = 0; j < count; ++j) {
      double most = tops[j];
#pragma GCC unroll 8
      for (int r = 0; r < Rows; ++r) most = std::max(most, k[r] - static_cast<double>(cost[r * stride + j]));
      T total = sums[j] * exp_lanes(static_cast<T>((tops[j] - most) * inverse));
#pragma GCC unroll 8
      for (int r = 0; r < Rows; ++r) {
        total +=
            exp_lanes(static_cast<T>((k[r] - static_cast<double>(cost[r * stride + j]) - most) * inverse));
      }
      tops[j] = most;
      sums[j] = total;
    }
  }

  void join(const Columns& other, double inverse) {
    for (std::size_t j = 0; j < top.size(); ++j) {
      const double most = std::max(top[j], other.top[j]);
      sum[j] = sum[j] * exp_lanes(static_cast<T>((top[j] - most) * inverse)) +
               other.sum[j] * exp_lanes(static_cast<T>((other.top[j] - most) * inverse));
      top[j] = most;
    }
  }
};

std::vector<double> plus_log_weights(const double* potential, const std::vector<double>& log_weights,
                                     double epsilon) {
  std::vector<double> sum(log_weights.size());
  for (std::size_t i = 0; i < sum.size(); ++i) sum[i] = potential[i] + epsilon * log_weights[i];
  return sum;
}

void translate(Problem& p) {
  if (p.params.hard()) return;
  double mass_f = 0;
  double mass_g = 0;
  for (std::int64_t i = 0; i < p.rows; ++i) mass_f += p.a[i] * Problem::wanted(p.f[i], p.params.rho_a);
  for (std::int64_t j = 0; j < p.columns; ++j) mass_g += p.b[j] * Problem::wanted(p.g[j], p.params.rho_b);
  const double shift = best_shift(p.params, mass_f, mass_g);
  for (std::int64_t i = 0; i < p.rows; ++i) p.f[i] += shift;
  for (std::int64_t j = 0; j < p.columns; ++j) p.g[j] -= shift;
}

}  // namespace

template <class Source>
double log_pass(Problem& p, const Source& source, Update update, bool relaxed) {
  using T = typename Source::Value;
  const double epsilon = p.epsilon;
  const double omega = p.params.over_relaxation;
  const bool all = update == Update::all;
  relaxed = relaxed && omega > 1;
  const std::vector<double> h = plus_log_weights(p.g, p.log_b, epsilon);
  std::vector<Columns<T>> columns(to_size(p.chunks()), Columns<T>(p.columns));
  std::vector<double> row_error(columns.size(), 0.0);
  for_blocks(p, source, [&](std::int64_t first, std::int64_t count, const T* cost, std::int64_t chunk) {
    double k[Source::kBlock];
    for (std::int64_t r = 0; r < count; ++r) {
      const std::int64_t i = first + r;
      if (all || p.a[i] == 0) {
        const double fresh = -p.lambda_a() * soft_maximum(cost + r * p.columns, h.data(), p.columns, epsilon);
        if (relaxed && p.a[i] > 0) {
          row_error[to_size(chunk)] += p.a[i] * std::abs(std::expm1((p.f[i] - fresh) / epsilon));
        }
        p.f[i] = relaxed ? over_relaxed(p.f[i], fresh, epsilon, omega) : fresh;
      }
      k[r] = p.f[i] + epsilon * p.log_a[to_size(i)];
    }
    Columns<T>& sums = columns[to_size(chunk)];
    std::int64_t r = 0;
    for (; r + 8 <= count; r += 8) sums.template add<8>(cost + r * p.columns, p.columns, k + r, 1 / epsilon);
    for (; r < count; ++r) sums.template add<1>(cost + r * p.columns, p.columns, k + r, 1 / epsilon);
  });
  double error = row_error[0];
  for (std::size_t c = 1; c < columns.size(); ++c) {
    columns[0].join(columns[c], 1 / epsilon);
    error += row_error[c];
  }
  for (std::int64_t j = 0; j < p.columns; ++j) {
    const auto at = to_size(j);
    const double hard = -(columns[0].top[at] + epsilon * std::log(static_cast<double>(columns[0].sum[at])));
    if (p.b[j] > 0) {
      error +=
          p.b[j] * std::abs(std::exp((p.g[j] - hard) / epsilon) - Problem::wanted(p.g[j], p.params.rho_b));
    }
    if (!all && p.b[j] > 0) continue;
    const double fresh = p.lambda_b() * hard;
    p.g[j] = relaxed ? over_relaxed(p.g[j], fresh, epsilon, omega) : fresh;
  }
  if (all) translate(p);
  return error;
}

template <class Source>
double symmetric_pass(Problem& p, const Source& source) {
  using T = typename Source::Value;
  const std::vector<double> h = plus_log_weights(p.g, p.log_b, p.epsilon);
  std::vector<double> errors(to_size(p.chunks()), 0.0);
  for_blocks(p, source, [&](std::int64_t first, std::int64_t count, const T* cost, std::int64_t chunk) {
    for (std::int64_t r = 0; r < count; ++r) {
      const std::int64_t i = first + r;
      const double old = p.g[i];
      const double hard = -soft_maximum(cost + r * p.columns, h.data(), p.columns, p.epsilon);
      const double fresh = p.lambda_a() * hard;
      p.f[i] = p.a[i] > 0 ? 0.5 * (old + fresh) : fresh;
      p.g[i] = p.f[i];
      if (p.a[i] == 0) continue;
      // Of the row, and as much of its column.
      errors[to_size(chunk)] +=
          2 * p.a[i] * std::abs(std::exp((old - hard) / p.epsilon) - Problem::wanted(old, p.params.rho_a));
    }
  });
  double error = 0;
  for (const double e : errors) error += e;
  return error;
}

template <class Source>
double resolve_epsilon(const Problem& p, const Source& source, double* largest) {
  using T = typename Source::Value;
  std::vector<double> sums(to_size(p.chunks()), 0.0);
  std::vector<double> tops(sums.size(), kNever);
  for_blocks(p, source, [&](std::int64_t, std::int64_t count, const T* cost, std::int64_t chunk) {
    double sum = 0;
    double top = kNever;
#pragma omp simd reduction(+ : sum) reduction(max : top)
    for (std::int64_t k = 0; k < count * p.columns; ++k) {
      sum += static_cast<double>(cost[k]);
      top = std::max(top, static_cast<double>(cost[k]));
    }
    sums[to_size(chunk)] += sum;
    tops[to_size(chunk)] = std::max(tops[to_size(chunk)], top);
  });
  double sum = 0;
  *largest = kNever;
  for (std::size_t c = 0; c < sums.size(); ++c) {
    sum += sums[c];
    *largest = std::max(*largest, tops[c]);
  }
  const double mean = sum / static_cast<double>(p.rows) / static_cast<double>(p.columns);
  return absolute_epsilon(p.params, mean, *largest);
}

#define VOXOT_INSTANTIATE(Source)                                  \
  template double log_pass(Problem&, const Source&, Update, bool); \
  template double symmetric_pass(Problem&, const Source&);         \
  template double resolve_epsilon(const Problem&, const Source&, double*);
VOXOT_INSTANTIATE(MatrixRows<float>)
VOXOT_INSTANTIATE(MatrixRows<double>)
VOXOT_INSTANTIATE(FeatureRows<float>)
VOXOT_INSTANTIATE(FeatureRows<double>)
#undef VOXOT_INSTANTIATE

}  // namespace voxot::cpu::sinkhorn
