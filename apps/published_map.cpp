#include "apps/published_map.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <sstream>
#include <vector>

#include "apps/device.h"
#include "apps/networks.h"
#include "engine/safetensors.h"
#include "models/mlp.h"

namespace voxot {
namespace {

using StateDict = std::map<std::string, HostArray>;

/// Far above any network that fits into a memory.
constexpr std::int64_t kMostChannels = 65536;

/// What DataParallel and torch.compile put before every name.
constexpr std::array<std::string_view, 2> kWrappers{"module.", "_orig_mod."};

/// The names without wrappers' prefixes, which all of them share.
StateDict unwrapped(StateDict tensors) {
  const auto all_begin = [&](std::string_view prefix) {
    return !tensors.empty() && std::all_of(tensors.begin(), tensors.end(), [prefix](const auto& entry) {
      return entry.first.starts_with(prefix);
    });
  };
  const auto next = [&] { return std::find_if(kWrappers.begin(), kWrappers.end(), all_begin); };
  for (const auto* wrapper = next(); wrapper != kWrappers.end(); wrapper = next()) {
    StateDict shorter;
    for (auto& [name, array] : tensors) shorter[name.substr(wrapper->size())] = std::move(array);
    tensors = std::move(shorter);
  }
  return tensors;
}

/// Counts of batches where there are running statistics: older PyTorch had none, and some exports drop them.
void add_counters(StateDict& tensors) {
  constexpr std::string_view kMean = "running_mean";
  std::vector<std::string> missing;
  for (const auto& [name, array] : tensors) {
    if (!name.ends_with(kMean)) continue;
    missing.push_back(name.substr(0, name.size() - kMean.size()) + "num_batches_tracked");
  }
  for (const std::string& name : missing) tensors.try_emplace(name, HostArray::from_int64({}, {0}));
}

/// The facts of one file, and the names of those that neither options nor metadata give.
class Facts {
 public:
  Facts(const SafetensorsFile& file, std::string name) : file_(file), name_(std::move(name)) {}

  /// One of `words`, which are the metadata's; `said` is the option's, "auto" where it was not given.
  std::string word(const std::string& key, const std::string& said, const std::string& option,
                   const std::array<const char*, 2>& words) {
    if (said != "auto") return said;
    const auto found = file_.metadata.find(key);
    if (found == file_.metadata.end()) {
      unknown_.push_back(option);
      return words[0];
    }
    VOXOT_CHECK(found->second == words[0] || found->second == words[1],
                "{}: metadata {}: expected {} or {}, got \"{}\"", name_, key, words[0], words[1],
                found->second);
    return found->second;
  }
  template <class T>
  T number(const std::string& key, const std::optional<T>& said, const std::string& option, T most) {
    if (said) return *said;
    const std::optional<T> found = metadata_number<T>(file_.metadata, key, name_, T{0}, most);
    if (!found) unknown_.push_back(option);
    return found.value_or(T{0});
  }
  void check() const {
    if (unknown_.empty()) return;
    fail_usage("{}: no tensor shows, and no metadata say, what is asked here: give {}", name_,
               fmt::join(unknown_, " and "));
  }

