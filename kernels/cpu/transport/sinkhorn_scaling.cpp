// Sinkhorn's iteration as stabilised scaling (Schmitzer, SIAM J. Sci. Comput. 2019): with anchors α, β the
// matrix K_ij = exp((α_i + β_j − C_ij)/ε) stays in memory, and x = exp((f − α)/ε), y = exp((g − β)/ε) are
// iterated. When x or y have left [1/kFarScale, kFarScale] they are absorbed into the anchors and K is made
// anew; a step beyond kMostScale is not taken, but done in the log domain instead. An entry of K that
// underflows (1e-38) is then below 1e-14 in its row's and its column's sums, so this form has the accuracy of
// the logarithmic one.
//
// The floor of an iteration is one reading of K, and two multiply-adds for each entry: a block of rows gives
// its sums K·v, takes its x, and adds itself to the column sums while it is in the first or second cache.
// A log-domain pass reads as much and takes two exponentials for each entry, some 15 times the arithmetic.
#include <array>
#include <memory>

#include "kernels/cpu/aligned.h"
#include "kernels/cpu/lanes.h"
#include "kernels/cpu/transport/sinkhorn_problem.h"
#include "kernels/cpu/vector_math.h"
#include "kernels/sizes.h"

namespace voxot::cpu::sinkhorn {
namespace {

constexpr double kFarScale = 1e9;
constexpr double kMostScale = 1e12;
/// Below this share of the mass 1/weight times the scales could overflow fp32.
constexpr double kLeastWeight = 1e-20;
constexpr std::int64_t kGroup = 4;  // rows that share the loads of v and of the column sums
constexpr std::int64_t kRows = 16;  // rows between whose sums and products x is taken
/// Iterations that a matrix must have served before another is made at once.
constexpr std::int64_t kWorthIt = 8;

/// sums[r] ← Σ_j K_rj·v_j of `Rows` rows.
template <class T, int Rows>
void dots(const T* k, std::int64_t stride, const T* v, double* sums) {
  using V = typename Lanes<T>::Type;
  V even[Rows]{};
  V odd[Rows]{};
  for (std::int64_t j = 0; j < stride; j += 2 * kLanes<T>) {
    const V v0 = *reinterpret_cast<const V*>(v + j);
    const V v1 = *reinterpret_cast<const V*>(v + j + kLanes<T>);
#pragma GCC unroll 4
    for (int r = 0; r < Rows; ++r) {
      even[r] += *reinterpret_cast<const V*>(k + r * stride + j) * v0;
      odd[r] += *reinterpret_cast<const V*>(k + r * stride + j + kLanes<T>) * v1;
    }
  }
#pragma GCC unroll 4
  for (int r = 0; r < Rows; ++r) sums[r] = static_cast<double>(lane_sum<T>(even[r] + odd[r]));
}

/// columns_j += Σ_r u_r·K_rj
template <class T, int Rows>
void accumulate(const T* k, std::int64_t stride, const T* u, T* columns) {
  using V = typename Lanes<T>::Type;
  for (std::int64_t j = 0; j < stride; j += kLanes<T>) {
    V sum = *reinterpret_cast<const V*>(columns + j);
#pragma GCC unroll 4
    for (int r = 0; r < Rows; ++r) sum += *reinterpret_cast<const V*>(k + r * stride + j) * u[r];
    *reinterpret_cast<V*>(columns + j) = sum;
  }
}

/// How one side's scales follow from its sums.
enum class Rule : std::uint8_t { plain, soft, relaxed };

struct Side {
  Rule rule = Rule::plain;
  double epsilon = 0;
  double rho = 0;
  double lambda = 1;
  double omega = 1;
  bool averaged = false;  // f ← ½(f + f_new), the symmetric update; error counts for both sides
};

struct Range {
  double least = 1;
  double most = 1;

