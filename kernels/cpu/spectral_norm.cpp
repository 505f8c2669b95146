#include "kernels/spectral_norm.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/cpu/scalar.h"
#include "kernels/sizes.h"

namespace voxot::kernels {
namespace {

using namespace cpu;

constexpr std::int64_t kTile = 256;  // columns whose sums stay in the first-level cache

bool many(const SpectralNormParams& p) { return p.rows * p.columns > kParallelGrain; }

/// sums[r] = Σ_c of term(r, c)
template <class Term>
void sum_rows(const SpectralNormParams& p, double* sums, Term term) {
#pragma omp parallel for schedule(static) if (many(p))
  for (std::int64_t r = 0; r < p.rows; ++r) {
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (std::int64_t c = 0; c < p.columns; ++c) sum += term(r, c);
    sums[r] = sum;
  }
}

/// sums = W·v
template <class F>
void times(const SpectralNormParams& p, const F* w, const F* v, double* sums) {
  const std::int64_t columns = p.columns;
  sum_rows(p, sums, [=](std::int64_t r, std::int64_t c) {
    return static_cast<double>(w[r * columns + c]) * static_cast<double>(v[c]);
  });
}

/// sums = Wᵀ·u
template <class F>
void transposed_times(const SpectralNormParams& p, const F* w, const F* u, double* sums) {
#pragma omp parallel for schedule(static) if (many(p))
  for (std::int64_t first = 0; first < p.columns; first += kTile) {
    const std::int64_t last = std::min(first + kTile, p.columns);
    std::fill(sums + first, sums + last, 0.0);
    for (std::int64_t r = 0; r < p.rows; ++r) {
      const auto factor = static_cast<double>(u[r]);
      const F* const row = w + r * p.columns;
#pragma omp simd
      for (std::int64_t c = first; c < last; ++c) sums[c] += factor * static_cast<double>(row[c]);
    }
  }
}

/// x = sums/max(‖sums‖, ε)
template <class F>
void normalise(std::int64_t count, const double* sums, double epsilon, F* x) {
  double squares = 0;
  for (std::int64_t i = 0; i < count; ++i) squares += sums[i] * sums[i];
  const double norm = std::max(std::sqrt(squares), epsilon);
  for (std::int64_t i = 0; i < count; ++i) x[i] = static_cast<F>(sums[i] / norm);
}

/// Calls body.operator()<F>(sums), with memory for one sum of each row or column.
template <class Body>
void with_sums(DType dtype, const SpectralNormParams& p, Body body) {
  VOXOT_CHECK(dtype != DType::bf16, "spectral_norm: weights are fp32 or fp64");
  static thread_local std::vector<double> memory;
  memory.resize(to_size(std::max(p.rows, p.columns)));
  double* const sums = memory.data();
  if (dtype == DType::f64) return body.template operator()<double>(sums);
  body.template operator()<float>(sums);
}

void iterate(const Stream&, DType dtype, const SpectralNormParams& p, const void* weight, void* left,
             void* right) {
  with_sums(dtype, p, [&]<class F>(double* sums) {
    const F* const w = static_cast<const F*>(weight);
    F* const u = static_cast<F*>(left);
    F* const v = static_cast<F*>(right);
    times(p, w, v, sums);
    normalise(p.rows, sums, p.epsilon, u);
    transposed_times(p, w, u, sums);
    normalise(p.columns, sums, p.epsilon, v);
  });
}

void forward(const Stream&, DType dtype, const SpectralNormParams& p, const SpectralNormForward& f) {
  with_sums(dtype, p, [&]<class F>(double* sums) {
    const F* const w = static_cast<const F*>(f.weight);
    const F* const u = static_cast<const F*>(f.u);
    times(p, w, static_cast<const F*>(f.v), sums);
    double sum = 0;
    for (std::int64_t r = 0; r < p.rows; ++r) sum += static_cast<double>(u[r]) * sums[r];
    const F divisor = static_cast<F>(sum);
    *static_cast<F*>(f.sigma) = divisor;
    F* const y = static_cast<F*>(f.y);
    each(p.rows * p.columns, [=](std::int64_t i) { y[i] = w[i] / divisor; });
  });
}

void backward(const Stream&, DType dtype, const SpectralNormParams& p, const SpectralNormGradients& q) {
  with_sums(dtype, p, [&]<class F>(double* sums) {
    const F* const y = static_cast<const F*>(q.y);
    const F* const u = static_cast<const F*>(q.u);
    const F* const v = static_cast<const F*>(q.v);
    const F* const g = static_cast<const F*>(q.grad_y);
    F* const gw = static_cast<F*>(q.grad_weight);
    const F divisor = *static_cast<const F*>(q.sigma);
    const std::int64_t columns = p.columns;
    sum_rows(p, sums, [=](std::int64_t r, std::int64_t c) {
      return static_cast<double>(g[r * columns + c]) * static_cast<double>(y[r * columns + c]);
    });
    double product = 0;
    for (std::int64_t r = 0; r < p.rows; ++r) product += sums[r];
    with_write(q.write, [&]<Write W>() {
#pragma omp parallel for schedule(static) if (many(p))
      for (std::int64_t r = 0; r < p.rows; ++r) {
        const F factor = static_cast<F>(product) * u[r];
        for (std::int64_t c = 0; c < columns; ++c)
          put<W>(gw[r * columns + c], (g[r * columns + c] - factor * v[c]) / divisor);
      }
    });
  });
}

const Implement registered[] = {
    {spectral_norm_iterate, Device::cpu, iterate},
    {spectral_norm_forward, Device::cpu, forward},
    {spectral_norm_backward, Device::cpu, backward},
};

}  // namespace
}  // namespace voxot::kernels
