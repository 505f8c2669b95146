#include "apps/network_config.h"

#include <fmt/format.h>

#include "kernels/check.h"

namespace voxot {
namespace {

constexpr Choice<PotentialModel> kPotentialModels[] = {{"resnet3d", PotentialModel::resnet3d},
                                                       {"mlp", PotentialModel::mlp}};
constexpr Choice<UpsamplingKind> kUpsamplings[] = {{"nearest", UpsamplingKind::nearest},
                                                   {"transposed", UpsamplingKind::transposed}};
constexpr Choice<Initialisation> kInitialisations[] = {{"default", Initialisation::pytorch_default},
                                                       {"kaiming", Initialisation::kaiming},
                                                       {"xavier", Initialisation::xavier},
                                                       {"normal", Initialisation::normal}};

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

}  // namespace voxot