  void join(const Range& other) {
    least = std::min(least, other.least);
    most = std::max(most, other.most);
  }
  [[nodiscard]] bool within(double scale) const { return least * scale >= 1 && most <= scale; }
};

/// fresh ← scales from the sums, out ← weight·fresh; returns Σ weight·|share before − share wanted|. Points
/// without weight keep the scale 1.
template <Rule R, bool Averaged, class T>
double update(const Side& side, std::int64_t count, const double* sums, const double* weights,
              const double* anchors, const double* old, double* fresh, T* out, Range& range) {
  double error = 0;
  double least = 1;
  double most = 1;
  const double inverse = 1 / side.epsilon;
#pragma omp simd reduction(+ : error) reduction(min : least) reduction(max : most)
  for (std::int64_t i = 0; i < count; ++i) {
    const double w = weights[i];
    const double s = w > 0 ? sums[i] : 1.0;
    const double share = old[i] * s;
    double x;
    if constexpr (R == Rule::plain) {
      x = 1 / s;
      error += w * std::abs(share - 1);
    } else if constexpr (R == Rule::soft) {
      const double anchor = w > 0 ? anchors[i] : 0.0;
      x = exp_lanes((side.lambda - 1) * anchor * inverse - side.lambda * log_lanes(s));
      const double potential = anchor + side.epsilon * log_lanes(old[i]);
      error += w * std::abs(share - exp_lanes(-potential / side.rho));
    } else {
      const double log_share = log_lanes(share);
      const double step = exp_lanes(-side.omega * log_share);
      const double gain = -side.omega * log_share - share * (step - 1);
      const double plain = share - 1 - log_share;
      x = old[i] * (gain >= 0.5 * side.omega * (2 - side.omega) * plain ? step : 1 / share);
      error += w * std::abs(share - 1);
    }
    if constexpr (Averaged) x = std::sqrt(old[i] * x);
    fresh[i] = x;
    out[i] = static_cast<T>(w * x);
    least = std::min(least, x);
    most = std::max(most, x);
  }
  range.join({least, most});
  return Averaged ? 2 * error : error;
}

template <class T>
double update(const Side& side, std::int64_t count, const double* sums, const double* weights,
              const double* anchors, const double* old, double* fresh, T* out, Range& range) {
  switch (side.rule) {
    case Rule::plain:
      return side.averaged
                 ? update<Rule::plain, true>(side, count, sums, weights, anchors, old, fresh, out, range)
                 : update<Rule::plain, false>(side, count, sums, weights, anchors, old, fresh, out, range);
    case Rule::soft:
      return side.averaged
                 ? update<Rule::soft, true>(side, count, sums, weights, anchors, old, fresh, out, range)
                 : update<Rule::soft, false>(side, count, sums, weights, anchors, old, fresh, out, range);
    case Rule::relaxed:
      return update<Rule::relaxed, false>(side, count, sums, weights, anchors, old, fresh, out, range);
  }
  return 0;
}

/// What became of an iteration.
enum class Step : std::uint8_t {
  taken,
  far,      // taken; the scales are to be absorbed
  refused,  // f and g are still those of before
};

template <class T>
class Scaling {
 public:
  explicit Scaling(Problem& p)
      : p_(p),
        stride_((p.columns + 2 * kLanes<T> - 1) / (2 * kLanes<T>)*2 * kLanes<T>),
        kernel_(aligned<T>(p.rows * stride_)),
        v_(aligned<T>(stride_)),
        partial_(aligned<T>(p.chunks() * stride_)),
        x_(to_size(p.rows), 1.0),
        fresh_x_(x_.size()),
        y_(to_size(p.columns), 1.0),
        fresh_y_(y_.size()),
        column_sums_(y_.size()) {}

  /// K of the present potentials, the scales being 1.
  void build(const MatrixRows<T>& source);
  Step step(double* error);
  /// Moves the scales into f and g.
  void absorb();

 private:
  [[nodiscard]] Side side(double rho, double lambda) const {
    const double omega = p_.symmetric ? 1 : p_.params.over_relaxation;
    return {!std::isinf(rho) ? Rule::soft
            : omega > 1      ? Rule::relaxed
                             : Rule::plain,
            p_.epsilon,
            rho,
            lambda,
            omega,
            p_.symmetric};
  }
  /// The best shift of relaxed potentials, as factors of the scales.
  void translate();
  double rows_of_chunk(std::int64_t chunk, const Side& rule, Range& range);

