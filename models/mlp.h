#pragma once
// Multilayer perceptrons on flattened samples, as map and as potential, for low-dimensional problems.
#include <vector>

#include "models/network.h"

namespace voxot {

/// A perceptron as map or as potential.
struct MlpOptions {
  std::array<std::int64_t, 4> volume{1, 1, 1, 2};  // D, H, W, C of a sample
  std::vector<std::int64_t> hidden{128, 128, 128};
  Activation activation{ActivationKind::relu, 0};
  std::int64_t noise_channels = 0;
  bool residual = false;
  bool linear = false;                  // map: W·x beside the layers, from zero
  bool quadratic = false;               // potential: see MlpPotential
  bool spectral_normalisation = false;  // potential: of every layer's weight, not of the quadratic form's
};

/// Layers `layers.0` … `layers.k`, the activation between them.
class Mlp : public Module {
 public:
  Mlp(std::int64_t in, const std::vector<std::int64_t>& hidden, std::int64_t out, Activation activation);
  /// x N×in → N×out
  Tensor operator()(Tape& tape, const Tensor& x) const;

 private:
  Activation activation_;
  std::vector<std::unique_ptr<Linear>> layers_;
};

/// x N×D → x·Wᵀ, W from zero.
class Matrix : public Module {
 public:
  explicit Matrix(std::int64_t size) { add(weight_, "weight", {size, size}); }
  /// x N×D → N×D
  Tensor operator()(Tape& tape, const Tensor& x) const { return ops::linear(tape, x, weight_, {}); }

 protected:
  void reset(Initialiser&) override { weight_.fill(0); }

 private:
  Tensor weight_;
};

/// T(x, z) = MLP(x, z), with `residual` and `linear` x and W·x added; x N×D×H×W×C, flattened.
class MlpMap : public TransportMap {
 public:
  explicit MlpMap(const MlpOptions& options);
  /// noise: N×…×K volumes; channel values of every voxel are taken.
  Tensor forward(Tape& tape, const Tensor& x, const Tensor& noise) override;
  [[nodiscard]] std::int64_t noise_channels() const override { return options_.noise_channels; }

 private:
  MlpOptions options_;
  Mlp mlp_;
  std::unique_ptr<Matrix> matrix_;  // of `linear`
};

/// f(y) = MLP(y); with `quadratic` f(y) = (2/D)·(MLP(y) + ½·yᵀAy), A from zero: between Gaussians the optimum
/// is quadratic, and at the optimum of a cost that is a mean over D values ∇f is (2/D)·(T(x) − x).
class MlpPotential : public Potential {
 public:
  explicit MlpPotential(const MlpOptions& options);
  Tensor forward(Tape& tape, const Tensor& y) override;

 private:
  Mlp mlp_;
  double scale_ = 1;
  std::unique_ptr<Matrix> matrix_;  // A
};

}  // namespace voxot
