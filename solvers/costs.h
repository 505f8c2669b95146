#pragma once
// Transport costs C(x, T_x#S) of the neural-OT saddle point, estimated from a batch.
#include <array>

#include "engine/buffer.h"
#include "engine/tape.h"

namespace voxot {

/// The numbers of a cost that change with γ, as they lie in the device's memory: 1, the variance's weight, 0.
using CostFactors = std::array<double, 3>;

/// C(x, T_x#S) of a batch, on the tape.
class Cost {
 public:
  virtual ~Cost() = default;
  /// x: N samples. mapped: Z·N samples, copy by copy ([T(x_1, z_1)…T(x_N, z_1), T(x_1, z_2)…]). Returns one
  /// element.
  Tensor operator()(Tape& tape, const Tensor& x, const Tensor& mapped, double gamma) const;
  /// The same with factors() of γ and Z in the memory of x's device.
  virtual Tensor evaluate(Tape& tape, const Tensor& x, const Tensor& mapped,
                          const Buffer<double>& factors) const = 0;
  /// Of γ and Z.
  [[nodiscard]] virtual CostFactors factors(double, std::int64_t) const { return {1, 0, 0}; }
};

/// mean (x − T(x))² over batch and dimensions, no ½ (algorithms: strong neural OT).
class QuadraticCost : public Cost {
 public:
  Tensor evaluate(Tape& tape, const Tensor& x, const Tensor& mapped,
                  const Buffer<double>& factors) const override;
};

/// γ-weak quadratic: mean (x − T̄)² + (1 − γ − 1/Z)·Var, with T̄ and Var the mean and unbiased variance over
/// the Z copies; the −1/Z takes out the bias that a finite mean adds. Throws Error for Z < 2.
class WeakQuadraticCost : public Cost {
 public:
  Tensor evaluate(Tape& tape, const Tensor& x, const Tensor& mapped,
                  const Buffer<double>& factors) const override;
  [[nodiscard]] CostFactors factors(double gamma, std::int64_t copies) const override;
};

}  // namespace voxot
