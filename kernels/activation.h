#pragma once
// Elementwise activations: y = act(x), and their gradients. One functor each, shared by host and device.
#include <cmath>

#include "kernels/kernel.h"
#include "kernels/philox.h"

namespace voxot {

/// leaky_relu: x > 0 ? x : slope·x; silu: x·sigmoid(x); softplus: log(1 + exp(x)).
enum class ActivationKind : std::uint8_t { none, relu, leaky_relu, silu, tanh, sigmoid, softplus };

/// An activation and its parameter.
struct Activation {
  ActivationKind kind = ActivationKind::none;
  float slope = 0;  // leaky_relu: the factor for negative x

  bool operator==(const Activation&) const = default;
  /// The gradient of silu needs x; that of every other kind is a function of y.
  [[nodiscard]] bool saves_input() const { return kind == ActivationKind::silu; }
};

/// value(x), and gradient(s, g) = g·act'(s) where s is x for silu and y for the rest. The kind is a template
/// argument, so that a loop over it holds no switch. NaN gives NaN, and the gradient of relu is chosen, not
/// multiplied, as in PyTorch: an infinite gradient of a unit at rest stays out.
template <ActivationKind K, class F>
struct ActivationFunctor {
  static constexpr ActivationKind kKind = K;
  F slope;

  /// g·act'(x) of the argument, for every kind.
  VOXOT_HOST_DEVICE F gradient_at(F x, F g) const {
    if constexpr (K == ActivationKind::silu) return gradient(x, g);
    return gradient(value(x), g);
  }

  /// act(x)
  VOXOT_HOST_DEVICE F value(F x) const {
    if constexpr (K == ActivationKind::relu) return x < 0 ? F{0} : x;
    if constexpr (K == ActivationKind::leaky_relu) return x > 0 ? x : slope * x;
    if constexpr (K == ActivationKind::silu) return x / (F{1} + std::exp(-x));
    if constexpr (K == ActivationKind::tanh) return std::tanh(x);
    if constexpr (K == ActivationKind::sigmoid) return F{1} / (F{1} + std::exp(-x));
    if constexpr (K == ActivationKind::softplus) return x > 20 ? x : std::log1p(std::exp(x));
    return x;
  }

  /// g·act'(s), s as above.
  VOXOT_HOST_DEVICE F gradient(F s, F g) const {
    if constexpr (K == ActivationKind::relu) return s <= 0 ? F{0} : g;
    if constexpr (K == ActivationKind::leaky_relu) return g * (s > 0 ? F{1} : slope);
    if constexpr (K == ActivationKind::silu) {
      const F share = F{1} / (F{1} + std::exp(-s));
      return g * (share * (F{1} + s * (F{1} - share)));
    }
    if constexpr (K == ActivationKind::tanh) return g * (F{1} - s * s);
    if constexpr (K == ActivationKind::sigmoid) return g * (s * (F{1} - s));
    if constexpr (K == ActivationKind::softplus) return g * -std::expm1(-s);
    return g;
  }
};

namespace kernels {

/// y ← act(x) (dtype, activation, count, x, y); y may be x.
inline constinit Kernel<void(DType, Activation, std::int64_t, const void*, void*)> activation_forward{
    "activation_forward"};

struct ActivationGradients {
  Activation activation;
  std::int64_t count;
  const void* saved;  // x for silu, else y
  const void* grad_y;
  void* grad_x;  // may be grad_y when overwritten
  Write write = Write::overwrite;
};
/// grad_x ← or += grad_y·act'(saved).
inline constinit Kernel<void(DType, const ActivationGradients&)> activation_backward{"activation_backward"};

/// x and y are rows × channels.
struct PreluParams {
  std::int64_t rows;
  std::int64_t channels;
  std::int64_t slopes;  // 1: one for all; else one a channel
};
/// y ← x > 0 ? x : slope[c]·x (dtype, params, x, slope, y); slopes have the parameter type (fp32, for f64
/// f64).
inline constinit Kernel<void(DType, const PreluParams&, const void*, const void*, void*)> prelu_forward{
    "prelu_forward"};

/// What the gradient of prelu reads and writes; grad_x or grad_slope may be null.
struct PreluGradients {
  const void* x;
  const void* slope;
  const void* grad_y;
  void* grad_x = nullptr;  // may be null
  Write grad_x_write = Write::overwrite;
  void* grad_slope = nullptr;  // may be null
  Write grad_slope_write = Write::overwrite;
};
/// grad_x and grad_slope ← or += those of the loss.
inline constinit Kernel<void(DType, const PreluParams&, const PreluGradients&)> prelu_backward{
    "prelu_backward"};

}  // namespace kernels
}  // namespace voxot
