#pragma once
// The convolutions of UNet3D and ResNet3D (models/), as shapes.
#include <string>
#include <vector>

#include "kernels/conv3d.h"

namespace voxot::bench {

struct Layer {
  std::string name;  // "unet.down1.0"
  Conv3dParams params;
  bool leaky = false;     // LeakyReLU in the epilogue, else the bias alone
  bool residual = false;  // residual + 0.1·(…) in the epilogue
};

/// Each distinct shape once, under the name of the first layer that has it, for volumes of extent³ with three
/// channels.
std::vector<Layer> unet_layers(std::int64_t base, std::int64_t batch, std::int64_t extent);
std::vector<Layer> resnet_layers(std::int64_t nf, std::int64_t batch, std::int64_t extent);

/// Of the convolutions of an outer iteration of strong neural OT: `inner` transport steps through both
/// networks, the potential's weights frozen, and a potential step on T(x), without a tape, and y.
double outer_iteration_flop(std::int64_t base, std::int64_t nf, std::int64_t batch, std::int64_t extent,
                            std::int64_t inner);

/// Of one pass: twice the multiply-adds inside the volume; those that meet the padding count too, as papers
/// count them.
double flop(const Conv3dParams& params);

}  // namespace voxot::bench
