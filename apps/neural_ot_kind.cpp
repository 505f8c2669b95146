// solver.kind = "neural_ot": what is made of its config.
#include <fmt/format.h>

#include <utility>

#include "apps/config.h"
#include "apps/device.h"
#include "apps/networks.h"
#include "apps/neural_ot_config.h"
#include "apps/role_state.h"
#include "engine/streams.h"
#include "solvers/neural_ot.h"

namespace voxot {
namespace {

using neural_ot::kPotential;
using neural_ot::kTransport;

const neural_ot::Config& own(const RunConfig& config) {
  return config.settings.as<neural_ot::Settings>().config;
}

std::uint64_t seed_of(const RunConfig& config) { return static_cast<std::uint64_t>(config.solver.seed); }

NoiseOptions noise_of(const neural_ot::Config& c) { return {c.noise_std, c.noise_cells}; }

std::int64_t noise_channels_of(const neural_ot::Config& c) { return c.weak() ? c.noise_channels : 0; }

std::shared_ptr<TransportMap> make_transport(const RunConfig& config, const SampleShape& shape) {
  const neural_ot::Config& c = own(config);
  return make_map(c.transport, shape, noise_channels_of(c), compute_dtype(config.solver.precision),
                  {seed_of(config), number_of(NetworkStream::transport)});
}

NeuralOtOptions options_of(const RunConfig& config) {
  const neural_ot::Config& c = own(config);
  NeuralOtOptions o;
  o.inner_steps = c.inner_steps;
  o.batch_size = config.solver.batch_size;
  o.noise_samples = c.weak() ? c.noise_samples : 1;
  o.noise = noise_of(c);
  o.gamma = c.weak() ? c.gamma : 0;
  o.gamma_steps = c.weak() ? c.gamma_steps : 0;
  o.freeze_batchnorm = c.freeze_batchnorm;
  o.ema = c.ema;
  o.source_noise = c.source_noise;
  o.gradient_penalty = c.gradient_penalty;
  o.drift_penalty = c.drift_penalty;
  o.seed = seed_of(config);
  return o;
}

std::unique_ptr<Solver> make(const RunConfig& config, SolverInputs inputs) {
  const neural_ot::Config& c = own(config);
  const std::int64_t steps = schedule_steps(config.solver);
  auto potential = make_potential(c.potential, inputs.shape, compute_dtype(config.solver.precision),
                                  {seed_of(config), number_of(NetworkStream::potential)});
  std::shared_ptr<const Cost> cost = std::make_shared<QuadraticCost>();
  if (c.weak()) cost = std::make_shared<WeakQuadraticCost>();
  return std::make_unique<NeuralOt>(
      options_of(config),
      NeuralOtParts{.transport = Trainable<TransportMap>(make_transport(config, inputs.shape), inputs.device),
                    .potential = Trainable<Potential>(std::move(potential), inputs.device),
                    .cost = std::move(cost),
                    .transport_optimizer = optimizer_options(c.transport_optimizer, steps, c.inner_steps),
                    .potential_optimizer = optimizer_options(c.potential_optimizer, steps, 1),
                    .source = std::move(inputs.source),
                    .target = std::move(inputs.target)});
}

std::unique_ptr<Trained> load(const RunConfig& config, const SampleShape& shape, Device device,
                              const Checkpoint& checkpoint) {
  const neural_ot::Config& c = own(config);
  const Trainable<TransportMap> map(make_transport(config, shape), device);
  if (c.ema > 0) {
    load_averaged_role(checkpoint, kTransport, "solver.average.", map.parameters());
  } else {
    load_role(checkpoint, kTransport, map.parameters());
  }
  return std::make_unique<TrainedMap>(map, noise_of(c));
}

std::map<std::string, std::string> export_metadata(const RunConfig& config, const SampleShape& shape,
                                                   const std::string& role) {
  if (role != kTransport) return {};
  const neural_ot::Config& c = own(config);
  auto metadata = map_metadata(c.transport, shape);
  metadata["noise_channels"] = std::to_string(noise_channels_of(c));
  metadata["noise_std"] = fmt::format("{}", c.noise_std);
  metadata["noise_cells"] = std::to_string(c.noise_cells);
  return metadata;
}

std::unique_ptr<SolverSettings> settings() { return std::make_unique<neural_ot::Settings>(); }

}  // namespace

SolverKind neural_ot_kind() { return {"neural_ot", settings, make, load, export_metadata}; }

}  // namespace voxot