  Problem& p_;
  std::int64_t stride_;  // whole pairs of vectors; K is 0 beyond the columns
  Aligned<T> kernel_;
  Aligned<T> v_;        // b·y
  Aligned<T> partial_;  // column sums of each chunk
  std::vector<double> x_, fresh_x_, y_, fresh_y_, column_sums_;
};

template <class T>
void Scaling<T>::build(const MatrixRows<T>& source) {
  std::vector<double> beta(to_size(p_.columns));
  for (std::int64_t j = 0; j < stride_; ++j) v_[j] = j < p_.columns ? static_cast<T>(p_.b[j]) : T{0};
  for (std::size_t j = 0; j < beta.size(); ++j) beta[j] = p_.b[j] > 0 ? p_.g[j] : -INFINITY;
  const double inverse = 1 / p_.epsilon;
  for_blocks(p_, source, [&](std::int64_t first, std::int64_t count, const T* cost, std::int64_t) {
    for (std::int64_t r = 0; r < count; ++r, cost += p_.columns) {
      T* const row = kernel_.get() + (first + r) * stride_;
      const double alpha = p_.a[first + r] > 0 ? p_.f[first + r] : -INFINITY;
      const double* const betas = beta.data();
#pragma omp simd
      for (std::int64_t j = 0; j < p_.columns; ++j) {
        row[j] = static_cast<T>(exp_lanes((alpha + betas[j] - static_cast<double>(cost[j])) * inverse));
      }
      std::fill(row + p_.columns, row + stride_, T{0});
    }
  });
}

template <class T>
double Scaling<T>::rows_of_chunk(std::int64_t chunk, const Side& rule, Range& range) {
  T* const columns = partial_.get() + chunk * stride_;
  std::fill_n(columns, stride_, T{0});
  const std::int64_t end = p_.chunk_end(chunk);
  double error = 0;
  for (std::int64_t i = p_.chunk_begin(chunk); i < end; i += kRows) {
    const std::int64_t count = std::min(kRows, end - i);
    const T* const k = kernel_.get() + i * stride_;
    double sums[kRows];
    T u[kRows];
    std::int64_t r = 0;
    for (; r + kGroup <= count; r += kGroup) dots<T, kGroup>(k + r * stride_, stride_, v_.get(), sums + r);
    for (; r < count; ++r) dots<T, 1>(k + r * stride_, stride_, v_.get(), sums + r);
    error += update(rule, count, sums, p_.a + i, p_.f + i, x_.data() + i, fresh_x_.data() + i, u, range);
    if (p_.symmetric) continue;  // column sums are the rows'
    for (r = 0; r + kGroup <= count; r += kGroup) {
      accumulate<T, kGroup>(k + r * stride_, stride_, u + r, columns);
    }
    for (; r < count; ++r) accumulate<T, 1>(k + r * stride_, stride_, u + r, columns);
  }
  return error;
}

template <class T>
Step Scaling<T>::step(double* error) {
  const std::int64_t chunks = p_.chunks();
  const Side rows = side(p_.params.rho_a, p_.lambda_a());
  std::array<Range, 32> ranges;
  std::array<double, 32> errors;
#pragma omp parallel for schedule(static) if (chunks > 1)
  for (std::int64_t c = 0; c < chunks; ++c) {
    const auto at = to_size(c);
    errors[at] = rows_of_chunk(c, rows, ranges[at]);
  }
  double total = 0;
  Range range;
  for (std::int64_t c = 0; c < chunks; ++c) {
    const T* const partial = partial_.get() + c * stride_;
    double* const sums = column_sums_.data();
    if (c == 0) {
      for (std::int64_t j = 0; j < p_.columns; ++j) sums[j] = static_cast<double>(partial[j]);
    } else {
      for (std::int64_t j = 0; j < p_.columns; ++j) sums[j] += static_cast<double>(partial[j]);
    }
    range.join(ranges[to_size(c)]);
    // A plain update meets its marginal, so the error from before it does not count.
    if (rows.rule == Rule::relaxed || rows.averaged) total += errors[to_size(c)];
  }
  if (!range.within(kMostScale)) return Step::refused;
  if (p_.symmetric) {
    x_.swap(fresh_x_);
    y_ = x_;
    for (std::int64_t j = 0; j < p_.columns; ++j) v_[j] = static_cast<T>(p_.b[j] * y_[to_size(j)]);
    *error = total;
    return range.within(kFarScale) ? Step::taken : Step::far;
  }
  const Side columns = side(p_.params.rho_b, p_.lambda_b());
  total += update(columns, p_.columns, column_sums_.data(), p_.b, p_.g, y_.data(), fresh_y_.data(), v_.get(),
                  range);
  if (!range.within(kMostScale)) return Step::refused;
  x_.swap(fresh_x_);
  y_.swap(fresh_y_);
  translate();
  *error = total;
  return range.within(kFarScale) ? Step::taken : Step::far;
}

/// Σ weight·exp(−potential/ρ)
double wanted_mass(const std::vector<double>& scales, const double* anchors, const double* weights,
                   double epsilon, double rho) {
  const auto count = std::ssize(scales);
  const double inverse = std::isinf(rho) ? 0 : 1 / rho;
  double mass = 0;
#pragma omp simd reduction(+ : mass)
  for (std::int64_t i = 0; i < count; ++i) {
    mass += weights[i] * exp_lanes(-(anchors[i] + epsilon * log_lanes(scales[i])) * inverse);
  }
  return mass;
}

template <class T>
void Scaling<T>::translate() {
  if (p_.params.hard()) return;
  const double mass_f = wanted_mass(x_, p_.f, p_.a, p_.epsilon, p_.params.rho_a);
  const double mass_g = wanted_mass(y_, p_.g, p_.b, p_.epsilon, p_.params.rho_b);
  const double factor = std::exp(best_shift(p_.params, mass_f, mass_g) / p_.epsilon);
  // A far shift is left to the next log-domain pass.
  if (!(factor > 1e-2 && factor < 1e2)) return;
  for (double& x : x_) x *= factor;
  for (std::int64_t j = 0; j < p_.columns; ++j) {
    y_[to_size(j)] /= factor;
    v_[j] = static_cast<T>(p_.b[j] * y_[to_size(j)]);
  }
}

template <class T>
void Scaling<T>::absorb() {
  for (std::size_t i = 0; i < x_.size(); ++i) p_.f[i] += p_.epsilon * std::log(x_[i]);
  for (std::size_t j = 0; j < y_.size(); ++j) p_.g[j] += p_.epsilon * std::log(y_[j]);
  std::fill(x_.begin(), x_.end(), 1.0);
  std::fill(y_.begin(), y_.end(), 1.0);
}

}  // namespace

template <class T>
void scaling_iterations(Problem& p, const MatrixRows<T>& source, double tolerance, std::int64_t limit,
                        std::int64_t& iterations) {
  const double goal = tolerance * std::max(p.mass_a, p.mass_b);
  const bool usable = p.least_weight >= kLeastWeight * std::max(p.mass_a, p.mass_b);
  double error = INFINITY;
  std::unique_ptr<Scaling<T>> scaling;
  bool relaxed = false;
  for (std::int64_t passes = 1; iterations < limit && error > goal;) {
    for (std::int64_t k = 0; (k < passes || !usable) && iterations < limit && error > goal;
         ++k, ++iterations) {
      error = iterate_once(p, source, relaxed);
      relaxed = true;
    }
    if (iterations >= limit || error <= goal) break;
    if (scaling == nullptr) scaling = std::make_unique<Scaling<T>>(p);
    const std::int64_t before = iterations;
    for (Step step = Step::far; step != Step::refused && iterations < limit && error > goal;) {
      if (step == Step::far) {
        scaling->absorb();
        scaling->build(source);
      }
      step = scaling->step(&error);
      if (step != Step::refused) ++iterations;
    }
    scaling->absorb();
    // While the potentials still move far in every step a matrix is not worth making.
    passes = iterations - before < kWorthIt ? std::min<std::int64_t>(2 * passes, 64) : 1;
  }
}

template void scaling_iterations(Problem&, const MatrixRows<float>&, double, std::int64_t, std::int64_t&);
template void scaling_iterations(Problem&, const MatrixRows<double>&, double, std::int64_t, std::int64_t&);

}  // namespace voxot::cpu::sinkhorn