 private:
  const SafetensorsFile& file_;
  std::string name_;
  std::vector<std::string> unknown_;
};

/// What the shapes and names show.
UNet3DOptions shown(const StateDict& tensors, const std::string& file) {
  const auto first = tensors.find("inc.double_conv.0.weight");
  const auto last = tensors.find("outc.conv.weight");
  VOXOT_CHECK(first != tensors.end() && last != tensors.end() && first->second.shape.size() == 5 &&
                  last->second.shape.size() == 5,
              "{}: expected a UNet3D state dict with inc.double_conv.0.weight and outc.conv.weight", file);
  UNet3DOptions o;
  o.base = first->second.shape[0];
  o.channels = last->second.shape[0];
  o.noise_channels = first->second.shape[1] - o.channels;
  o.flat = first->second.shape[2] == 1;
  const bool norm = tensors.contains("inc.double_conv.1.weight");
  const bool batch = tensors.contains("inc.double_conv.1.running_mean");
  o.norm = batch ? NormKind::batch : norm ? NormKind::group : NormKind::none;
  o.upsampling = tensors.contains("up2.up.weight") ? UpsamplingKind::transposed : UpsamplingKind::nearest;
  VOXOT_CHECK(std::min(o.base, o.channels) >= 1 && o.noise_channels >= 0 &&
                  std::max({o.base, o.channels, o.noise_channels}) <= kMostChannels,
              "{}: expected a UNet3D of 1 to {} channels, got base {}, {} channels and {} of noise", file,
              kMostChannels, o.base, o.channels, o.noise_channels);
  return o;
}

}  // namespace

namespace {

/// voxot's own export of a perceptron: what its shapes do not show is in its metadata.
MlpOptions shown_mlp(const SafetensorsFile& file, const std::string& name) {
  const auto said = [&](const char* key) {
    const auto found = file.metadata.find(key);
    VOXOT_CHECK(found != file.metadata.end(), "{}: metadata {}: expected with model mlp, found none", name,
                key);
    return found->second;
  };
  MlpOptions o;
  std::istringstream volume(said("volume"));
  for (std::int64_t& extent : o.volume) volume >> extent;
  o.hidden.clear();
  std::int64_t in = 0;
  for (std::size_t i = 0;; ++i) {
    const auto layer = file.tensors.find(fmt::format("mlp.layers.{}.weight", i));
    if (layer == file.tensors.end()) break;
    VOXOT_CHECK(layer->second.shape.size() == 2, "{}: {}: expected a matrix, got {}", name, layer->first,
                layer->second.describe());
    if (i == 0) in = layer->second.shape[1];
    o.hidden.push_back(layer->second.shape[0]);
  }
  const std::int64_t voxels = o.volume[0] * o.volume[1] * o.volume[2];
  VOXOT_CHECK(!volume.fail() && *std::min_element(o.volume.begin(), o.volume.end()) >= 1 &&
                  *std::max_element(o.volume.begin(), o.volume.end()) <= kMostChannels && !o.hidden.empty() &&
                  in % voxels == 0 && in / voxels >= o.volume[3],
              "{}: expected layers from {} values of \"{}\", got {} layers from {}", name,
              voxels * o.volume[3], said("volume"), o.hidden.size(), in);
  o.hidden.pop_back();
  o.noise_channels = in / voxels - o.volume[3];
  o.activation = activation_of(said("activation"), name);
  o.linear = file.tensors.contains("linear.weight");
  return o;
}

/// The file as a network; checked against the outline first, since a small file may name a vast one.
template <class Network, class Options>
Trainable<TransportMap> load_network(const Options& options, const StateDict& tensors,
                                     const std::string& file, Device device) {
  {
    const OutlineOnly no_memory;
    check_state_dict(Network(options), tensors, file);
  }
  const auto map = make_trainable<Network>(options, device);
  load_state_dict(*map, tensors, file);
  return map;
}

/// A word of --precision: what was asked for, what the file says, or fp32.
std::string precision_of(const SafetensorsFile& file, const std::string& asked) {
  if (!asked.empty()) return asked;
  const auto found = file.metadata.find("precision");
  return found == file.metadata.end() ? "fp32" : found->second;
}

}  // namespace

std::unique_ptr<Trained> load_published_map(const std::string& file, const MapFacts& facts,
                                            const std::string& precision, Device device) {
  SafetensorsFile weights = read_safetensors(file);
  const auto model = weights.metadata.find("model");
  if (model != weights.metadata.end()) note_without_checksum(weights, file);  // voxot's own export
  weights.tensors = unwrapped(std::move(weights.tensors));
  const DType compute = compute_dtype(choose_precision(precision_of(weights, precision), device));
  const bool mlp = model != weights.metadata.end() && model->second == "mlp";
  MlpOptions p;
  UNet3DOptions u;
  if (mlp) {
    p = shown_mlp(weights, file);
  } else {
    add_counters(weights.tensors);
    u = shown(weights.tensors, file);
    u.compute = compute;
  }
  Facts told(weights, file);
  const std::string residual = told.word("residual", facts.residual,
                                         "--residual yes|no (yes: the map is x + U(x))", {"false", "true"});
  u.residual = p.residual = residual == "true" || residual == "yes";
  if (!mlp && u.norm == NormKind::group &&
      told.word("normalisation", facts.normalisation, "--normalisation group|instance",
                {"group", "instance"}) == "instance")
    u.norm = NormKind::instance;
  NoiseOptions noise;
  if ((mlp ? p.noise_channels : u.noise_channels) > 0) {
    noise.deviation = told.number("noise_std", facts.noise_std, "--noise-std DEVIATION", 1e6);
    noise.cells = told.number<std::int64_t>("noise_cells", facts.noise_cells,
                                            "--noise-cells N (0: a number for each voxel)", 256);
  }
  told.check();
  return std::make_unique<TrainedMap>(mlp ? load_network<MlpMap>(p, weights.tensors, file, device)
                                          : load_network<UNet3D>(u, weights.tensors, file, device),
                                      noise);
}

}  // namespace voxot
