#pragma once
// Networks from configs.
#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "apps/network_config.h"
#include "apps/solver_kinds.h"
#include "models/network.h"

namespace voxot {

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
