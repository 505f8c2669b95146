#pragma once
// Sinkhorn (kernels/sinkhorn.h) in phases, each of which reads what the ones before it wrote: a block that
// has a problem to itself runs them one after another with a barrier between, a problem on the whole device
// takes a launch for each. Work is dealt out in warps.
//
//   iteration:    rows (f, by log-sum-exp) → columns (partial log-sum-exp of chunks of rows) → columns_done
//                 (g, and the error in passing) → the sum of that error; or symmetric_rows → that sum
//   certificate:  plan_rows → plan_columns → plan_columns_done → plan_values → totals, all in double
//
// With fp32 costs a difference h_j − C_ij − top is taken with h in two floats and the rounding of each step
// kept, so that it is as good as in double: f64 is 2 to 64 times slower than fp32. Sums run in a fixed order.
#include <cmath>

#include "kernels/cuda/scalar.h"
#include "kernels/sinkhorn.h"

namespace voxot::cuda::sinkhorn {

/// A number as the sum of two of T; of double the second is 0.
template <class T>
struct Split {
  T high = 0;
  T low = 0;

  Split() = default;
  VOXOT_DEVICE explicit Split(double value)
      : high(static_cast<T>(value)), low(static_cast<T>(value - static_cast<double>(high))) {}
};

/// Stands for log 0: far below every cost of type T, and finite, so that differences of two are numbers.
template <class T>
VOXOT_DEVICE constexpr T never() {
  return static_cast<T>(sizeof(T) == 4 ? -1e37 : -1e300);
}

template <class T>
struct Problem {
  int rows = 0;
  int columns = 0;
  int first = 0;   // of a panel: its first row in the whole problem
  int chunks = 1;  // of rows, in the columns' phases
  const T* cost = nullptr;
  const double* a = nullptr;
  const double* b = nullptr;
  double* f = nullptr;
  double* g = nullptr;
  // Workspace, by rows, by columns, and [chunks, columns].
  Split<T>* row_keys = nullptr;     // f + ε·log a
  Split<T>* column_keys = nullptr;  // g + ε·log b
  double* row_values = nullptr;     // [kRowValues, row_pitch]
  double* column_values = nullptr;  // [kColumnValues, columns]
  double* partial = nullptr;        // [2, partial_pitch]
  // A panel of rows is a problem in the whole one's workspace; these are the whole one's.
  std::int64_t row_pitch = 0;      // rows
  std::int64_t partial_pitch = 0;  // chunks × columns

