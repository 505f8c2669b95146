#include "apps/networks.h"

#include <fmt/format.h>

#include "models/mlp.h"
#include "models/resnet3d.h"
#include "models/unet3d.h"

namespace voxot {

std::shared_ptr<TransportMap> make_map(const TransportConfig& c, const SampleShape& shape,
                                       std::int64_t noise_channels, DType compute, const NetworkSeed& seed) {
  std::shared_ptr<TransportMap> map;
  if (c.model == MapModel::mlp) {
    MlpOptions o;
    o.volume = shape;
    o.hidden = c.hidden;
    o.noise_channels = noise_channels;
    o.residual = c.residual;
    o.activation = c.activation;
    o.linear = c.linear;
    map = std::make_shared<MlpMap>(o);
  } else {
    UNet3DOptions o;
    o.channels = shape[3];
    o.noise_channels = noise_channels;
    o.base = c.base;
    o.norm = c.normalisation;
    o.upsampling = c.upsampling;
    o.residual = c.residual;
    o.flat = shape[0] == 1;
    o.compute = compute;
    map = std::make_shared<UNet3D>(o);
  }
  Initialiser initialiser(c.init, seed.seed, seed.network);
  map->initialise(initialiser);
  if (c.residual) {
    // x + U(x) starts as the identity: the first steps need not undo a random U.
    const std::string last =
        c.model == MapModel::mlp ? fmt::format("mlp.layers.{}.", c.hidden.size()) : "outc.";
    for (const NamedTensor& entry : map->named_tensors()) {
      if (entry.name.starts_with(last)) entry.tensor->fill(0);
    }
  }
  return map;
}

std::shared_ptr<Potential> make_potential(const PotentialConfig& c, const SampleShape& shape, DType compute,
                                          const NetworkSeed& seed) {
  std::shared_ptr<Potential> f;
  if (c.model == PotentialModel::mlp) {
    MlpOptions o;
    o.volume = shape;
    o.hidden = c.hidden;
    o.activation = c.activation;
    o.quadratic = c.quadratic;
    o.spectral_normalisation = c.spectral_normalisation;
    f = std::make_shared<MlpPotential>(o);
  } else {
    ResNet3DOptions o;
    o.channels = shape[3];
    o.extent = {shape[0], shape[1], shape[2]};
    o.nf = c.nf;
    o.nf_max = c.nf_max;
    o.res_ratio = c.res_ratio;
    o.spectral_normalisation = c.spectral_normalisation;
    o.compute = compute;
    f = std::make_shared<ResNet3D>(o);
  }
  Initialiser initialiser(c.init, seed.seed, seed.network);
  f->initialise(initialiser);
  return f;
}

std::map<std::string, std::string> map_metadata(const TransportConfig& c, const SampleShape& shape) {
  std::map<std::string, std::string> metadata{{"model", word_of(c.model, kMapModels)},
                                              {"residual", c.residual ? "true" : "false"}};
  if (c.model == MapModel::unet3d) {
    metadata["normalisation"] = word_of(c.normalisation, kNorms);
  } else {
    metadata["activation"] = word_of(c.activation, kActivations);
    metadata["volume"] = fmt::format("{} {} {} {}", shape[0], shape[1], shape[2], shape[3]);
  }
  return metadata;
}

Activation activation_of(const std::string& word, const std::string& name) {
  for (const auto& choice : kActivations) {
    if (word == choice.word) return choice.value;
  }
  fail("{}: metadata activation: no activation is called \"{}\"", name, word);
}

}  // namespace voxot
