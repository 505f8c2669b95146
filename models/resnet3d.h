#pragma once
// ResNet3D, the potential of the voxel runs: conv_img 3³ nc→nf, LeakyReLU 0.2; blocks nf→nf, nf→2nf; then for
// i = 1..log2(size/4): average pooling 3³ stride 2 pad 1 (padding counted), blocks w→w and w→2w with
// w = min(nf·2^i, nf_max); max pooling 2; flatten; linear → 1. Block: dx = conv_1(LeakyReLU(conv_0(x))),
// shortcut conv_s 1³ without bias where the widths differ, out = LeakyReLU(x_s + res_ratio·dx), hidden width
// min(in, out). Parameter names are those of the published PyTorch state dicts.
// Of a flat volume (D = 1) kernels and windows are one slice deep: a 2-D network.
#include <array>
#include <vector>

#include "models/network.h"

namespace voxot {

/// Widths of the network, and what it sees.
struct ResNet3DOptions {
  std::int64_t channels = 3;
  std::array<std::int64_t, 3> extent{16, 16, 16};  // D, H, W; the shortest but D = 1 decides the levels
  std::int64_t nf = 64;
  std::int64_t nf_max = 512;
  double res_ratio = 0.1;
  bool spectral_normalisation = false;  // of every weight (Module::use_spectral_norm)
  DType compute = DType::f32;
};

/// The network above.
class ResNet3D : public Potential {
 public:
  /// Throws Error unless every extent (D may be 1) is at least 4 and is halved without remainder at every
  /// level.
  explicit ResNet3D(const ResNet3DOptions& options);
  ~ResNet3D() override;
  Tensor forward(Tape& tape, const Tensor& y) override;

 private:
  struct Block;
  [[nodiscard]] bool flat() const { return options_.extent[0] == 1; }
  ResNet3DOptions options_;
  std::unique_ptr<Conv3d> conv_img_;
  std::vector<std::unique_ptr<Block>> blocks_;  // null where an average pooling stands
  std::unique_ptr<Linear> fc_;
};

}  // namespace voxot
