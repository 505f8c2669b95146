#pragma once
// Networks from configs: the tables of the roles that more than one solver has.
#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "apps/config_visitor.h"
#include "models/extents.h"
#include "models/mlp.h"
#include "models/unet3d.h"

namespace voxot {

/// D, H, W, C of the samples that a config describes.
using SampleShape = std::array<std::int64_t, 4>;

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

/// What a network asks of the volumes that it takes: a rule for a message, and whether it takes some.
struct ExtentsRule {
  std::string text;  // "transport.model unet3d takes multiples of 8 (D may be 1)"; empty: takes all
  TakesExtents takes;
};
ExtentsRule extents_rule(const TransportConfig& config, const std::string& role, const Extents& extents);
ExtentsRule extents_rule(const PotentialConfig& config, const std::string& role, const Extents& extents);

/// Where a network's initial values come from.
struct NetworkSeed {
  std::uint64_t seed;
  std::uint32_t network;  // its number among those of the run
};

/// A new network with its initial values, on the host. A residual map starts as the identity.
std::shared_ptr<TransportMap> make_map(const TransportConfig& config, const SampleShape& shape,
                                       std::int64_t noise_channels, DType compute, const NetworkSeed& seed);
std::shared_ptr<Potential> make_potential(const PotentialConfig& config, const SampleShape& shape,
                                          DType compute, const NetworkSeed& seed);

/// What a map's state dict does not show, as metadata of a file that holds it alone (read by
/// load_published_map).
std::map<std::string, std::string> map_metadata(const TransportConfig& config, const SampleShape& shape);
/// The activation of a word of map_metadata(). Throws Error, beginning with `name`, for another.
Activation activation_of(const std::string& word, const std::string& name);

}  // namespace voxot
