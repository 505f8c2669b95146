#pragma once
// The tables of networks that more than one solver has: [transport] and [potential].
#include <cstdint>
#include <string>
#include <vector>

#include "apps/config_visitor.h"
#include "engine/module.h"
#include "models/unet3d.h"

namespace voxot {

enum class MapModel : std::uint8_t { unet3d, mlp };

/// [transport]: the network of a map T.
struct TransportConfig {
  MapModel model = MapModel::unet3d;
  std::int64_t base = 8;                                  // unet3d: channels of the first level
  NormKind normalisation = NormKind::batch;               // unet3d: batch | group | instance | none
  UpsamplingKind upsampling = UpsamplingKind::nearest;    // unet3d: nearest | transposed
  bool residual = true;                                   // T(x) = x + U(x)
  std::vector<std::int64_t> hidden{128, 128, 128};        // mlp: widths
  Activation activation{ActivationKind::relu, 0};         // mlp
  bool linear = false;                                    // mlp: a linear map beside the layers
  Initialisation init = Initialisation::pytorch_default;  // default | kaiming | xavier | normal
};

enum class PotentialModel : std::uint8_t { resnet3d, mlp };

/// [potential]: the network of a potential f.
struct PotentialConfig {
  PotentialModel model = PotentialModel::resnet3d;
  std::int64_t nf = 16;                             // resnet3d: channels of the first level
  std::int64_t nf_max = 512;                        // resnet3d: the widest level
  double res_ratio = 0.1;                           // resnet3d: scale of a block's residual branch
  std::vector<std::int64_t> hidden{128, 128, 128};  // mlp: widths
  Activation activation{ActivationKind::relu, 0};   // mlp: as the map's
  bool quadratic = false;                           // mlp: a quadratic form beside the layers
  bool spectral_normalisation = false;              // every layer's weight over its largest singular value
  Initialisation init = Initialisation::pytorch_default;
};

/// The keys of a table that is called `role`.
void visit(TransportConfig& config, const std::string& role, ConfigVisitor& visitor);
void visit(PotentialConfig& config, const std::string& role, ConfigVisitor& visitor);
/// Throw UsageError.
void check(const PotentialConfig& config, const std::string& role);

// Words of these keys, also in the metadata of exported networks.
inline constexpr Choice<MapModel> kMapModels[] = {{"unet3d", MapModel::unet3d}, {"mlp", MapModel::mlp}};
inline constexpr Choice<NormKind> kNorms[] = {{"batch", NormKind::batch},
                                              {"group", NormKind::group},
                                              {"instance", NormKind::instance},
                                              {"none", NormKind::none}};
inline constexpr Choice<Activation> kActivations[] = {{"relu", {ActivationKind::relu, 0}},
                                                      {"leaky_relu", {ActivationKind::leaky_relu, 0.2F}},
                                                      {"silu", {ActivationKind::silu, 0}},
                                                      {"softplus", {ActivationKind::softplus, 0}},
                                                      {"tanh", {ActivationKind::tanh, 0}}};

}  // namespace voxot
