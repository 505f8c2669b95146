#include "apps/networks.h"

#include <fmt/format.h>

#include "models/resnet3d.h"

namespace voxot {
namespace {

constexpr Choice<MapModel> kMapModels[] = {{"unet3d", MapModel::unet3d}, {"mlp", MapModel::mlp}};
constexpr Choice<PotentialModel> kPotentialModels[] = {{"resnet3d", PotentialModel::resnet3d},
                                                       {"mlp", PotentialModel::mlp}};
constexpr Choice<NormKind> kNorms[] = {{"batch", NormKind::batch},
                                       {"group", NormKind::group},
                                       {"instance", NormKind::instance},
                                       {"none", NormKind::none}};
constexpr Choice<UpsamplingKind> kUpsamplings[] = {{"nearest", UpsamplingKind::nearest},
                                                   {"transposed", UpsamplingKind::transposed}};
constexpr Choice<Initialisation> kInitialisations[] = {{"default", Initialisation::pytorch_default},
                                                       {"kaiming", Initialisation::kaiming},
                                                       {"xavier", Initialisation::xavier},
                                                       {"normal", Initialisation::normal}};
constexpr Choice<Activation> kActivations[] = {{"relu", {ActivationKind::relu, 0}},
                                               {"leaky_relu", {ActivationKind::leaky_relu, 0.2F}},
                                               {"silu", {ActivationKind::silu, 0}},
                                               {"softplus", {ActivationKind::softplus, 0}},
                                               {"tanh", {ActivationKind::tanh, 0}}};

constexpr Range kWidth{1, 65536};

/// What keys of one model go with.
std::string with_model(const std::string& role, const char* model) {
  return fmt::format("{}.model = \"{}\"", role, model);
}

}  // namespace

void visit(TransportConfig& c, const std::string& role, ConfigVisitor& v) {
  v.table(role);
  visit_choice(v, "model", c.model, kMapModels);
  {
    const When unet(v, c.model == MapModel::unet3d, with_model(role, "unet3d"));
    v.integer("base", c.base, {1, 4096});
    visit_choice(v, "normalisation", c.normalisation, kNorms);
    visit_choice(v, "upsampling", c.upsampling, kUpsamplings);
  }
  v.flag("residual", c.residual);
  {
    const When mlp(v, c.model == MapModel::mlp, with_model(role, "mlp"));
    v.integers("hidden", c.hidden, kWidth, -1);
    visit_choice(v, "activation", c.activation, kActivations);
    v.flag("linear", c.linear);
  }
  visit_choice(v, "init", c.init, kInitialisations);
}

void visit(PotentialConfig& c, const std::string& role, ConfigVisitor& v) {
  v.table(role);
  visit_choice(v, "model", c.model, kPotentialModels);
  {
    const When resnet(v, c.model == PotentialModel::resnet3d, with_model(role, "resnet3d"));
    v.integer("nf", c.nf, {1, 4096});
    v.integer("nf_max", c.nf_max, {1, 4096});
    v.number("res_ratio", c.res_ratio, {0, 100});
  }
  {
    const When mlp(v, c.model == PotentialModel::mlp, with_model(role, "mlp"));
    v.integers("hidden", c.hidden, kWidth, -1);
    visit_choice(v, "activation", c.activation, kActivations);
    v.flag("quadratic", c.quadratic);
  }
  v.flag("spectral_normalisation", c.spectral_normalisation);
  visit_choice(v, "init", c.init, kInitialisations);
}

void check(const PotentialConfig& c, const std::string& role) {
  if (c.model == PotentialModel::resnet3d && c.nf_max < c.nf) {
    fail_usage("{0}.nf_max: expected at least {0}.nf, {1}, got {2}", role, c.nf, c.nf_max);
  }
}

ExtentsRule extents_rule(const TransportConfig& c, const std::string& role, const Extents&) {
  if (c.model != MapModel::unet3d) return {"", [](const Extents&) { return true; }};
  return {role + ".model unet3d takes multiples of 8 (D may be 1)", unet3d_takes};
}

ExtentsRule extents_rule(const PotentialConfig& c, const std::string& role, const Extents& extents) {
  if (c.model != PotentialModel::resnet3d) return {"", [](const Extents&) { return true; }};
  return {fmt::format("{}.model resnet3d takes extents from 4 on, here multiples of {} (D may be 1)", role,
                      std::int64_t{2} << resnet3d_levels(extents)),
          resnet3d_takes};
}

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
