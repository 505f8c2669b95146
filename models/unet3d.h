#pragma once
// UNet3D, the transport map of the voxel runs. double_conv = (Conv3d 3³ with bias → normalisation → ReLU)
// × 2. inc in→b; down1 b→2b; down2 2b→4b; down3 4b→4b (max pooling before each); up2 8b→4b→2b; up3 4b→2b→b;
// up4 2b→b→b
// ([skip, upsampled]); outc 1³ b→out. Parameter names are those of the published PyTorch state dicts.
// For flat volumes (D = 1) every kernel and every window is one slice deep: a 2-D network.
#include "models/network.h"

namespace voxot {

/// How a level's result is enlarged for the next.
enum class UpsamplingKind : std::uint8_t { nearest, transposed };

/// Widths and forms of the network.
struct UNet3DOptions {
  std::int64_t channels = 3;        // of x and of the result
  std::int64_t noise_channels = 0;  // appended to the input
  std::int64_t base = 32;
  NormKind norm = NormKind::batch;
  UpsamplingKind upsampling = UpsamplingKind::nearest;
  bool residual = false;  // T(x) = x + U(x)
  bool flat = false;      // D = 1
  DType compute = DType::f32;
};

/// The network above.
class UNet3D : public TransportMap {
 public:
  explicit UNet3D(const UNet3DOptions& options);
  ~UNet3D() override;
  /// Throws Error unless D (not of a flat network, whose D is 1), H and W are multiples of 8.
  Tensor forward(Tape& tape, const Tensor& x, const Tensor& noise) override;
  [[nodiscard]] std::int64_t noise_channels() const override { return options_.noise_channels; }

 private:
  struct Layers;
  UNet3DOptions options_;
  std::unique_ptr<Layers> layers_;
};

}  // namespace voxot
