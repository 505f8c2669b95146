#pragma once
// What a solver knows of a network: contracts by role.
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
  /// y N×D×H×W×C.
  virtual Tensor forward(Tape& tape, const Tensor& y) = 0;
};

/// Two outputs of one network: layers that they share are one module, which a tape runs once.
struct TensorPair {
  Tensor x, y;
};

/// z → (x, y): a coupling's two marginals from one latent, by generators that share layers (SPOT, CoGAN).
class PairGenerator : public Module {
 public:
  /// z N×L; x and y N×D×H×W×C of one shape.
  virtual TensorPair forward(Tape& tape, const Tensor& z) = 0;
  /// L: length of the latent.
  [[nodiscard]] virtual std::int64_t latent() const = 0;
};

/// A critic whose features also feed a classifier (DASPOT, CoGAN for domain adaptation).
class ClassifyingCritic : public Module {
 public:
  /// Both of one forward pass.
  struct Result {
    Tensor score;   // N×1, never of reduced precision
    Tensor logits;  // N×classes, the same
  };
  /// y N×D×H×W×C.
  virtual Result forward(Tape& tape, const Tensor& y) = 0;
  [[nodiscard]] virtual std::int64_t classes() const = 0;
};

/// ε(x_t, t | condition): of a noisy sample and its time, the noise (diffusion) or the velocity (flow).
class Denoiser : public Module {
 public:
  /// x_t N×D×H×W×C, t N×1 fp32, condition N×D×H×W×K or undefined where the network takes none. The result
  /// has x_t's shape and type.
  virtual Tensor forward(Tape& tape, const Tensor& x_t, const Tensor& t, const Tensor& condition) = 0;
  /// K: channels of the condition (0: none).
  [[nodiscard]] virtual std::int64_t condition_channels() const = 0;
};

/// The type in which a network computes an input: fp64 stays, everything else follows `compute` (f32 or
/// bf16).
inline DType compute_type(const Tensor& x, DType compute) {
  return x.dtype() == DType::f64 ? DType::f64 : compute;
}

}  // namespace voxot
