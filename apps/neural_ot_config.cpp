#include "apps/neural_ot_config.h"

#include <fmt/format.h>

#include "apps/config.h"
#include "apps/extents.h"
#include "datasets/kinds.h"

namespace voxot::neural_ot {
namespace {

constexpr Choice<Form> kForms[] = {{"strong", Form::strong}, {"weak", Form::weak}};
constexpr const char* kCosts[] = {"quadratic", "weak_quadratic"};

const char* cost_of(const Config& c) { return kCosts[c.weak() ? 1 : 0]; }

}  // namespace

OptimizerConfig* Settings::optimizer(const std::string& role) {
  return role == kTransport ? &config.transport_optimizer : &config.potential_optimizer;
}

void Settings::visit_solver(ConfigVisitor& v) {
  Config& c = config;
  visit_choice(v, "form", c.form, kForms);
  v.word("cost", c.cost, kCosts);
  v.integer("inner_steps", c.inner_steps, {1, 100000});
  {
    const When weak(v, c.weak(), "solver.form = \"weak\"");
    v.number("gamma", c.gamma, {0, 10});
    v.integer("gamma_steps", c.gamma_steps, {0, 1e9});
    v.integer("noise_samples", c.noise_samples, {1, 1024});
    v.number("noise_std", c.noise_std, {0, 1e6, true});
    v.integer("noise_cells", c.noise_cells, {0, 256});
    v.integer("noise_channels", c.noise_channels, {0, 1024});
  }
  v.number("ema", c.ema, {0, 1, false, true});
  v.number("source_noise", c.source_noise, {0, 1e6});
  v.number("gradient_penalty", c.gradient_penalty, {0, 1e6});
  v.number("drift_penalty", c.drift_penalty, {0, 1e6});
  const When batchnorm(v,
                       c.transport.model == MapModel::unet3d && c.transport.normalisation == NormKind::batch,
                       "transport.model = \"unet3d\" and transport.normalisation = \"batch\"");
  v.flag("freeze_batchnorm", c.freeze_batchnorm);
}

void Settings::visit_networks(ConfigVisitor& v) {
  visit(config.transport, kTransport, v);
  visit(config.potential, kPotential, v);
}

void Settings::resolve(const GivesKey& gives) {
  if (!gives("solver.cost")) config.cost = cost_of(config);
}

void Settings::check(const RunConfig& run) const {
  const Config& c = config;
  if (c.cost != cost_of(c)) {
    fail_usage("solver.cost: the {} form expects \"{}\", got \"{}\"", form(), cost_of(c), c.cost);
  }
  if (c.weak() && c.noise_channels < 1) {
    fail_usage("solver.noise_channels: the weak form expects at least 1, got {}", c.noise_channels);
  }
  if (c.weak() && c.noise_samples < 2) {
    fail_usage("solver.noise_samples: the weak form's variance expects at least 2, got {}", c.noise_samples);
  }
  voxot::check(c.potential, kPotential);
  if (c.weak() && c.noise_cells > 0 && reads(run.source, DatasetKey::resolution) &&
      run.source.resolution % c.noise_cells != 0) {
    fail_usage("solver.noise_cells: expected a divisor of the resolution {}, got {}", run.source.resolution,
               c.noise_cells);
  }
}

void Settings::check_shape(const RunConfig& run, const SampleShape& shape) const {
  const Extents extents{shape[0], shape[1], shape[2]};
  check_extents(
      run, shape,
      {extents_rule(config.transport, kTransport), extents_rule(config.potential, kPotential, extents)});
}

std::vector<std::string> Settings::lasting_keys() const {
  return {"solver.form",      "solver.cost",        "solver.noise_samples",
          "solver.noise_std", "solver.noise_cells", "solver.noise_channels",
          "solver.ema"};
}

std::string Settings::form() const { return word_of(config.form, kForms); }

}  // namespace voxot::neural_ot
