// Gradients of cost matrices with respect to the points, W the gradient of the costs:
//   squared   ∂x_i = s·(x_i·Σ_j W_ij − Σ_j W_ij·y_j), s twice the scale of ‖x − y‖²
//   cosine    ∂x_i = −(v − (x̂_i·v)·x̂_i)/‖x_i‖, v = Σ_j W_ij·ŷ_j
// and the same for y with Wᵀ. The sums over the other set are matrix products.
#include <algorithm>
#include <vector>

#include "kernels/cpu/gemm_tile.h"
#include "kernels/cpu/scalar.h"
#include "kernels/pairwise_cost.h"
#include "kernels/sizes.h"

namespace voxot::kernels {
namespace {

using namespace cpu;

/// One set's side of a problem: its points, the other's, W or its transpose.
template <class T>
struct Side {
  std::int64_t count, others, dimension;
  const T* points;
  const T* other_points;
  const T* weights;
  bool transposed;  // W is others × count

  [[nodiscard]] T weight_sum(std::int64_t i) const {
    const T* at = transposed ? weights + i : weights + i * others;
    const std::int64_t step = transposed ? count : 1;
    double sum = 0;
    for (std::int64_t j = 0; j < others; ++j) sum += static_cast<double>(at[j * step]);
    return static_cast<T>(sum);
  }
  /// out [count, dimension] ← factor·W·values + keep·out
  void product(T factor, const T* values, T keep, T* out) const {
    gemm_tile(count, dimension, others, factor, {weights, transposed ? count : others}, transposed,
              {values, dimension}, false, keep, {out, dimension});
  }
};

template <class T>
void squared_side(const Side<T>& s, T factor, T* grad, Write write) {
  s.product(-factor, s.other_points, write == Write::accumulate ? T{1} : T{0}, grad);
  for (std::int64_t i = 0; i < s.count; ++i) {
    const T own = factor * s.weight_sum(i);
    const T* point = s.points + i * s.dimension;
    T* to = grad + i * s.dimension;
#pragma omp simd
    for (std::int64_t k = 0; k < s.dimension; ++k) to[k] += own * point[k];
  }
}

template <class T>
T inverse_norm(const T* v, std::int64_t count) {
  double square = 0;
  for (std::int64_t k = 0; k < count; ++k) square += static_cast<double>(v[k]) * static_cast<double>(v[k]);
  return square > 0 ? static_cast<T>(1 / std::sqrt(square)) : T{0};
}

template <class T>
void cosine_side(const Side<T>& s, T* grad, Write write) {
  std::vector<T> unit(s.other_points, s.other_points + s.others * s.dimension);
  for (std::int64_t j = 0; j < s.others; ++j) {
    T* row = unit.data() + j * s.dimension;
    const T inverse = inverse_norm(row, s.dimension);
    for (std::int64_t k = 0; k < s.dimension; ++k) row[k] *= inverse;
  }
  std::vector<T> sums(to_size(s.count * s.dimension));
  s.product(T{1}, unit.data(), T{0}, sums.data());
  with_write(write, [&]<Write W>() {
    for (std::int64_t i = 0; i < s.count; ++i) {
      const T* point = s.points + i * s.dimension;
      const T* v = sums.data() + i * s.dimension;
      const T inverse = inverse_norm(point, s.dimension);
      T along = 0;
      for (std::int64_t k = 0; k < s.dimension; ++k) along += point[k] * inverse * v[k];
      for (std::int64_t k = 0; k < s.dimension; ++k) {
        put<W>(grad[i * s.dimension + k], -inverse * (v[k] - along * point[k] * inverse));
      }
    }
  });
}

template <class T>
void side(const PairwiseCostParams& p, const Side<T>& s, T* grad, Write write) {
  if (p.kind == GroundCost::cosine) return cosine_side(s, grad, write);
  squared_side(s, static_cast<T>(2 * p.scale()), grad, write);
}

template <class T>
void backward(const PairwiseCostParams& p, const PairwiseCostGradients& q) {
  T* const grad_x = static_cast<T*>(q.grad_x);
  T* const grad_y = static_cast<T*>(q.grad_y);
#pragma omp parallel for schedule(static) if (p.batch > 1)
  for (std::int64_t b = 0; b < p.batch; ++b) {
    const T* xs = static_cast<const T*>(q.x) + b * p.rows * p.dimension;
    const T* ys = static_cast<const T*>(q.y) + b * p.columns * p.dimension;
    const T* w = static_cast<const T*>(q.grad_cost) + b * p.rows * p.columns;
    if (grad_x != nullptr) {
      side<T>(p, {p.rows, p.columns, p.dimension, xs, ys, w, false}, grad_x + b * p.rows * p.dimension,
              q.grad_x_write);
    }
    if (grad_y != nullptr) {
      side<T>(p, {p.columns, p.rows, p.dimension, ys, xs, w, true}, grad_y + b * p.columns * p.dimension,
              q.grad_y_write);
    }
  }
}

void run(const Stream&, DType dtype, const PairwiseCostParams& p, const PairwiseCostGradients& q) {
  p.validate();
  VOXOT_CHECK(dtype != DType::bf16, "pairwise_cost_backward: features in bf16; expected fp32 or fp64");
  if (dtype == DType::f64) return backward<double>(p, q);
  backward<float>(p, q);
}

const Implement registered{pairwise_cost_backward, Device::cpu, run};

}  // namespace
}  // namespace voxot::kernels
