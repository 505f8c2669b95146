#include "kernels/reduction.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/cpu/scalar.h"
#include "kernels/sizes.h"

namespace voxot::kernels {
namespace {

using namespace cpu;

constexpr std::int64_t kSlice =
    16384;  // elements of one partial sum; fixed, so the thread count changes no bit

/// Sum of term(i) over [0, count), in slices joined in order.
template <class Term>
double ordered_sum(std::int64_t count, Term term) {
  const std::int64_t slices = (count + kSlice - 1) / kSlice;
  static thread_local std::vector<double> partial;
  partial.assign(to_size(slices), 0.0);
  double* const sums = partial.data();
#pragma omp parallel for schedule(static) if (count > 2 * kSlice)
  for (std::int64_t s = 0; s < slices; ++s) {
    const std::int64_t last = std::min((s + 1) * kSlice, count);
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (std::int64_t i = s * kSlice; i < last; ++i) sum += term(i);
    sums[s] = sum;
  }
  double total = 0;
  for (std::int64_t s = 0; s < slices; ++s) total += sums[s];
  return total;
}

template <class T>
double strided_sum(const T* x, std::int64_t count, std::int64_t stride) {
  if (stride == 1) return ordered_sum(count, [=](std::int64_t i) { return static_cast<double>(load(x[i])); });
  double sum = 0;
  for (std::int64_t i = 0; i < count; ++i) sum += static_cast<double>(load(x[i * stride]));
  return sum;
}

template <class T>
double mean_of(const T* x, std::int64_t count, std::int64_t stride) {
  return strided_sum(x, count, stride) / static_cast<double>(count);
}

void forward(const Stream&, DType dtype, const ReductionParams& p, const void* x, void* y) {
  with_type(dtype, [&]<class T>() {
    const T* in = static_cast<const T*>(x);
    T* out = static_cast<T*>(y);
    const auto one = [&](std::int64_t i) {
      const T* base = in + i / p.inner * p.axis * p.inner + i % p.inner;
      double value = strided_sum(base, p.axis, p.inner);
      if (p.kind != Reduction::sum) value /= static_cast<double>(p.axis);
      if (p.kind == Reduction::variance) {
        double squares = 0;
        for (std::int64_t k = 0; k < p.axis; ++k) {
          const double d = static_cast<double>(load(base[k * p.inner])) - value;
          squares += d * d;
        }
        value = squares / static_cast<double>(p.axis - 1);
      }
      store(out[i], static_cast<Compute<T>>(value));
    };
    const std::int64_t results = p.outer * p.inner;
    if (p.inner == 1 && results < 64) {
      for (std::int64_t i = 0; i < results; ++i) one(i);
    } else {
#pragma omp parallel for schedule(static) if (results * p.axis > kParallelGrain)
      for (std::int64_t i = 0; i < results; ++i) one(i);
    }
  });
}

void backward(const Stream&, DType dtype, const ReductionParams& p, const ReductionGradients& q) {
  with_type(dtype, [&]<class T>() {
    using F = Compute<T>;
    const T* in = static_cast<const T*>(q.x);
    const T* gy = static_cast<const T*>(q.grad_y);
    T* gx = static_cast<T*>(q.grad_x);
    const std::int64_t n = p.axis;
    const double scale = p.kind == Reduction::sum    ? 1.0
                         : p.kind == Reduction::mean ? 1.0 / static_cast<double>(n)
                                                     : 2.0 / static_cast<double>(n - 1);
    const F s = static_cast<F>(scale);
    with_write(q.write, [&]<Write W>() {
      const auto one = [&](std::int64_t i, std::int64_t first, std::int64_t last) {
        const std::int64_t base = i / p.inner * n * p.inner + i % p.inner;
        const F g = load(gy[i]) * s;
        if (p.kind != Reduction::variance) {
          for (std::int64_t k = first; k < last; ++k) put<W>(gx[base + k * p.inner], g);
          return;
        }
        const F m = static_cast<F>(mean_of(in + base, n, p.inner));
        for (std::int64_t k = first; k < last; ++k) {
          put<W>(gx[base + k * p.inner], g * (load(in[base + k * p.inner]) - m));
        }
      };
#pragma omp parallel for schedule(static) if (p.outer * p.inner * n > kParallelGrain)
      for (std::int64_t i = 0; i < p.outer * p.inner; ++i) one(i, 0, n);
    });
  });
}

void squared_forward(const Stream&, DType dtype, std::int64_t count, const void* a, const void* b,
                     void* loss) {
  with_type(dtype, [&]<class T>() {
    const T* pa = static_cast<const T*>(a);
    const T* pb = static_cast<const T*>(b);
    const double sum = ordered_sum(count, [=](std::int64_t i) {
      const double d = static_cast<double>(load(pa[i])) - static_cast<double>(load(pb[i]));
      return d * d;
    });
    store(*static_cast<T*>(loss), static_cast<Compute<T>>(sum / static_cast<double>(count)));
  });
}

void squared_backward(const Stream&, DType dtype, const MeanSquaredErrorGradients& q) {
  with_type(dtype, [&]<class T>() {
    using F = Compute<T>;
    const T* pa = static_cast<const T*>(q.a);
    const T* pb = static_cast<const T*>(q.b);
    T* g = static_cast<T*>(q.gradient);
    const double outer = static_cast<double>(load(*static_cast<const T*>(q.grad_loss)));
    const F scale = static_cast<F>(2.0 * q.sign * outer / static_cast<double>(q.count));
    with_write(q.write, [&]<Write W>() {
      each(q.count, [=](std::int64_t i) { put<W>(g[i], scale * (load(pa[i]) - load(pb[i]))); });
    });
  });
}

void entropy_forward(const Stream&, DType dtype, const CrossEntropyForward& f) {
  with_type(dtype, [&]<class T>() {
    const T* in = static_cast<const T*>(f.x);
    T* probability = static_cast<T*>(f.probabilities);
    const std::int64_t classes = f.classes;
    double total = 0;
    for (std::int64_t r = 0; r < f.rows; ++r) {
      const T* row = in + r * classes;
      double top = -INFINITY;
      for (std::int64_t c = 0; c < classes; ++c) top = std::max(top, static_cast<double>(load(row[c])));
      double sum = 0;
      for (std::int64_t c = 0; c < classes; ++c) sum += std::exp(static_cast<double>(load(row[c])) - top);
      for (std::int64_t c = 0; c < classes; ++c) {
        const double q = std::exp(static_cast<double>(load(row[c])) - top) / sum;
        store(probability[r * classes + c], static_cast<Compute<T>>(q));
      }
      total += std::log(sum) + top - static_cast<double>(load(row[f.labels[r]]));
    }
    store(*static_cast<T*>(f.loss), static_cast<Compute<T>>(total / static_cast<double>(f.rows)));
  });
}

void entropy_backward(const Stream&, DType dtype, const CrossEntropyGradients& q) {
  with_type(dtype, [&]<class T>() {
    using F = Compute<T>;
    const T* probability = static_cast<const T*>(q.probabilities);
    T* gx = static_cast<T*>(q.grad_x);
    const std::int64_t classes = q.classes;
    const F scale = load(*static_cast<const T*>(q.grad_loss)) / static_cast<F>(q.rows);
    with_write(q.write, [&]<Write W>() {
      for (std::int64_t i = 0; i < q.rows * classes; ++i) {
        const F label = i % classes == q.labels[i / classes] ? F{1} : F{0};
        put<W>(gx[i], scale * (load(probability[i]) - label));
      }
    });
  });
}

const Implement registered[] = {
    {reduce_forward, Device::cpu, forward},
    {reduce_backward, Device::cpu, backward},
    {mean_squared_error_forward, Device::cpu, squared_forward},
    {mean_squared_error_backward, Device::cpu, squared_backward},
    {cross_entropy_forward, Device::cpu, entropy_forward},
    {cross_entropy_backward, Device::cpu, entropy_backward},
};

}  // namespace
}  // namespace voxot::kernels
