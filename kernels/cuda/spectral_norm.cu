// kernels/spectral_norm.h. Products of the matrix with a vector, in double, into scratch memory; then one
// block that makes of them a unit vector or σ. The rest is ordered_sum.cuh and elementwise_map.cuh.
//
// Launches: a block of 256 threads for each row (W·v); a thread for each column (Wᵀ·u), which reads whole
// rows together with its neighbours; one block of 256 threads (norm, σ).
#include "kernels/spectral_norm.h"

#include <cmath>

#include "kernels/cuda/elementwise_map.cuh"
#include "kernels/cuda/ordered_sum.cuh"

namespace voxot::kernels {
namespace {

using namespace cuda;

constexpr unsigned kThreads = 256;
using WarpSums = double[kThreads / simt::kWarp];

/// Sum over a block of kThreads, in every thread.
VOXOT_DEVICE double block_sum(double value, WarpSums& of_warps) {
  value = simt::warp_sum(value);
  if (simt::lane() == 0) of_warps[simt::warp()] = value;
  simt::sync_block();
  double sum = 0;
  for (const double warp : of_warps) sum += warp;
  return sum;
}

template <class F>
VOXOT_KERNEL void VOXOT_LAUNCH_BOUNDS(kThreads, 1)
    row_products(std::int64_t columns, const F* w, const F* v, double* products) {
  VOXOT_SHARED(of_warps, WarpSums);
  const F* const row = w + simt::block_index().x * columns;
  double sum = 0;
  for (std::int64_t c = simt::thread_index().x; c < columns; c += kThreads)
    sum += static_cast<double>(row[c]) * static_cast<double>(v[c]);
  sum = block_sum(sum, of_warps);
  if (simt::thread_index().x == 0) products[simt::block_index().x] = sum;
}

template <class F>
VOXOT_KERNEL void VOXOT_LAUNCH_BOUNDS(kThreads, 1)
    column_products(SpectralNormParams p, const F* w, const F* u, double* products) {
  const std::int64_t c = simt::global_thread();
  if (c >= p.columns) return;
  double sum = 0;
  for (std::int64_t r = 0; r < p.rows; ++r)
    sum += static_cast<double>(u[r]) * static_cast<double>(w[r * p.columns + c]);
  products[c] = sum;
}

/// x ← products/max(‖products‖, ε); one block.
template <class F>
VOXOT_KERNEL void VOXOT_LAUNCH_BOUNDS(kThreads, 1)
    unit_vector(std::int64_t count, const double* products, double epsilon, F* x) {
  VOXOT_SHARED(of_warps, WarpSums);
  double squares = 0;
  for (std::int64_t i = simt::thread_index().x; i < count; i += kThreads)
    squares += products[i] * products[i];
  const double root = std::sqrt(block_sum(squares, of_warps));
  const double norm = root < epsilon ? epsilon : root;
  for (std::int64_t i = simt::thread_index().x; i < count; i += kThreads)
    x[i] = static_cast<F>(products[i] / norm);
}

/// σ ← Σ u·products; one block.
template <class F>
VOXOT_KERNEL void VOXOT_LAUNCH_BOUNDS(kThreads, 1)
    singular_value(std::int64_t rows, const F* u, const double* products, F* sigma) {
  VOXOT_SHARED(of_warps, WarpSums);
  double sum = 0;
  for (std::int64_t r = simt::thread_index().x; r < rows; r += kThreads)
    sum += static_cast<double>(u[r]) * products[r];
  sum = block_sum(sum, of_warps);
  if (simt::thread_index().x == 0) *sigma = static_cast<F>(sum);
}

template <class F>
struct Divide {
  const F* sigma;
  VOXOT_DEVICE F operator()(F w) const { return w / *sigma; }
};

struct Product {
  template <class F>
  VOXOT_DEVICE double operator()(std::int64_t, F a, F b) const {
    return static_cast<double>(a) * static_cast<double>(b);
  }
};

template <class F>
struct Gradient {
  const F* u;
  const F* v;
  const F* sigma;
  const double* product;  // ⟨grad_y, y⟩
  VOXOT_DEVICE F operator()(const Matrix::At& at, F g) const {
    return (g - static_cast<F>(*product) * u[at.row] * v[at.column]) / *sigma;
  }
};

/// Calls body.operator()<F>().
template <class Body>
void with_weights(DType dtype, Body body) {
  VOXOT_CHECK(dtype != DType::bf16, "spectral_norm: weights are fp32 or fp64");
  if (dtype == DType::f64) return body.template operator()<double>();
  body.template operator()<float>();
}

template <class F>
void times(const Stream& stream, const SpectralNormParams& p, const F* w, const F* v, double* products) {
  simt::launch({"spectral_norm_rows", {simt::blocks_for(p.rows, 1)}, {kThreads}, 0, stream}, row_products<F>,
               p.columns, w, v, products);
}

void iterate(const Stream& stream, DType dtype, const SpectralNormParams& p, const void* weight, void* left,
             void* right) {
  with_weights(dtype, [&]<class F>() {
    const F* const w = static_cast<const F*>(weight);
    F* const u = static_cast<F*>(left);
    F* const v = static_cast<F*>(right);
    double* const products = sum_scratch(std::max(p.rows, p.columns));
    times(stream, p, w, static_cast<const F*>(v), products);
    simt::launch({"spectral_norm_left", {1}, {kThreads}, 0, stream}, unit_vector<F>, p.rows,
                 static_cast<const double*>(products), p.epsilon, u);
    simt::launch({"spectral_norm_columns", {simt::blocks_for(p.columns, kThreads)}, {kThreads}, 0, stream},
                 column_products<F>, p, w, static_cast<const F*>(u), products);
    simt::launch({"spectral_norm_right", {1}, {kThreads}, 0, stream}, unit_vector<F>, p.columns,
                 static_cast<const double*>(products), p.epsilon, v);
  });
}

void forward(const Stream& stream, DType dtype, const SpectralNormParams& p, const SpectralNormForward& f) {
  with_weights(dtype, [&]<class F>() {
    const F* const w = static_cast<const F*>(f.weight);
    double* const products = sum_scratch(p.rows);
    times(stream, p, w, static_cast<const F*>(f.v), products);
    F* const divisor = static_cast<F*>(f.sigma);
    simt::launch({"spectral_norm_sigma", {1}, {kThreads}, 0, stream}, singular_value<F>, p.rows,
                 static_cast<const F*>(f.u), static_cast<const double*>(products), divisor);
    map<Write::overwrite>(stream, "spectral_norm_forward", p.rows * p.columns, Flat{}, Divide<F>{divisor},
                          static_cast<F*>(f.y), w);
  });
}

void backward(const Stream& stream, DType dtype, const SpectralNormParams& p,
              const SpectralNormGradients& q) {
  with_weights(dtype, [&]<class F>() {
    const F* const y = static_cast<const F*>(q.y);
    const F* const g = static_cast<const F*>(q.grad_y);
    const std::int64_t count = p.rows * p.columns;
    const SumPlan plan = plan_sum({1, count, 1}, g, y);
    double* const product = sum_scratch(1 + plan.partials());
    ordered_sum(stream, "spectral_norm_product", plan, product + 1, Product{},
                StoreSum<Write::overwrite, double>{product, 1}, g, y);
    const Gradient<F> f{static_cast<const F*>(q.u), static_cast<const F*>(q.v),
                        static_cast<const F*>(q.sigma), product};
    with_write(q.write, [&]<Write W>() {
      map<W>(stream, "spectral_norm_backward", count, Matrix{p.columns}, f, static_cast<F*>(q.grad_weight),
             g);
    });
  });
}

const Implement registered[] = {
    {spectral_norm_iterate, Device::cuda, iterate},
    {spectral_norm_forward, Device::cuda, forward},
    {spectral_norm_backward, Device::cuda, backward},
};

}  // namespace
}  // namespace voxot::kernels
