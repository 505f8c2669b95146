// Costs by matrix products over panels of at most kPanel dimensions: a panel of centred features stays in the
// second cache between the subtraction and the product, so the features are read from memory once.
#include "kernels/pairwise_cost.h"

#include <omp.h>

#include <algorithm>
#include <array>

#include "kernels/cpu/aligned.h"
#include "kernels/cpu/cost_tile.h"
#include "kernels/cpu/dot_tile.h"

namespace voxot {
namespace cpu {
namespace {

constexpr std::int64_t kPanel = 512;    // dimensions
constexpr std::int64_t kColumns = 256;  // points of y that are centred at a time
constexpr std::int64_t kFold = 256;     // dimensions from which products are folded vectors
constexpr std::int64_t kFew = 8;  // dimensions for which the difference itself is cheaper than a product
/// Below this share of ‖x‖² + ‖y‖² the fp32 product, whose error is some 1e-7 of it, leaves too few digits.
constexpr double kCancelled = 1e-3;

template <class T>
T* scratch(std::size_t which, std::int64_t count) {
  static thread_local std::array<AlignedScratch<T>, 4> buffers;
  return buffers[which].get(count);
}

/// ‖v‖²
template <class T>
double square_sum(const T* v, std::int64_t count) {
  double total = 0;
  for (std::int64_t first = 0; first < count; first += kPanel) {
    const std::int64_t last = std::min(first + kPanel, count);
    T sum = 0;
#pragma omp simd reduction(+ : sum)
    for (std::int64_t k = first; k < last; ++k) sum += v[k] * v[k];
    total += static_cast<double>(sum);
  }
  return total;
}

/// mean += share·Σ rows
template <class T>
void add_rows(const T* from, std::int64_t stride, std::int64_t count, std::int64_t panel, T share, T* mean) {
  for (std::int64_t i = 0; i < count; ++i) {
#pragma omp simd
    for (std::int64_t k = 0; k < panel; ++k) mean[k] += share * from[i * stride + k];
  }
}

/// to [count, width] ← rows of `from` less the mean, 0 beyond the panel; squares[i] += ‖·‖².
template <class T>
void centre(const T* from, std::int64_t stride, std::int64_t count, std::int64_t panel, const T* mean, T* to,
            std::int64_t width, T* squares) {
  for (std::int64_t i = 0; i < count; ++i) {
    const T* row = from + i * stride;
    T* out = to + i * width;
    T sum = 0;
#pragma omp simd reduction(+ : sum)
    for (std::int64_t k = 0; k < panel; ++k) {
      const T d = row[k] - mean[k];
      out[k] = d;
      sum += d * d;
    }
    std::fill(out + panel, out + width, T{0});
    squares[i] += sum;
  }
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
  T* const packed = scratch<T>(0, d * p_.columns);
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
  const std::int64_t m = p_.columns;
  const std::int64_t most = std::min(kPanel, (d + kLanes<T> - 1) / kLanes<T> * kLanes<T>);
  // All of y at once would be as large as y: a block of columns at a time.
  const std::int64_t block = std::min<std::int64_t>(m, kColumns);
  T* const left = scratch<T>(0, count * most);
  T* const right = scratch<T>(1, block * most);
  T* const squares = scratch<T>(2, count + m);
  T* const mean = scratch<T>(3, most);
  std::fill_n(squares, count + m, T{0});
  std::fill_n(out, count * m, T{0});
  for (std::int64_t k = 0; k < d; k += kPanel) {
    const std::int64_t panel = std::min(kPanel, d - k);
    const std::int64_t width = (panel + kLanes<T> - 1) / kLanes<T> * kLanes<T>;
    // Any origin gives the same distances; one amid the points loses the fewest digits.
    const T share = static_cast<T>(1.0 / static_cast<double>(count + block));
    std::fill_n(mean, panel, T{0});
    add_rows(x_ + first * d + k, d, count, panel, share, mean);
    add_rows(y_ + k, d, block, panel, share, mean);
    centre(x_ + first * d + k, d, count, panel, mean, left, width, squares);
    for (std::int64_t j = 0; j < m; j += block) {
      const std::int64_t columns = std::min(block, m - j);
      centre(y_ + j * d + k, d, columns, panel, mean, right, width, squares + count + j);
      if (panel >= kFold) {
        dot_tile(count, columns, width, left, right, T{-2}, out + j, m);
      } else {
        gemm_tile(count, columns, width, T{-2}, {left, width}, false, {right, width}, true, T{1},
                  {out + j, m});
      }
    }
  }
  for (std::int64_t i = 0; i < count; ++i) finish(first + i, squares[i], squares + count, out + i * m);
}

template <class T>
void CostTiles<T>::finish(std::int64_t i, T square, const T* others, T* row) const {
  const std::int64_t m = p_.columns;
  const T scale = static_cast<T>(p_.scale());
  T worst = 1;  // the least that is left above the cancelled share
#pragma omp simd reduction(min : worst)
  for (std::int64_t j = 0; j < m; ++j) {
    const T norms = square + others[j];
    const T c = norms + row[j];
    worst = std::min(worst, c - static_cast<T>(kCancelled) * norms);
    row[j] = c;
  }
  if (worst <= 0) {
    for (std::int64_t j = 0; j < m; ++j) {
      if (row[j] > static_cast<T>(kCancelled) * (square + others[j])) continue;
      row[j] = difference(x_ + i * p_.dimension, T{1}, y_ + j * p_.dimension, T{1});
    }
  }
#pragma omp simd
  for (std::int64_t j = 0; j < m; ++j) row[j] *= scale;
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

template <class T>
void costs(const PairwiseCostParams& p, const T* x, const T* y, T* cost) {
  const std::int64_t tiles = (p.rows + kTile - 1) / kTile;
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
    }
    return;
  }
  for (std::int64_t b = 0; b < p.batch; ++b) {
    const cpu::CostTiles<T> problem = problem_of(b);
#pragma omp parallel for schedule(dynamic)
    for (std::int64_t t = 0; t < tiles; ++t) tile(problem, b, t);
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
