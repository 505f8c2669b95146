// kernels/reduction.h. Sums by ordered_sum.cuh, in double; gradients by elementwise_map.cuh.
//   variance       two passes: the means, then Σ(x − x̄)²/(axis − 1)
//   cross entropy  a warp for each row: probabilities, and log Σ exp(x − max) + max − x[label];
//                  then the mean over the rows
#include "kernels/reduction.h"

#include <cmath>

#include "kernels/cuda/elementwise_map.cuh"
#include "kernels/cuda/ordered_sum.cuh"

namespace voxot::kernels {
namespace {

using namespace cuda;

struct SquaredDeviation {
  const double* mean;  // [outer, inner]
  template <class F>
  VOXOT_DEVICE double operator()(std::int64_t r, F x) const {
    const double d = static_cast<double>(x) - mean[r];
    return d * d;
  }
};

struct SquaredDifference {
  template <class F>
  VOXOT_DEVICE double operator()(std::int64_t, F a, F b) const {
    const double d = static_cast<double>(a) - static_cast<double>(b);
    return d * d;
  }
};

template <class T>
struct Spread {
  using F = Compute<T>;
  const T* grad;  // [outer, inner]
  F scale;
  VOXOT_DEVICE F operator()(const Reduced::At& at) const { return load(grad[at.result]) * scale; }
};

template <class T>
struct SpreadDeviation {
  using F = Compute<T>;
  const T* grad;  // [outer, inner]
  const double* mean;
  F scale;
  VOXOT_DEVICE F operator()(const Reduced::At& at, F x) const {
    return load(grad[at.result]) * scale * (x - static_cast<F>(mean[at.result]));
  }
};

template <class T>
struct DifferenceGradient {
  using F = Compute<T>;
  const T* grad_loss;
  F scale;
  VOXOT_DEVICE F operator()(F a, F b) const { return scale * load(*grad_loss) * (a - b); }
};

template <class T>
struct EntropyGradient {
  using F = Compute<T>;
  const std::int32_t* labels;
  const T* grad_loss;
  F scale;
  VOXOT_DEVICE F operator()(const Matrix::At& at, F probability) const {
    return scale * load(*grad_loss) * (probability - (at.column == labels[at.row] ? F{1} : F{0}));
  }
};

constexpr int kRowThreads = 128;

template <class T>
VOXOT_KERNEL void VOXOT_LAUNCH_BOUNDS(kRowThreads, 1)
    softmax_rows(std::int64_t rows, std::int64_t classes, const T* x, const std::int32_t* labels,
                 T* probabilities, double* losses) {
  using F = Compute<T>;
  const std::int64_t row = simt::global_thread() / simt::kWarp;
  if (row >= rows) return;
  const T* in = x + row * classes;
  F top = -static_cast<F>(INFINITY);
  for (std::int64_t c = simt::lane(); c < classes; c += simt::kWarp) {
    const F v = load(in[c]);
    top = top < v ? v : top;
  }
  top = simt::warp_max(top);
  F sum = 0;
  for (std::int64_t c = simt::lane(); c < classes; c += simt::kWarp) sum += std::exp(load(in[c]) - top);
  sum = simt::warp_sum(sum);
  for (std::int64_t c = simt::lane(); c < classes; c += simt::kWarp) {
    probabilities[row * classes + c] = stored<T>(std::exp(load(in[c]) - top) / sum);
  }
  if (simt::lane() == 0) {
    losses[row] = static_cast<double>(std::log(sum)) + static_cast<double>(top - load(in[labels[row]]));
  }
}

/// The means, in double, of the plan's view.
template <class T>
void means(const Stream& stream, const SumPlan& plan, double* partial, const T* x, double* mean) {
  ordered_sum(stream, "reduce_means", plan, partial, Itself{},
              StoreSum<Write::overwrite, double>{mean, 1.0 / static_cast<double>(plan.view.axis)}, x);
}

SumView view_of(const ReductionParams& p) { return {p.outer, p.axis, p.inner}; }

void forward(const Stream& stream, DType dtype, const ReductionParams& p, const void* x, void* y) {
  with_type(dtype, [&]<class T>() {
    using Store = StoreSum<Write::overwrite, T>;
    const T* in = static_cast<const T*>(x);
    T* out = static_cast<T*>(y);
    const auto n = static_cast<double>(p.axis);
    const SumView view = view_of(p);
    if (p.kind != Reduction::variance) {
      const double scale = p.kind == Reduction::mean ? 1 / n : 1;
      return ordered_sum(stream, "reduce_forward", view, Itself{}, Store{out, scale}, in);
    }
    const SumPlan plan = plan_sum(view, in);
    double* mean = sum_scratch(view.results() + plan.partials());
    double* partial = mean + view.results();
    means(stream, plan, partial, in, mean);
    ordered_sum(stream, "reduce_variance", plan, partial, SquaredDeviation{mean}, Store{out, 1 / (n - 1)},
                in);
  });
}

void backward(const Stream& stream, DType dtype, const ReductionParams& p, const ReductionGradients& q) {
  with_type(dtype, [&]<class T>() {
    using F = Compute<T>;
    const T* in = static_cast<const T*>(q.x);
    const T* gy = static_cast<const T*>(q.grad_y);
    T* gx = static_cast<T*>(q.grad_x);
    const auto n = static_cast<double>(p.axis);
    const SumView view = view_of(p);
    const std::int64_t count = view.results() * p.axis;
    const Reduced index{p.axis, p.inner};
    with_write(q.write, [&]<Write W>() {
      if (p.kind != Reduction::variance) {
        const auto scale = static_cast<F>(p.kind == Reduction::mean ? 1 / n : 1);
        return map<W>(stream, "reduce_backward", count, index, Spread<T>{gy, scale}, gx);
      }
      const SumPlan plan = plan_sum(view, in);
      double* mean = sum_scratch(view.results() + plan.partials());
      means(stream, plan, mean + view.results(), in, mean);
      map<W>(stream, "reduce_variance_backward", count, index,
             SpreadDeviation<T>{gy, mean, static_cast<F>(2 / (n - 1))}, gx, in);
    });
  });
}

void squared_forward(const Stream& stream, DType dtype, std::int64_t count, const void* a, const void* b,
                     void* loss) {
  with_type(dtype, [&]<class T>() {
    const StoreSum<Write::overwrite, T> store{static_cast<T*>(loss), 1 / static_cast<double>(count)};
    ordered_sum(stream, "mean_squared_error_forward", SumView{1, count, 1}, SquaredDifference{}, store,
                static_cast<const T*>(a), static_cast<const T*>(b));
  });
}

void squared_backward(const Stream& stream, DType dtype, const MeanSquaredErrorGradients& q) {
  with_type(dtype, [&]<class T>() {
    const DifferenceGradient<T> f{static_cast<const T*>(q.grad_loss),
                                  static_cast<Compute<T>>(2 * q.sign / static_cast<double>(q.count))};
    with_write(q.write, [&]<Write W>() {
      map<W>(stream, "mean_squared_error_backward", q.count, Flat{}, f, static_cast<T*>(q.gradient),
             static_cast<const T*>(q.a), static_cast<const T*>(q.b));
    });
  });
}

void entropy_forward(const Stream& stream, DType dtype, const CrossEntropyForward& f) {
  with_type(dtype, [&]<class T>() {
    const SumView view{1, f.rows, 1};
    const SumPlan plan = plan_sum(view, static_cast<const double*>(nullptr));
    double* losses = sum_scratch(f.rows + plan.partials());
    const unsigned blocks = simt::blocks_for(f.rows, kRowThreads / simt::kWarp);
    simt::launch({"cross_entropy_rows", {blocks}, {kRowThreads}, 0, stream}, softmax_rows<T>, f.rows,
                 f.classes, static_cast<const T*>(f.x), f.labels, static_cast<T*>(f.probabilities), losses);
    ordered_sum(stream, "cross_entropy_forward", plan, losses + f.rows, Itself{},
                StoreSum<Write::overwrite, T>{static_cast<T*>(f.loss), 1 / static_cast<double>(f.rows)},
                static_cast<const double*>(losses));
  });
}

void entropy_backward(const Stream& stream, DType dtype, const CrossEntropyGradients& q) {
  with_type(dtype, [&]<class T>() {
    const EntropyGradient<T> f{q.labels, static_cast<const T*>(q.grad_loss),
                               static_cast<Compute<T>>(1 / static_cast<double>(q.rows))};
    with_write(q.write, [&]<Write W>() {
      map<W>(stream, "cross_entropy_backward", q.rows * q.classes, Matrix{q.classes}, f,
             static_cast<T*>(q.grad_x), static_cast<const T*>(q.probabilities));
    });
  });
}

const Implement registered[] = {
    {reduce_forward, Device::cuda, forward},
    {reduce_backward, Device::cuda, backward},
    {mean_squared_error_forward, Device::cuda, squared_forward},
    {mean_squared_error_backward, Device::cuda, squared_backward},
    {cross_entropy_forward, Device::cuda, entropy_forward},
    {cross_entropy_backward, Device::cuda, entropy_backward},
};

}  // namespace
}  // namespace voxot::kernels
