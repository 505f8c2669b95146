#pragma once
// Transport costs C(x, T_x#S) of the neural-OT saddle point, estimated from a batch.
#include <memory>

#include "engine/tape.h"

namespace voxot {

class Cost {
 public:
  virtual ~Cost() = default;
  /// x: N samples. mapped: Z·N samples, copy by copy ([T(x_1, z_1)…T(x_N, z_1), T(x_1, z_2)…]). γ is used by
  /// weak costs. Returns one element.
  virtual Tensor operator()(Tape& tape, const Tensor& x, const Tensor& mapped, double gamma) const = 0;
};

/// mean (x − T(x))² over batch and dimensions, no ½ (algorithms: strong neural OT).
class QuadraticCost : public Cost {
 public:
  Tensor operator()(Tape& tape, const Tensor& x, const Tensor& mapped, double gamma) const override;
};

/// γ-weak quadratic: mean (x − T̄)² + (1 − γ − 1/Z)·Var, with T̄ and Var the mean and unbiased variance over
/// the Z copies; the −1/Z takes out the bias that a finite mean adds. Throws Error for Z < 2.
class WeakQuadraticCost : public Cost {
 public:
  Tensor operator()(Tape& tape, const Tensor& x, const Tensor& mapped, double gamma) const override;
};

}  // namespace voxot
