// Squared distances by products about an origin amid the points (centred_products.h), a tile of rows by a
// block of columns at a time.
#include "kernels/pairwise_cost.h"

#include <omp.h>

#include <algorithm>
#include <limits>

#include "kernels/cpu/aligned.h"
#include "kernels/cpu/transport/centred_products.h"
#include "kernels/cpu/transport/cost_tile.h"
#include "kernels/sizes.h"

namespace voxot {
namespace cpu {
namespace {

constexpr std::int64_t kColumns = 256;  // points of y in a block: their sums stay in the second cache
constexpr std::int64_t kFew = 8;  // dimensions for which the difference itself is cheaper than a product
/// Below this share of ‖x‖² + ‖y‖² the fp32 product, whose error is some 1e-7 of it, leaves too few digits.
constexpr double kCancelled = 1e-3;
constexpr double kLeastSquare = 1e-200;  // of a vector whose angles are measured; and 1/this, the largest

/// 1/‖v‖; 0 of a zero vector, NaN where ‖v‖² leaves double so far behind that angles lose digits.
template <class T>
double inverse_norm(const T* v, std::int64_t count) {
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t k = 0; k < count; ++k) sum += static_cast<double>(v[k]) * static_cast<double>(v[k]);
  if (sum > kLeastSquare && sum < 1 / kLeastSquare) return 1 / std::sqrt(sum);
  const bool zero = std::all_of(v, v + count, [](T value) { return value == 0; });
  return zero ? 0 : std::numeric_limits<double>::quiet_NaN();
}

template <class T>
void normalise(const T* v, double inverse, std::int64_t count, T* to) {
#pragma omp simd
  for (std::int64_t k = 0; k < count; ++k) to[k] = static_cast<T>(static_cast<double>(v[k]) * inverse);
}

/// The cosine cost of vectors that are nearly parallel, from the part of their difference that lies across
/// them. Far from the origin the difference is exact where unit vectors are rounded.
template <class T>
double near_cosine(const T* a, double inverse_a, const T* b, double inverse_b, std::int64_t count) {
  const double ratio = inverse_b / inverse_a;  // ‖a‖/‖b‖
  const double scale = ratio > 0.5 && ratio < 2 ? 1 : ratio;
  const auto difference = [&](std::int64_t k) {
    return static_cast<double>(a[k]) - scale * static_cast<double>(b[k]);
  };
  double along = 0;
#pragma omp simd reduction(+ : along)
  for (std::int64_t k = 0; k < count; ++k) along += difference(k) * static_cast<double>(b[k]);
  along *= inverse_b * inverse_b;
  double across = 0;
#pragma omp simd reduction(+ : across)
  for (std::int64_t k = 0; k < count; ++k) {
    const double rest = difference(k) - along * static_cast<double>(b[k]);
    across += rest * rest;
  }
  const double sine_squared = across * inverse_a * inverse_a;
  return sine_squared / (1 + std::sqrt(std::max(0.0, 1 - sine_squared)));
}

}  // namespace

template <class T>
CostTiles<T>::CostTiles(const PairwiseCostParams& p, const T* x, const T* y) : p_(p), x_(x), y_(y) {
  if (p.kind != GroundCost::cosine) return;
  inverse_norm_.resize(to_size(p.columns));
  unit_.resize(to_size(p.columns * p.dimension));
  for (std::int64_t j = 0; j < p.columns; ++j) {
    const T* point = y + j * p.dimension;
    const double inverse = inverse_norm(point, p.dimension);
    inverse_norm_[to_size(j)] = inverse;
    normalise(point, inverse, p.dimension, unit_.data() + j * p.dimension);
  }
}

template <class T>
T CostTiles<T>::difference(const T* a, const T* b) const {
  T sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t k = 0; k < p_.dimension; ++k) {
    const T d = a[k] - b[k];
    sum += d * d;
  }
  return sum;
}

template <class T>
void CostTiles<T>::direct(std::int64_t first, std::int64_t count, T* out) const {
  const T scale = static_cast<T>(p_.scale());
  const std::int64_t d = p_.dimension;
  // One dimension after another, so that the columns fill the vectors.
  static thread_local AlignedScratch<T> buffer;
  T* const packed = buffer.get(d * p_.columns);
  for (std::int64_t j = 0; j < p_.columns; ++j) {
    for (std::int64_t k = 0; k < d; ++k) packed[k * p_.columns + j] = y_[j * d + k];
  }
  for (std::int64_t i = 0; i < count; ++i) {
    T* row = out + i * p_.columns;
    std::fill_n(row, p_.columns, T{0});
    for (std::int64_t k = 0; k < d; ++k) {
      const T value = x_[(first + i) * d + k];
      const T* column = packed + k * p_.columns;
#pragma omp simd
      for (std::int64_t j = 0; j < p_.columns; ++j)
        row[j] += (value - column[j]) * (value - column[j]) * scale;
    }
  }
}

template <class T>
void CostTiles<T>::squared(std::int64_t first, std::int64_t count, T* out) const {
  const std::int64_t d = p_.dimension;
  for (std::int64_t j = 0; j < p_.columns; j += kColumns) {
    const std::int64_t columns = std::min(kColumns, p_.columns - j);
    const CentredProducts<T> sums = centred_products<T>({x_ + first * d, count}, {y_ + j * d, columns}, d);
    for (std::int64_t i = 0; i < count; ++i) {
      finish(first + i, j, columns, sums.x_squares[i], sums.y_squares, sums.products + i * sums.pitch,
             out + i * p_.columns + j);
    }
  }
}

