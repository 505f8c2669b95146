#pragma once
// Multilayer perceptrons on flattened samples, as map and as potential, for low-dimensional problems.
#include <vector>

#include "models/network.h"

namespace voxot {

struct MlpOptions {
  std::array<std::int64_t, 4> volume{1, 1, 1, 2};  // D, H, W, C of a sample
  std::vector<std::int64_t> hidden{128, 128, 128};
  Activation activation{ActivationKind::relu, 0};
  std::int64_t noise_channels = 0;
  bool residual = false;
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

class MlpMap : public TransportMap {
 public:
  explicit MlpMap(const MlpOptions& options);
  /// noise: N×…×K volumes; channel values of every voxel are taken.
  Tensor forward(Tape& tape, const Tensor& x, const Tensor& noise) override;
  [[nodiscard]] std::int64_t noise_channels() const override { return options_.noise_channels; }

 private:
  MlpOptions options_;
  Mlp mlp_;
};

class MlpPotential : public Potential {
 public:
  explicit MlpPotential(const MlpOptions& options);
  Tensor forward(Tape& tape, const Tensor& y) override;

 private:
  Mlp mlp_;
};

}  // namespace voxot