  [[nodiscard]] VOXOT_DEVICE double* row_value(int which) const { return row_values + which * row_pitch; }
  [[nodiscard]] VOXOT_DEVICE double* column_value(int which) const {
    return column_values + static_cast<std::int64_t>(which) * columns;
  }
  [[nodiscard]] VOXOT_DEVICE double* partials(int which) const { return partial + which * partial_pitch; }
};

// Rows: the costs' sum and largest; sum and factor of the plan; parts of the objective.
enum RowValue {
  kCostSum,
  kCostMost,
  kRowError,
  kRowSum,
  kRowFactor,
  kRowCost,
  kRowEntropy,
  kRowMass,
  kRowRest,
  kRowValues
};
enum ColumnValue { kError, kColumnSum, kScaled, kColumnFactor, kMissing, kColumnValues };

struct Totals {
  double mass_a = 0;
  double mass_b = 0;
  double mean_cost = 0;
  double largest_cost = 0;
};

/// Warps that share a phase.
struct Team {
  int warp;
  int warps;
  int lane;
};

/// Σ or the largest of `count` values, the same in every lane of every warp.
VOXOT_DEVICE double ordered_sum(const double* values, int count, int lane) {
  double sum = 0;
  for (int k = lane; k < count; k += 32) sum += values[k];
  return simt::warp_sum(sum);
}
VOXOT_DEVICE double ordered_max(const double* values, int count, int lane) {
  double most = -1e308;
  for (int k = lane; k < count; k += 32) most = most < values[k] ? values[k] : most;
  return simt::warp_max(most);
}

template <class T>
VOXOT_DEVICE T exponential(T x) {
  if constexpr (sizeof(T) == 4) {
    return exp2f(x * 1.44269504F);
  } else {
    return exp(x);
  }
}

/// (key − cost − top)/ε.
template <class T>
VOXOT_DEVICE T exponent(const Split<T>& key, T cost, T top, T inverse) {
  if constexpr (sizeof(T) == 8) {
    return (key.high - cost - top) * inverse;
  } else {
    const T difference = key.high - cost;
    const T part = difference - key.high;
    const T rounded = (key.high - (difference - part)) - (cost + part);
    return ((difference - top) + (rounded + key.low)) * inverse;
  }
}

VOXOT_DEVICE double lambda(double rho, double epsilon) {
  return std::isinf(rho) ? 1.0 : rho / (rho + epsilon);
}
/// What optimality asks of a marginal, as a share of its weight.
VOXOT_DEVICE double wanted(double potential, double rho) {
  return std::isinf(rho) ? 1.0 : exp(-potential / rho);
}

template <class T>
VOXOT_DEVICE Split<T> key_of(double potential, double weight, double epsilon) {
  if (!(weight > 0)) {
    Split<T> none;
    none.high = never<T>();
    return none;
  }
  return Split<T>(potential + epsilon * log(weight));
}

template <class T>
VOXOT_DEVICE void cost_rows(const Problem<T>& p, Team t) {
  for (int i = t.warp; i < p.rows; i += t.warps) {
    const T* const c = p.cost + static_cast<std::int64_t>(i) * p.columns;
    double sum = 0;
    double most = -1e308;
    for (int j = t.lane; j < p.columns; j += 32) {
      const auto value = static_cast<double>(c[j]);
      sum += value;
      most = most < value ? value : most;
    }
    sum = simt::warp_sum(sum);
    most = simt::warp_max(most);
    if (t.lane == 0) {
      p.row_value(kCostSum)[i] = sum;
      p.row_value(kCostMost)[i] = most;
    }
  }
}

template <class T>
VOXOT_DEVICE Totals totals_of(const Problem<T>& p, int lane) {
  Totals t;
  t.mass_a = ordered_sum(p.a, p.rows, lane);
  t.mass_b = ordered_sum(p.b, p.columns, lane);
  t.mean_cost = ordered_sum(p.row_value(kCostSum), p.rows, lane) / p.rows / p.columns;
  t.largest_cost = ordered_max(p.row_value(kCostMost), p.rows, lane);
  return t;
}

template <class T>
VOXOT_DEVICE void column_keys(const Problem<T>& p, double epsilon, int thread, int threads) {
  for (int j = thread; j < p.columns; j += threads) p.column_keys[j] = key_of<T>(p.g[j], p.b[j], epsilon);
}

/// ε·log Σ_j exp((key_j − C_j)/ε) of a row, in lane 0.
template <class T>
VOXOT_DEVICE double soft_maximum(const Problem<T>& p, const T* cost, double epsilon, int lane) {
  const T inverse = static_cast<T>(1 / epsilon);
  T top = 2 * never<T>();
  for (int j = lane; j < p.columns; j += 32) {
    const T value = p.column_keys[j].high - cost[j];
    top = top < value ? value : top;
  }
  top = simt::warp_max(top);
  T sum = 0;
  for (int j = lane; j < p.columns; j += 32) {
    sum += exponential(exponent(p.column_keys[j], cost[j], top, inverse));
  }
  sum = simt::warp_sum(sum);
  return lane == 0 ? static_cast<double>(top) + epsilon * log(static_cast<double>(sum)) : 0;
}

/// `empty`: only rows without weight. `omega`: over-relaxation, 1 where f does not go with g.
template <class T>
VOXOT_DEVICE void rows(const Problem<T>& p, double epsilon, double rho, bool empty, double omega, Team t) {
  const double factor = lambda(rho, epsilon);
  for (int i = t.warp; i < p.rows; i += t.warps) {
    if (empty && p.a[i] > 0) continue;
    const double most = soft_maximum(p, p.cost + static_cast<std::int64_t>(i) * p.columns, epsilon, t.lane);
    if (t.lane != 0) continue;
    double f = -factor * most;
    double error = 0;  // a plain update leaves the row none
    if (omega > 1 && p.a[i] > 0) {
      error = p.a[i] * fabs(expm1((p.f[i] - f) / epsilon));
      f = over_relaxed(p.f[i], f, epsilon, omega);
    }
    p.row_value(kRowError)[i] = error;
    p.f[i] = f;
    p.row_keys[i] = key_of<T>(f, p.a[i], epsilon);
  }
}

/// f ← ½(f + f_new) from the g of before, g = f; of each row and its column the error that g had.
template <class T>
VOXOT_DEVICE void symmetric_rows(const Problem<T>& p, double epsilon, double rho, Team t) {
  const double factor = lambda(rho, epsilon);
  for (int i = t.warp; i < p.rows; i += t.warps) {
    const double hard = -soft_maximum(p, p.cost + static_cast<std::int64_t>(i) * p.columns, epsilon, t.lane);
    if (t.lane != 0) continue;
    double& g = p.g[p.first + i];
    const double error = p.a[i] > 0 ? p.a[i] * fabs(exp((g - hard) / epsilon) - wanted(g, rho)) : 0;
    p.row_value(kRowError)[i] = error;
    p.column_value(kError)[p.first + i] = error;
    g = p.a[i] > 0 ? 0.5 * (g + factor * hard) : factor * hard;
    p.f[i] = g;
  }
}

/// The rows of a chunk.
template <class T>
VOXOT_DEVICE int chunk_begin(const Problem<T>& p, int chunk) {
  return static_cast<int>(static_cast<std::int64_t>(p.rows) * chunk / p.chunks);
}

/// Calls body(column, chunk) in every lane that has one: 32 neighbouring columns to a warp.
template <class T, class Body>
VOXOT_DEVICE void each_column(const Problem<T>& p, Team t, const Body& body) {
  const int tiles = (p.columns + 31) / 32;
  for (int unit = t.warp; unit < tiles * p.chunks; unit += t.warps) {
    const int j = unit % tiles * 32 + t.lane;
    if (j < p.columns) body(j, unit / tiles);
  }
}

template <class T>
VOXOT_DEVICE void columns(const Problem<T>& p, double epsilon, Team t) {
  const T inverse = static_cast<T>(1 / epsilon);
  each_column(p, t, [&](int j, int chunk) {
    const int begin = chunk_begin(p, chunk);
    const int end = chunk_begin(p, chunk + 1);
    const T* const c = p.cost + j;
    T top = 2 * never<T>();
    for (int i = begin; i < end; ++i) {
      const T value = p.row_keys[i].high - c[static_cast<std::int64_t>(i) * p.columns];
      top = top < value ? value : top;
    }
    T sum = 0;
    for (int i = begin; i < end; ++i) {
      sum += exponential(exponent(p.row_keys[i], c[static_cast<std::int64_t>(i) * p.columns], top, inverse));
    }
    p.partials(0)[chunk * p.columns + j] = static_cast<double>(top);
    p.partials(1)[chunk * p.columns + j] = static_cast<double>(sum);
  });
}

/// g from the chunks' sums; each column's part of the error that the new f and the old g have.
template <class T>
VOXOT_DEVICE void columns_done(const Problem<T>& p, double epsilon, double rho, double omega, int thread,
                               int threads) {
  const double factor = lambda(rho, epsilon);
  for (int j = thread; j < p.columns; j += threads) {
    double top = p.partials(0)[j];
    for (int chunk = 1; chunk < p.chunks; ++chunk) {
      const double other = p.partials(0)[chunk * p.columns + j];
      top = top < other ? other : top;
    }
    double sum = 0;
    for (int chunk = 0; chunk < p.chunks; ++chunk) {
      sum +=
          p.partials(1)[chunk * p.columns + j] * exp((p.partials(0)[chunk * p.columns + j] - top) / epsilon);
    }
    const double hard = -(top + epsilon * log(sum));
    const double old = p.g[j];
    p.column_value(kError)[j] =
        p.b[j] > 0 ? p.b[j] * fabs(exp((old - hard) / epsilon) - wanted(old, rho)) : 0;
    const double fresh = factor * hard;
    p.g[j] = omega > 1 && p.b[j] > 0 ? over_relaxed(old, fresh, epsilon, omega) : fresh;
  }
}

/// Whether some potential of the start is not 0; the same in every warp.
template <class T>
VOXOT_DEVICE bool has_start(const Problem<T>& p) {
  bool found = false;
  for (int j = static_cast<int>(simt::lane()); j < p.columns; j += 32) found = found || p.g[j] != 0;
  return simt::any(found);
}

/// The L1 error in passing, the same in every lane of every warp.
template <class T>
VOXOT_DEVICE double passing_error(const Problem<T>& p, int lane) {
  return ordered_sum(p.row_value(kRowError), p.rows, lane) +
         ordered_sum(p.column_value(kError), p.columns, lane);
}

// --- from one iteration to the next ---

inline constexpr double kStageError = 0.05;   // where a stage of the ε-scaling stops, as a share of the mass
inline constexpr int kStageIterations = 100;  // at most
inline constexpr double kPassingMargin = 0.98;  // the error in passing is rounded as the costs are
inline constexpr double kTighter = 0.7;         // where the certificate's error is larger all the same

struct Progress {
  double epsilon = 0;
  double final_epsilon = 0;
  double target = 0;  // error in passing to stop at
  std::int64_t iterations = 0;
  std::int64_t stage_end = 0;
  bool in_stage = false;
  bool symmetric = false;
  bool done = false;
  double omega = 1;  // of the next iteration: the first of a stage is a plain one
};

/// `started`: there is a start, which a large ε would forget.
VOXOT_DEVICE Progress begin(const SinkhornParams& params, const Totals& totals, bool started) {
  Progress now;
  now.final_epsilon = absolute_epsilon(params, totals.mean_cost, totals.largest_cost);
  now.done = !(now.final_epsilon > 0);
  now.target = kPassingMargin * params.tolerance;
  now.symmetric = params.symmetric;
  now.in_stage = !params.symmetric && params.scaling > 0 && !started &&
                 totals.largest_cost * params.scaling > now.final_epsilon;
  now.epsilon = now.in_stage ? totals.largest_cost : now.final_epsilon;
  now.stage_end = kStageIterations;
  return now;
}

VOXOT_DEVICE void advance(Progress& now, const SinkhornParams& params, const Totals& totals, double error) {
  ++now.iterations;
  const double share = error / (totals.mass_a < totals.mass_b ? totals.mass_b : totals.mass_a);
  const bool last = now.iterations >= params.max_iterations;
  now.done = last || (!now.in_stage && share <= now.target);
  now.omega = params.over_relaxation;
  if (!now.in_stage || !(share <= kStageError || now.iterations >= now.stage_end || last)) return;
  now.omega = 1;
  now.epsilon *= params.scaling;
  now.stage_end = now.iterations + kStageIterations;
  now.in_stage = !last && now.epsilon * params.scaling > now.final_epsilon;
  if (!now.in_stage) now.epsilon = now.final_epsilon;
}

/// After a certificate: goes on to a smaller error where the two disagree, by the alternating update.
VOXOT_DEVICE void settle(Progress& now, const SinkhornParams& params, SinkhornStatus& status) {
  status.iterations = now.iterations;
  const bool refused = !(now.final_epsilon > 0);
  if (refused) {
    status.marginal_error = std::numeric_limits<double>::quiet_NaN();
    status.converged = false;
  }
  now.done = refused || status.converged || now.iterations >= params.max_iterations;
  now.target *= kTighter;
  now.omega = 1;
  now.symmetric = false;
}

}  // namespace voxot::cuda::sinkhorn
