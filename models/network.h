#pragma once
// What a solver knows of a network: a transport map, or a potential.
#include <memory>

#include "engine/module.h"

namespace voxot {

/// T(x, z): volumes in, volumes of the same shape out.
class TransportMap : public Module {
 public:
  /// x N×D×H×W×C; noise N×D×H×W×K for a map made with K noise channels, else undefined. The result has x's
  /// type.
  virtual Tensor forward(Tape& tape, const Tensor& x, const Tensor& noise) = 0;
  /// K: noise channels that the input takes (0: a deterministic map).
  [[nodiscard]] virtual std::int64_t noise_channels() const = 0;
};

/// f(y): volumes in, N×1 out (never reduced precision).
class Potential : public Module {
 public:
  virtual Tensor forward(Tape& tape, const Tensor& y) = 0;
};

/// The type in which a network computes an input: fp64 stays, everything else follows `compute` (f32 or
/// bf16).
inline DType compute_type(const Tensor& x, DType compute) {
  return x.dtype() == DType::f64 ? DType::f64 : compute;
}

}  // namespace voxot
