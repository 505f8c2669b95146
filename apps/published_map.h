#pragma once
// Maps from files of weights alone: state dicts of UNet3D under PyTorch's names (models/unet3d.h), and what
// voxot itself exports.
#include <memory>
#include <optional>
#include <string>

#include "kernels/device.h"
#include "solvers/network_transport.h"

namespace voxot {

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
/// is no such state dict. A perceptron (models/mlp.h) is read where the metadata are those of voxot's own
/// export. `precision`: a word of --precision; empty: the metadata's, else fp32.
std::unique_ptr<Trained> load_published_map(const std::string& file, const MapFacts& facts,
                                            const std::string& precision, Device device);

}  // namespace voxot
