// solver.kind = "neural_ot": keys, roles and making of solvers/neural_ot.h.
#include <fmt/format.h>

#include "apps/config.h"
#include "apps/device.h"
#include "apps/extents.h"
#include "apps/role_state.h"
#include "solvers/neural_ot.h"

namespace voxot {
namespace {

constexpr const char* kTransport = "transport";
constexpr const char* kPotential = "potential";

enum class Form : std::uint8_t { strong, weak };
constexpr Choice<Form> kForms[] = {{"strong", Form::strong}, {"weak", Form::weak}};
constexpr const char* kCosts[] = {"quadratic", "weak_quadratic"};  // by form

struct NeuralOtConfig {
  Form form = Form::strong;
  std::string cost = kCosts[0];      // the form's; defaulted from it
  std::int64_t inner_steps = 4;      // K_T: transport steps for each potential step
  double gamma = 0.66;               // weak: the final γ
  std::int64_t gamma_steps = 25000;  // weak: γ rises linearly from 0 over so many outer iterations
  std::int64_t noise_samples = 8;    // weak: Z, noise draws for each source sample
  double noise_std = 0.1;            // weak: standard deviation of the noise
  std::int64_t noise_cells = 0;     // weak: along each axis, cells that share a number; 0: each voxel its own
  std::int64_t noise_channels = 1;  // weak: appended to the map's input
  double ema = 0.99;                // decay of the map's averaged weights; 0: none
  double source_noise = 0;          // standard deviation of noise on x in transport steps; 0: none
  double gradient_penalty = 0;      // λ of ½·λ·D·E‖∇f‖² at mapped and real samples; 0: none
  double drift_penalty = 0;         // ε of ε·E f² at mapped and real samples; 0: none
  bool freeze_batchnorm = true;     // the map's BatchNorm in evaluation mode in the potential step
  TransportConfig transport;
  PotentialConfig potential;
  OptimizerConfig transport_optimizer;
  OptimizerConfig potential_optimizer;
};

class NeuralOtSettings final : public SolverSettings {
 public:
  std::unique_ptr<SolverSettings> clone() const override { return std::make_unique<NeuralOtSettings>(*this); }

  std::vector<std::string> roles() const override { return {kTransport, kPotential}; }
  OptimizerConfig* optimizer(const std::string& role) override {
    return role == kTransport ? &c_.transport_optimizer : &c_.potential_optimizer;
  }

  void visit_solver(ConfigVisitor& v) override {
    visit_choice(v, "form", c_.form, kForms);
    v.word("cost", c_.cost, kCosts);
    v.integer("inner_steps", c_.inner_steps, {1, 100000});
    {
      const When weak(v, c_.form == Form::weak, "solver.form = \"weak\"");
      v.number("gamma", c_.gamma, {0, 10});
      v.integer("gamma_steps", c_.gamma_steps, {0, 1e9});
      v.integer("noise_samples", c_.noise_samples, {1, 1024});
      v.number("noise_std", c_.noise_std, {0, 1e6, true});
      v.integer("noise_cells", c_.noise_cells, {0, 256});
      v.integer("noise_channels", c_.noise_channels, {0, 1024});
    }
    v.number("ema", c_.ema, {0, 1, false, true});
    v.number("source_noise", c_.source_noise, {0, 1e6});
    v.number("gradient_penalty", c_.gradient_penalty, {0, 1e6});
    v.number("drift_penalty", c_.drift_penalty, {0, 1e6});
    const When batchnorm(
        v, c_.transport.model == MapModel::unet3d && c_.transport.normalisation == NormKind::batch,
        "transport.model = \"unet3d\" and transport.normalisation = \"batch\"");
    v.flag("freeze_batchnorm", c_.freeze_batchnorm);
  }

  void visit_networks(ConfigVisitor& v) override {
    visit(c_.transport, kTransport, v);
    visit(c_.potential, kPotential, v);
  }

  void resolve(const GivesKey& gives) override {
    if (!gives("solver.cost")) c_.cost = cost();
  }

  void check(const RunConfig& config) const override {
    if (c_.cost != cost()) {
      fail_usage("solver.cost: the {} form expects \"{}\", got \"{}\"", form(), cost(), c_.cost);
    }
    if (weak() && c_.noise_channels < 1) {
      fail_usage("solver.noise_channels: the weak form expects at least 1, got {}", c_.noise_channels);
    }
    if (weak() && c_.noise_samples < 2) {
      fail_usage("solver.noise_samples: the weak form's variance expects at least 2, got {}",
                 c_.noise_samples);
    }
    voxot::check(c_.potential, kPotential);
    const DatasetConfig& source = config.source;
    if (weak() && c_.noise_cells > 0 && source.dataset != "npy" && source.resolution % c_.noise_cells != 0) {
      fail_usage("solver.noise_cells: expected a divisor of the resolution {}, got {}", source.resolution,
                 c_.noise_cells);
    }
  }

