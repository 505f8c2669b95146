#pragma once
// Maps from files of weights alone: state dicts of UNet3D under PyTorch's names (models/unet3d.h).
#include <memory>
#include <optional>
#include <string>

#include "engine/parameters.h"
#include "models/network.h"
#include "models/noise.h"

namespace voxot {

/// A map, and the noise that it takes.
struct LoadedMap {
  std::shared_ptr<TransportMap> map;
  std::unique_ptr<Parameters> parameters;
  NoiseOptions noise;
};

/// What no tensor of a state dict shows: what a user says of it goes before what the file's metadata say.
struct MapFacts {
  std::string residual = "auto";       // auto | yes | no: T(x) = x + U(x)
  std::string normalisation = "auto";  // auto | group | instance, whose weights look alike
  std::optional<double> noise_std;     // of noise channels, which show
  std::optional<std::int64_t> noise_cells;
};

/// Reads the architecture off the shapes and names; prefixes that PyTorch's wrappers put before all names
/// ("module.", "_orig_mod.") are taken off, and counters of batches, which no map reads, may be missing.
/// Throws UsageError, naming the options, where a fact is in neither `facts` nor the metadata; Error for what
/// is no such state dict.
LoadedMap load_published_map(const std::string& file, const MapFacts& facts, DType compute, Device device);

}  // namespace voxot
