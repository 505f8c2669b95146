// Squared distances by products about an origin amid the points (centred_products.h), a tile of rows by a
// block of columns at a time.
#include "kernels/pairwise_cost.h"

#include <omp.h>

#include <algorithm>

#include "kernels/cpu/aligned.h"
#include "kernels/cpu/centred_products.h"
#include "kernels/cpu/cost_tile.h"

namespace voxot {
namespace cpu {
namespace {

constexpr std::int64_t kColumns = 256;  // points of y in a block: their sums stay in the second cache
constexpr std::int64_t kFew = 8;  // dimensions for which the difference itself is cheaper than a product
constexpr std::int64_t kSquareRun = 512;  // dimensions whose squares are added before double takes over
/// Below this share of ‖x‖² + ‖y‖² the fp32 product, whose error is some 1e-7 of it, leaves too few digits.
constexpr double kCancelled = 1e-3;

/// ‖v‖²
template <class T>
double square_sum(const T* v, std::int64_t count) {
  double total = 0;
  for (std::int64_t first = 0; first < count; first += kSquareRun) {
    const std::int64_t last = std::min(first + kSquareRun, count);
    T sum = 0;
#pragma omp simd reduction(+ : sum)
    for (std::int64_t k = first; k < last; ++k) sum += v[k] * v[k];
    total += static_cast<double>(sum);
  }
  return total;
}

}  // namespace

template <class T>
CostTiles<T>::CostTiles(const PairwiseCostParams& p, const T* x, const T* y) : p_(p), x_(x), y_(y) {
  if (p.kind != GroundCost::cosine) return;
  inverse_norm_.resize(static_cast<std::size_t>(p.columns));
  for (std::int64_t j = 0; j < p.columns; ++j) {
    const double square = square_sum(y + j * p.dimension, p.dimension);
    inverse_norm_[static_cast<std::size_t>(j)] = square > 0 ? static_cast<T>(1 / std::sqrt(square)) : T{0};
  }
}

template <class T>
T CostTiles<T>::difference(const T* a, T a_scale, const T* b, T b_scale) const {
  T sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t k = 0; k < p_.dimension; ++k) {
    const T d = a[k] * a_scale - b[k] * b_scale;
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
      out[k] = difference(x_ + i * p_.dimension, T{1}, y_ + (j + k) * p_.dimension, T{1});
    }
  }
#pragma omp simd
  for (std::int64_t k = 0; k < count; ++k) out[k] *= scale;
}

template <class T>
void CostTiles<T>::cosine(std::int64_t first, std::int64_t count, T* out) const {
  const std::int64_t d = p_.dimension;
  const std::int64_t m = p_.columns;
  gemm_tile(count, m, d, T{1}, {x_ + first * d, d}, false, {y_, d}, true, T{0}, {out, m});
  for (std::int64_t i = 0; i < count; ++i) {
    const T* point = x_ + (first + i) * d;
    const double square = square_sum(point, d);
    const T inverse = square > 0 ? static_cast<T>(1 / std::sqrt(square)) : T{0};
    T* row = out + i * m;
    for (std::int64_t j = 0; j < m; ++j) {
      const T other = inverse_norm_[static_cast<std::size_t>(j)];
      T c = 1 - row[j] * inverse * other;
      if (c < static_cast<T>(2 * kCancelled)) {
        c = T{0.5} * difference(point, inverse, y_ + j * d, other);
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

/// Below the diagonal what is above it: both are the same distance, each with a rounding of its own.
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