  void check_shape(const RunConfig& config, const SampleShape& shape) const override {
    const Extents extents{shape[0], shape[1], shape[2]};
    check_extents(
        config, shape,
        {extents_rule(c_.transport, kTransport, extents), extents_rule(c_.potential, kPotential, extents)});
  }

  std::vector<std::string> lasting_keys() const override {
    return {"solver.form",      "solver.cost",        "solver.noise_samples",
            "solver.noise_std", "solver.noise_cells", "solver.noise_channels",
            "solver.ema"};
  }
  std::string form() const override { return word_of(c_.form, kForms); }
  // The weak form's is another.
  bool seeks_optimal_map() const override { return !weak(); }

  std::unique_ptr<Solver> make(const RunConfig& config, SolverInputs inputs) const override {
    const std::int64_t steps = schedule_steps(config.solver);
    const DType compute = compute_dtype(config.solver.precision);
    std::shared_ptr<const Cost> cost = std::make_shared<QuadraticCost>();
    if (weak()) cost = std::make_shared<WeakQuadraticCost>();
    return std::make_unique<NeuralOt>(
        options(config.solver),
        NeuralOtParts{Trainable<TransportMap>(map(config, inputs.shape), inputs.device),
                      Trainable<Potential>(make_potential(c_.potential, inputs.shape, compute,
                                                          {seed_of(config), kPotentialNetwork}),
                                           inputs.device),
                      cost, optimizer_options(c_.transport_optimizer, steps, c_.inner_steps),
                      optimizer_options(c_.potential_optimizer, steps, 1), std::move(inputs.source),
                      std::move(inputs.target)});
  }

  std::unique_ptr<Trained> load(const RunConfig& config, const SampleShape& shape, Device device,
                                const Checkpoint& checkpoint) const override {
    const Trainable<TransportMap> loaded(map(config, shape), device);
    if (c_.ema > 0) {
      load_averaged_role(checkpoint, kTransport, "solver.average.", loaded.parameters());
    } else {
      load_role(checkpoint, kTransport, loaded.parameters());
    }
    return std::make_unique<TrainedMap>(loaded, noise());
  }

  std::map<std::string, std::string> export_metadata(const RunConfig&, const SampleShape& shape,
                                                     const std::string& role) const override {
    if (role != kTransport) return {};
    auto metadata = map_metadata(c_.transport, shape);
    metadata["noise_channels"] = std::to_string(noise_channels());
    metadata["noise_std"] = fmt::format("{}", c_.noise_std);
    metadata["noise_cells"] = std::to_string(c_.noise_cells);
    return metadata;
  }

 private:
  // Numbers of the networks' initial values.
  static constexpr std::uint32_t kTransportNetwork = 0;
  static constexpr std::uint32_t kPotentialNetwork = 1;

  static std::uint64_t seed_of(const RunConfig& config) {
    return static_cast<std::uint64_t>(config.solver.seed);
  }
  bool weak() const { return c_.form == Form::weak; }
  const char* cost() const { return kCosts[weak() ? 1 : 0]; }
  std::int64_t noise_channels() const { return weak() ? c_.noise_channels : 0; }
  NoiseOptions noise() const { return {c_.noise_std, c_.noise_cells}; }

  std::shared_ptr<TransportMap> map(const RunConfig& config, const SampleShape& shape) const {
    return make_map(c_.transport, shape, noise_channels(), compute_dtype(config.solver.precision),
                    {seed_of(config), kTransportNetwork});
  }

  NeuralOtOptions options(const SolverConfig& common) const {
    NeuralOtOptions o;
    o.inner_steps = c_.inner_steps;
    o.batch_size = common.batch_size;
    o.noise_samples = weak() ? c_.noise_samples : 1;
    o.noise = noise();
    o.gamma = weak() ? c_.gamma : 0;
    o.gamma_steps = weak() ? c_.gamma_steps : 0;
    o.freeze_batchnorm = c_.freeze_batchnorm;
    o.ema = c_.ema;
    o.source_noise = c_.source_noise;
    o.gradient_penalty = c_.gradient_penalty;
    o.drift_penalty = c_.drift_penalty;
    o.seed = static_cast<std::uint64_t>(common.seed);
    return o;
  }

  NeuralOtConfig c_;
};

}  // namespace

std::unique_ptr<SolverSettings> neural_ot_settings() { return std::make_unique<NeuralOtSettings>(); }

}  // namespace voxot
