#include "kernels/activation.h"

#include <numeric>
#include <vector>

#include "kernels/cpu/activation_lanes.h"
#include "kernels/cpu/scalar.h"
#include "kernels/sizes.h"

namespace voxot::kernels {
namespace {

using namespace cpu;

void forward(const Stream&, DType dtype, Activation activation, std::int64_t count, const void* x, void* y) {
  with_type(dtype, [&]<class T>() {
    const T* in = static_cast<const T*>(x);
    T* out = static_cast<T*>(y);
    with_activation<Compute<T>>(activation, [&](auto functor) {
      const auto act = lanes_of(functor);
      each(count, [=](std::int64_t i) { store(out[i], act.value(load(in[i]))); });
    });
  });
}

void backward(const Stream&, DType dtype, const ActivationGradients& q) {
  with_type(dtype, [&]<class T>() {
    const T* s = static_cast<const T*>(q.saved);
    const T* gy = static_cast<const T*>(q.grad_y);
    T* gx = static_cast<T*>(q.grad_x);
    with_activation<Compute<T>>(q.activation, [&](auto functor) {
      const auto act = lanes_of(functor);
      with_write(q.write, [&]<Write W>() {
        each(q.count, [=](std::int64_t i) { put<W>(gx[i], act.gradient(load(s[i]), load(gy[i]))); });
      });
    });
  });
}

/// Calls row(r, slopes of r's channels) for every row, in parallel: one slope for all is spread to a row
/// first.
template <class F, class Row>
void with_slopes(const PreluParams& p, const F* slope, Row row) {
  std::vector<F> spread;
  if (p.slopes == 1) spread.assign(to_size(p.channels), slope[0]);
  const F* const slopes = p.slopes == 1 ? spread.data() : slope;
#pragma omp parallel for schedule(static) if (p.rows * p.channels > kParallelGrain)
  for (std::int64_t r = 0; r < p.rows; ++r) row(r, slopes);
}

void prelu_forward_cpu(const Stream&, DType dtype, const PreluParams& p, const void* x, const void* slope,
                       void* y) {
  with_type(dtype, [&]<class T>() {
    using F = Compute<T>;
    const std::int64_t channels = p.channels;
    with_slopes(p, static_cast<const F*>(slope), [=](std::int64_t r, const F* a) {
      const T* in = static_cast<const T*>(x) + r * channels;
      T* out = static_cast<T*>(y) + r * channels;
#pragma omp simd
      for (std::int64_t c = 0; c < channels; ++c) {
        const F v = load(in[c]);
        store(out[c], v * (v > 0 ? F{1} : a[c]));
      }
    });
  });
}

template <class T>
void prelu_slope_gradient(const PreluParams& p, const PreluGradients& q) {
  const std::int64_t channels = p.channels;
  std::vector<double> sums(to_size(channels), 0.0);
  double* const sum = sums.data();
  for (std::int64_t r = 0; r < p.rows; ++r) {
    const T* x = static_cast<const T*>(q.x) + r * channels;
    const T* g = static_cast<const T*>(q.grad_y) + r * channels;
#pragma omp simd
    for (std::int64_t c = 0; c < channels; ++c) {
      const auto v = load(x[c]);
      sum[c] += static_cast<double>(v > 0 ? Compute<T>{0} : v * load(g[c]));
    }
  }
  if (p.slopes == 1) sums.assign(1, std::accumulate(sums.begin(), sums.end(), 0.0));
  auto* const grad_slope = static_cast<Compute<T>*>(q.grad_slope);
  for (std::int64_t c = 0; c < p.slopes; ++c) {
    const auto value = static_cast<Compute<T>>(sums[to_size(c)]);
    grad_slope[c] = q.grad_slope_write == Write::accumulate ? grad_slope[c] + value : value;
  }
}

void prelu_backward_cpu(const Stream&, DType dtype, const PreluParams& p, const PreluGradients& q) {
  with_type(dtype, [&]<class T>() {
    using F = Compute<T>;
    if (q.grad_slope != nullptr) prelu_slope_gradient<T>(p, q);
    if (q.grad_x == nullptr) return;
    const std::int64_t channels = p.channels;
    const T* in = static_cast<const T*>(q.x);
    const T* gy = static_cast<const T*>(q.grad_y);
    T* gx = static_cast<T*>(q.grad_x);
    with_write(q.grad_x_write, [&]<Write W>() {
      with_slopes(p, static_cast<const F*>(q.slope), [=](std::int64_t r, const F* a) {
        const std::int64_t first = r * channels;
#pragma omp simd
        for (std::int64_t c = 0; c < channels; ++c) {
          const F v = load(in[first + c]);
          put<W>(gx[first + c], load(gy[first + c]) * (v > 0 ? F{1} : a[c]));
        }
      });
    });
  });
}

const Implement registered[] = {
    {activation_forward, Device::cpu, forward},
    {activation_backward, Device::cpu, backward},
    {kernels::prelu_forward, Device::cpu, prelu_forward_cpu},
    {kernels::prelu_backward, Device::cpu, prelu_backward_cpu},
};

}  // namespace
}  // namespace voxot::kernels
