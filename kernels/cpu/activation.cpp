#include "kernels/activation.h"

#include <numeric>
#include <vector>

#include "kernels/cpu/scalar.h"
#include "kernels/cpu/vector_math.h"

namespace voxot::kernels {
namespace {

using namespace cpu;

/// SiLU whose loops become vectors: calls of the C library's exp took half of a perceptron's step.
template <class F>
struct SiluLanes {
  F value(F x) const { return x / (F{1} + exp_lanes(-x)); }
  F gradient(F x, F g) const {
    const F share = F{1} / (F{1} + exp_lanes(-x));
    return g * (share * (F{1} + x * (F{1} - share)));
  }
};

/// The shared functor, or a form of it for vectors.
template <class Functor>
auto lanes_of(Functor functor) {
  if constexpr (Functor::kKind == ActivationKind::silu) {
    return SiluLanes<decltype(functor.slope)>{};
  } else {
    return functor;
  }
}

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

void backward(const Stream&, DType dtype, Activation activation, std::int64_t count, const void* saved,
              const void* grad_y, void* grad_x, Write write) {
  with_type(dtype, [&]<class T>() {
    const T* s = static_cast<const T*>(saved);
    const T* gy = static_cast<const T*>(grad_y);
    T* gx = static_cast<T*>(grad_x);
    with_activation<Compute<T>>(activation, [&](auto functor) {
      const auto act = lanes_of(functor);
      with_write(write, [&]<Write W>() {
        each(count, [=](std::int64_t i) { put<W>(gx[i], act.gradient(load(s[i]), load(gy[i]))); });
      });
    });
  });
}

/// Calls row(r, slopes of r's channels) for every row, in parallel: one slope for all is spread to a row
/// first.
template <class F, class Row>
void with_slopes(std::int64_t rows, std::int64_t channels, std::int64_t slope_count, const F* slope,
                 Row row) {
  std::vector<F> spread;
  if (slope_count == 1) spread.assign(static_cast<std::size_t>(channels), slope[0]);
  const F* const slopes = slope_count == 1 ? spread.data() : slope;
#pragma omp parallel for schedule(static) if (rows * channels > kParallelGrain)
  for (std::int64_t r = 0; r < rows; ++r) row(r, slopes);
}

void prelu_forward_cpu(const Stream&, DType dtype, std::int64_t rows, std::int64_t channels,
                       std::int64_t slope_count, const void* x, const void* slope, void* y) {
  with_type(dtype, [&]<class T>() {
    using F = Compute<T>;
    with_slopes(rows, channels, slope_count, static_cast<const F*>(slope), [=](std::int64_t r, const F* a) {
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
void prelu_slope_gradient(std::int64_t rows, std::int64_t channels, std::int64_t slope_count, const T* in,
                          const T* gy, Compute<T>* grad_slope, Write write) {
  std::vector<double> sums(static_cast<std::size_t>(channels), 0.0);
  double* const sum = sums.data();
  for (std::int64_t r = 0; r < rows; ++r) {
    const T* x = in + r * channels;
    const T* g = gy + r * channels;
#pragma omp simd
    for (std::int64_t c = 0; c < channels; ++c) {
      const auto v = load(x[c]);
      sum[c] += static_cast<double>(v > 0 ? Compute<T>{0} : v * load(g[c]));
    }
  }
  if (slope_count == 1) sums.assign(1, std::accumulate(sums.begin(), sums.end(), 0.0));
  for (std::int64_t c = 0; c < slope_count; ++c) {
    const auto value = static_cast<Compute<T>>(sums[static_cast<std::size_t>(c)]);
    grad_slope[c] = write == Write::accumulate ? grad_slope[c] + value : value;
  }
}

void prelu_backward_cpu(const Stream&, DType dtype, std::int64_t rows, std::int64_t channels,
                        std::int64_t slope_count, const void* x, const void* slope, const void* grad_y,
                        void* grad_x, Write grad_x_write, void* grad_slope, Write grad_slope_write) {
  with_type(dtype, [&]<class T>() {
    using F = Compute<T>;
    const T* in = static_cast<const T*>(x);
    const T* gy = static_cast<const T*>(grad_y);
    if (grad_slope != nullptr) {
      prelu_slope_gradient(rows, channels, slope_count, in, gy, static_cast<F*>(grad_slope),
                           grad_slope_write);
    }
    if (grad_x == nullptr) return;
    T* gx = static_cast<T*>(grad_x);
    with_write(grad_x_write, [&]<Write W>() {
      with_slopes(rows, channels, slope_count, static_cast<const F*>(slope), [=](std::int64_t r, const F* a) {
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
