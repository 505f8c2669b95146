// Costs by matrix products over panels of at most kPanel dimensions: a panel of centred features stays in the
// second cache between the subtraction and the product, so the features are read from memory once or twice.
#include "kernels/pairwise_cost.h"

#include <omp.h>

#include <algorithm>

#include "kernels/cpu/cost_tile.h"

namespace voxot {
namespace cpu {
namespace {

constexpr std::int64_t kPanel = 1024;
constexpr std::int64_t kFew = 8;  // dimensions for which the difference itself is cheaper than a product
/// Below this share of ‖x‖² + ‖y‖² the fp32 product, whose error is some 1e-7 of it, leaves too few digits.
constexpr double kCancelled = 1e-3;

template <class T>
std::vector<T>& scratch(int which, std::int64_t count) {
  static thread_local std::vector<T> buffers[3];
  std::vector<T>& buffer = buffers[which];
  if (static_cast<std::int64_t>(buffer.size()) < count) buffer.resize(static_cast<std::size_t>(count));
  return buffer;
}

/// ‖v − origin‖²
template <class T>
double square_sum(const T* v, const T* origin, std::int64_t count) {
  double total = 0;
  for (std::int64_t first = 0; first < count; first += kPanel) {
    const std::int64_t last = std::min(first + kPanel, count);
    T sum = 0;
#pragma omp simd reduction(+ : sum)
    for (std::int64_t k = first; k < last; ++k) sum += (v[k] - origin[k]) * (v[k] - origin[k]);
    total += static_cast<double>(sum);
  }
  return total;
}

/// to [count, panel] ← rows of `from` less the mean; squares[i] += ‖·‖² where wanted.
template <class T>
void centre(const T* from, std::int64_t stride, std::int64_t count, std::int64_t panel, const T* mean, T* to,
            T* squares) {
  for (std::int64_t i = 0; i < count; ++i) {
    const T* row = from + i * stride;
    T* out = to + i * panel;
    T sum = 0;
#pragma omp simd reduction(+ : sum)
    for (std::int64_t k = 0; k < panel; ++k) {
      const T d = row[k] - mean[k];
      out[k] = d;
      sum += d * d;
    }
    if (squares != nullptr) squares[i] += sum;
  }
}

}  // namespace

template <class T>
CostTiles<T>::CostTiles(const PairwiseCostParams& p, const T* x, const T* y) : p_(p), x_(x), y_(y) {
  const std::int64_t d = p.dimension;
  y_square_.assign(static_cast<std::size_t>(p.columns), T{0});
  mean_.assign(static_cast<std::size_t>(d), T{0});
  if (p.kind == GroundCost::cosine) {
    for (std::int64_t j = 0; j < p.columns; ++j) {
      const double square = square_sum(y + j * d, mean_.data(), d);
      y_square_[static_cast<std::size_t>(j)] = square > 0 ? static_cast<T>(1 / std::sqrt(square)) : T{0};
    }
    return;
  }
  if (d <= kFew) return;
  const auto add = [&](const T* points, std::int64_t count) {
    const T share = static_cast<T>(1.0 / static_cast<double>(p.rows + p.columns));
    T* mean = mean_.data();
    for (std::int64_t i = 0; i < count; ++i) {
#pragma omp simd
      for (std::int64_t k = 0; k < d; ++k) mean[k] += share * points[i * d + k];
    }
  };
  add(x, p.rows);
  add(y, p.columns);
  for (std::int64_t j = 0; j < p.columns; ++j) {
    y_square_[static_cast<std::size_t>(j)] = static_cast<T>(square_sum(y + j * d, mean_.data(), d));
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
  std::vector<T>& packed = scratch<T>(0, d * p_.columns);
  for (std::int64_t j = 0; j < p_.columns; ++j) {
    for (std::int64_t k = 0; k < d; ++k) packed[static_cast<std::size_t>(k * p_.columns + j)] = y_[j * d + k];
  }
  for (std::int64_t i = 0; i < count; ++i) {
    T* row = out + i * p_.columns;
    std::fill_n(row, p_.columns, T{0});
    for (std::int64_t k = 0; k < d; ++k) {
      const T value = x_[(first + i) * d + k];
      const T* column = packed.data() + k * p_.columns;
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
  T* const squares = scratch<T>(2, count).data();
  std::fill_n(squares, count, T{0});
  T* const left = scratch<T>(0, count * std::min(d, kPanel)).data();
  // All of y at once would be as large as y: a block of columns at a time.
  const std::int64_t block = std::min<std::int64_t>(m, 256);
  T* const right = scratch<T>(1, block * std::min(d, kPanel)).data();
  for (std::int64_t k = 0; k < d; k += kPanel) {
    const std::int64_t panel = std::min(kPanel, d - k);
    const T* mean = mean_.data() + k;
    centre(x_ + first * d + k, d, count, panel, mean, left, squares);
    for (std::int64_t j = 0; j < m; j += block) {
      const std::int64_t width = std::min(block, m - j);
      centre<T>(y_ + j * d + k, d, width, panel, mean, right, nullptr);
      gemm_tile(count, width, panel, T{-2}, {left, panel}, false, {right, panel}, true, k == 0 ? T{0} : T{1},
                {out + j, m});
    }
  }
  const T scale = static_cast<T>(p_.scale());
  for (std::int64_t i = 0; i < count; ++i) {
    T* row = out + i * m;
    const T square = squares[i];
    const T* others = y_square_.data();
    T worst = 1;  // least share that is left
#pragma omp simd reduction(min : worst)
    for (std::int64_t j = 0; j < m; ++j) {
      const T norms = square + others[j];
      const T c = norms + row[j];
      worst = std::min(worst, c - static_cast<T>(kCancelled) * norms);
      row[j] = c;
    }
    if (worst <= 0) {
      for (std::int64_t j = 0; j < m; ++j) {
        if (row[j] <= static_cast<T>(kCancelled) * (square + others[j])) {
          row[j] = difference(x_ + (first + i) * d, T{1}, y_ + j * d, T{1});
        }
      }
    }
#pragma omp simd
    for (std::int64_t j = 0; j < m; ++j) row[j] *= scale;
  }
}

template <class T>
void CostTiles<T>::cosine(std::int64_t first, std::int64_t count, T* out) const {
  const std::int64_t d = p_.dimension;
  const std::int64_t m = p_.columns;
  gemm_tile(count, m, d, T{1}, {x_ + first * d, d}, false, {y_, d}, true, T{0}, {out, m});
  for (std::int64_t i = 0; i < count; ++i) {
    const T* point = x_ + (first + i) * d;
    const double square = square_sum(point, mean_.data(), d);
    const T inverse = square > 0 ? static_cast<T>(1 / std::sqrt(square)) : T{0};
    T* row = out + i * m;
    for (std::int64_t j = 0; j < m; ++j) {
      const T other = y_square_[static_cast<std::size_t>(j)];
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
