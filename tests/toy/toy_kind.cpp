#include "tests/toy/toy_kind.h"

#include <utility>

#include "apps/config.h"
#include "apps/role_state.h"
#include "tests/toy/toy_solver.h"

namespace voxot::toy {
namespace {

constexpr const char* kRoles[] = {"generator", "critic_x", "critic_y"};

struct Role {
  std::int64_t hidden = 16;
  OptimizerConfig optimizer;
};

class Settings final : public SolverSettings {
 public:
  std::int64_t critic_steps = 2, warm_steps = 2, latent = 4;
  double weight = 0.1;
  Role generator, critic_x, critic_y;

  [[nodiscard]] const Role& of(const std::string& role) const {
    return role == kRoles[0] ? generator : role == kRoles[1] ? critic_x : critic_y;
  }
  [[nodiscard]] std::unique_ptr<SolverSettings> clone() const override {
    return std::make_unique<Settings>(*this);
  }
  [[nodiscard]] std::vector<std::string> roles() const override {
    return {std::begin(kRoles), std::end(kRoles)};
  }
  [[nodiscard]] OptimizerConfig* optimizer(const std::string& role) override {
    return &const_cast<Role&>(of(role)).optimizer;
  }
  void visit_solver(ConfigVisitor& v) override {
    v.integer("critic_steps", critic_steps, {1, 100});
    v.integer("warm_steps", warm_steps, {0, 1e6});
    v.integer("latent", latent, {2, 1024});
    v.number("weight", weight, {0, 1e3});
  }
  void visit_networks(ConfigVisitor& v) override {
    for (const char* role : kRoles) {
      v.table(role);
      v.integer("hidden", const_cast<Role&>(of(role)).hidden, {1, 4096});
    }
  }
  [[nodiscard]] std::vector<std::string> lasting_keys() const override { return {"solver.latent"}; }
};

template <class Network>
Trainable<Network> initialised(std::shared_ptr<Network> network, const RunConfig& config,
                               std::uint32_t number, Device device) {
  Initialiser initialiser(Initialisation::pytorch_default, static_cast<std::uint64_t>(config.solver.seed),
                          number);
  network->initialise(initialiser);
  return Trainable<Network>(std::move(network), device);
}

Trainable<Generator> make_generator(const RunConfig& config, const SampleShape& shape, Device device) {
  const auto& s = config.settings.as<Settings>();
  return initialised(std::make_shared<Generator>(s.latent, s.generator.hidden, shape), config, 0, device);
}

Trainable<Critic> make_critic(const RunConfig& config, const SampleShape& shape, const char* role,
                              std::uint32_t number, Device device) {
  const std::int64_t values = shape[0] * shape[1] * shape[2] * shape[3];
  return initialised(std::make_shared<Critic>(values, config.settings.as<Settings>().of(role).hidden), config,
                     number, device);
}

std::unique_ptr<SolverSettings> settings() { return std::make_unique<Settings>(); }

std::unique_ptr<Solver> make(const RunConfig& config, SolverInputs inputs) {
  const auto& s = config.settings.as<Settings>();
  const std::int64_t steps = schedule_steps(config.solver);
  Options o;
  o.batch_size = config.solver.batch_size;
  o.critic_steps = s.critic_steps;
  o.warm_steps = s.warm_steps;
  o.weight = s.weight;
  o.seed = static_cast<std::uint64_t>(config.solver.seed);
  return std::make_unique<ToySolver>(
      o, Parts{.generator = make_generator(config, inputs.shape, inputs.device),
               .critic_x = make_critic(config, inputs.shape, "critic_x", 1, inputs.device),
               .critic_y = make_critic(config, inputs.shape, "critic_y", 2, inputs.device),
               .generator_optimizer = optimizer_options(s.generator.optimizer, steps, 1),
               .critic_x_optimizer = optimizer_options(s.critic_x.optimizer, steps, s.critic_steps),
               .critic_y_optimizer = optimizer_options(s.critic_y.optimizer, steps, s.critic_steps),
               .source = std::move(inputs.source),
               .target = std::move(inputs.target)});
}

std::unique_ptr<Trained> load(const RunConfig& config, const SampleShape& shape, Device device,
                              const Checkpoint& checkpoint) {
  const auto generator = make_generator(config, shape, device);
  const auto critic = make_critic(config, shape, "critic_y", 2, device);
  load_role(checkpoint, "generator", generator.parameters());
  load_role(checkpoint, "critic_y", critic.parameters());
  return std::make_unique<TrainedCoupling>(generator, critic);
}

std::map<std::string, std::string> export_metadata(const RunConfig&, const SampleShape&,
                                                   const std::string& role) {
  if (role != "generator") return {};
  return {{"model", "toy"}};
}

}  // namespace

SolverKind toy_kind() { return {"toy", settings, make, load, export_metadata}; }

}  // namespace voxot::toy
