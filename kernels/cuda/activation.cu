// kernels/activation.h by elementwise_map.cuh; the gradient of PReLU's slopes by ordered_sum.cuh:
//   grad_slope[c] = Σ over rows of grad_y·x where x is not above 0.
#include "kernels/activation.h"

#include "kernels/cuda/elementwise_map.cuh"
#include "kernels/cuda/ordered_sum.cuh"

namespace voxot::kernels {
namespace {

using namespace cuda;

template <class Act>
struct Value {
  Act act;
  template <class F>
  VOXOT_DEVICE F operator()(F x) const {
    return act.value(x);
  }
};

template <class Act>
struct Gradient {
  Act act;
  template <class F>
  VOXOT_DEVICE F operator()(F saved, F grad) const {
    return act.gradient(saved, grad);
  }
};

/// `stride` is 0 for one slope of all channels.
template <class F>
struct Slopes {
  const F* slope;
  std::int64_t stride;
  VOXOT_DEVICE F operator[](const Matrix::At& at) const { return slope[at.column * stride]; }
};

template <class F>
struct PreluValue {
  Slopes<F> slope;
  VOXOT_DEVICE F operator()(const Matrix::At& at, F x) const { return x > 0 ? x : slope[at] * x; }
};

template <class F>
struct PreluGradient {
  Slopes<F> slope;
  VOXOT_DEVICE F operator()(const Matrix::At& at, F x, F grad) const {
    return grad * (x > 0 ? F{1} : slope[at]);
  }
};

struct SlopeTerm {
  template <class F>
  VOXOT_DEVICE double operator()(std::int64_t, F x, F grad) const {
    return x > 0 ? 0.0 : static_cast<double>(x) * static_cast<double>(grad);
  }
};

void forward(const Stream& stream, DType dtype, Activation activation, std::int64_t count, const void* x,
             void* y) {
  with_type(dtype, [&]<class T>() {
    with_activation<Compute<T>>(activation, [&]<class Act>(Act act) {
      map<Write::overwrite>(stream, "activation_forward", count, Flat{}, Value<Act>{act}, static_cast<T*>(y),
                            static_cast<const T*>(x));
    });
  });
}

void backward(const Stream& stream, DType dtype, const ActivationGradients& q) {
  with_type(dtype, [&]<class T>() {
    with_activation<Compute<T>>(q.activation, [&]<class Act>(Act act) {
      with_write(q.write, [&]<Write W>() {
        map<W>(stream, "activation_backward", q.count, Flat{}, Gradient<Act>{act}, static_cast<T*>(q.grad_x),
               static_cast<const T*>(q.saved), static_cast<const T*>(q.grad_y));
      });
    });
  });
}

void prelu_forward_cuda(const Stream& stream, DType dtype, const PreluParams& p, const void* x,
                        const void* slope, void* y) {
  with_type(dtype, [&]<class T>() {
    using F = Compute<T>;
    const PreluValue<F> f{{static_cast<const F*>(slope), p.slopes == 1 ? 0 : 1}};
    map<Write::overwrite>(stream, "prelu_forward", p.rows * p.channels, Matrix{p.channels}, f,
                          static_cast<T*>(y), static_cast<const T*>(x));
  });
}

void prelu_backward_cuda(const Stream& stream, DType dtype, const PreluParams& p, const PreluGradients& q) {
  with_type(dtype, [&]<class T>() {
    using F = Compute<T>;
    const T* in = static_cast<const T*>(q.x);
    const T* gy = static_cast<const T*>(q.grad_y);
    const std::int64_t count = p.rows * p.channels;
    if (q.grad_slope != nullptr) {
      const SumView view = p.slopes == 1 ? SumView{1, count, 1} : SumView{1, p.rows, p.channels};
      with_write(q.grad_slope_write, [&]<Write W>() {
        ordered_sum(stream, "prelu_grad_slope", view, SlopeTerm{},
                    StoreSum<W, F>{static_cast<F*>(q.grad_slope), 1.0}, in, gy);
      });
    }
    if (q.grad_x == nullptr) return;
    const PreluGradient<F> f{{static_cast<const F*>(q.slope), p.slopes == 1 ? 0 : 1}};
    with_write(q.grad_x_write, [&]<Write W>() {
      map<W>(stream, "prelu_grad_x", count, Matrix{p.channels}, f, static_cast<T*>(q.grad_x), in, gy);
    });
  });
}

const Implement registered[] = {
    {activation_forward, Device::cuda, forward},
    {activation_backward, Device::cuda, backward},
    {kernels::prelu_forward, Device::cuda, prelu_forward_cuda},
    {kernels::prelu_backward, Device::cuda, prelu_backward_cuda},
};

}  // namespace
}  // namespace voxot::kernels