template <class T>
void CostTiles<T>::finish(std::int64_t i, std::int64_t j, std::int64_t count, T square, const T* others,
                          const T* products, T* out) const {
  const T scale = static_cast<T>(p_.scale());
  T worst = 1;  // the least that is left above the cancelled share
#pragma omp simd reduction(min : worst)
  for (std::int64_t k = 0; k < count; ++k) {
    const T norms = square + others[k];
    const T c = norms - 2 * products[k];
    worst = std::min(worst, c - static_cast<T>(kCancelled) * norms);
    out[k] = c;
  }
  if (worst <= 0) {
    for (std::int64_t k = 0; k < count; ++k) {
      if (out[k] > static_cast<T>(kCancelled) * (square + others[k])) continue;
      out[k] = difference(x_ + i * p_.dimension, y_ + (j + k) * p_.dimension);
    }
  }
#pragma omp simd
  for (std::int64_t k = 0; k < count; ++k) out[k] *= scale;
}

template <class T>
void CostTiles<T>::cosine(std::int64_t first, std::int64_t count, T* out) const {
  const std::int64_t d = p_.dimension;
  const std::int64_t m = p_.columns;
  static thread_local AlignedScratch<T> buffer;
  static thread_local AlignedScratch<double> norms;
  T* const unit = buffer.get(count * d);
  double* const inverse = norms.get(count);
  for (std::int64_t i = 0; i < count; ++i) {
    inverse[i] = inverse_norm(x_ + (first + i) * d, d);
    normalise(x_ + (first + i) * d, inverse[i], d, unit + i * d);
  }
  gemm_tile(count, m, d, T{1}, {unit, d}, false, {unit_.data(), d}, true, T{0}, {out, m});
  for (std::int64_t i = 0; i < count; ++i) {
    T* row = out + i * m;
    for (std::int64_t j = 0; j < m; ++j) {
      T c = 1 - row[j];
      if (c < static_cast<T>(2 * kCancelled)) {
        c = static_cast<T>(
            near_cosine(x_ + (first + i) * d, inverse[i], y_ + j * d, inverse_norm_[to_size(j)], d));
      }
      row[j] = std::min(c, T{2});
    }
  }
}

template <class T>
void CostTiles<T>::rows(std::int64_t first, std::int64_t count, T* out) const {
  if (p_.kind == GroundCost::cosine) return cosine(first, count, out);
  if (p_.dimension <= kFew) return direct(first, count, out);
  squared(first, count, out);
}

template class CostTiles<float>;
template class CostTiles<double>;

}  // namespace cpu

namespace kernels {
namespace {

constexpr std::int64_t kTile = 128;  // rows; fixed, so that neither batch nor threads change a bit

/// Copies what is above the diagonal below it: both are the same distance, each with a rounding of its own.
template <class T>
void mirror(std::int64_t n, T* cost) {
  for (std::int64_t i = 1; i < n; ++i) {
    for (std::int64_t j = 0; j < i; ++j) cost[i * n + j] = cost[j * n + i];
  }
}

template <class T>
void costs(const PairwiseCostParams& p, const T* x, const T* y, T* cost) {
  const std::int64_t tiles = (p.rows + kTile - 1) / kTile;
  const bool own = x == y && p.rows == p.columns;
  const auto tile = [&](const cpu::CostTiles<T>& problem, std::int64_t b, std::int64_t t) {
    const std::int64_t first = t * kTile;
    problem.rows(first, std::min(kTile, p.rows - first), cost + (b * p.rows + first) * p.columns);
  };
  const auto problem_of = [&](std::int64_t b) {
    return cpu::CostTiles<T>(p, x + b * p.rows * p.dimension, y + b * p.columns * p.dimension);
  };
  if (p.batch >= omp_get_max_threads()) {
#pragma omp parallel for schedule(dynamic)
    for (std::int64_t b = 0; b < p.batch; ++b) {
      const cpu::CostTiles<T> problem = problem_of(b);
      for (std::int64_t t = 0; t < tiles; ++t) tile(problem, b, t);
      if (own) mirror(p.rows, cost + b * p.rows * p.rows);
    }
    return;
  }
  for (std::int64_t b = 0; b < p.batch; ++b) {
    const cpu::CostTiles<T> problem = problem_of(b);
#pragma omp parallel for schedule(dynamic)
    for (std::int64_t t = 0; t < tiles; ++t) tile(problem, b, t);
    if (own) mirror(p.rows, cost + b * p.rows * p.rows);
  }
}

void run(const Stream&, DType dtype, const PairwiseCostParams& p, const void* x, const void* y, void* cost) {
  p.validate();
  VOXOT_CHECK(dtype != DType::bf16, "pairwise_cost: features in bf16; expected fp32 or fp64");
  if (dtype == DType::f64) {
    return costs(p, static_cast<const double*>(x), static_cast<const double*>(y), static_cast<double*>(cost));
  }
  costs(p, static_cast<const float*>(x), static_cast<const float*>(y), static_cast<float*>(cost));
}

const Implement registered{pairwise_cost, Device::cpu, run};

}  // namespace
}  // namespace kernels
}  // namespace voxot
