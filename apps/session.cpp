#include "apps/session.h"

#include <algorithm>

#include "apps/device.h"
#include "apps/extents.h"
#include "models/mlp.h"
#include "models/resnet3d.h"
#include "models/unet3d.h"

namespace voxot {
namespace {

template <class T>
struct Named {
  const char* name;
  T value;
};

/// The config has checked the word already; an unknown one is a defect.
template <class T, std::size_t N>
T find(const Named<T> (&table)[N], const std::string& name) {
  for (const auto& entry : table) {
    if (name == entry.name) return entry.value;
  }
  fail("config: no meaning for {}", name);
}

constexpr Named<NormKind> kNorms[] = {{"batch", NormKind::batch},
                                      {"group", NormKind::group},
                                      {"instance", NormKind::instance},
                                      {"none", NormKind::none}};
constexpr Named<UpsamplingKind> kUpsamplings[] = {{"nearest", UpsamplingKind::nearest},
                                                  {"transposed", UpsamplingKind::transposed}};
constexpr Named<Initialisation> kInitialisations[] = {{"default", Initialisation::pytorch_default},
                                                      {"kaiming", Initialisation::kaiming},
                                                      {"xavier", Initialisation::xavier},
                                                      {"normal", Initialisation::normal}};
constexpr Named<Activation> kActivations[] = {{"relu", {ActivationKind::relu, 0}},
                                              {"leaky_relu", {ActivationKind::leaky_relu, 0.2F}},
                                              {"silu", {ActivationKind::silu, 0}},
                                              {"softplus", {ActivationKind::softplus, 0}},
                                              {"tanh", {ActivationKind::tanh, 0}}};
constexpr Named<OptimizerKind> kOptimizers[] = {{"sgd", OptimizerKind::sgd},
                                                {"adam", OptimizerKind::adam},
                                                {"adamw", OptimizerKind::adamw},
                                                {"rmsprop", OptimizerKind::rmsprop}};
constexpr Named<ScheduleKind> kSchedules[] = {{"constant", ScheduleKind::constant},
                                              {"linear", ScheduleKind::linear},
                                              {"cosine", ScheduleKind::cosine},
                                              {"steps", ScheduleKind::steps}};

/// `rate`: optimizer steps in one outer iteration, in which the config counts its schedules.
OptimizerOptions optimizer_options(const OptimizerConfig& c, std::int64_t outer_steps, std::int64_t rate) {
  OptimizerOptions o;
  o.params.kind = find(kOptimizers, c.kind);
  o.params.beta1 = c.betas[0];
  o.params.beta2 = c.betas[1];
  o.params.epsilon = c.epsilon;
  o.params.weight_decay = c.weight_decay;
  o.params.momentum = c.momentum;
  o.params.alpha = c.alpha;
  o.learning_rate = c.learning_rate;
  o.clip_norm = c.clip_norm;
  o.schedule.kind = find(kSchedules, c.schedule);
  o.schedule.total = outer_steps * rate;
  o.schedule.warmup = c.warmup_steps * rate;
  o.schedule.final_scale = c.final_scale;
  o.schedule.decay = c.decay;
  for (const std::int64_t m : c.milestones) o.schedule.milestones.push_back(m * rate);
  return o;
}

NeuralOtOptions solver_options(const SolverConfig& c) {
  NeuralOtOptions o;
  const bool weak = c.form == "weak";
  o.inner_steps = c.inner_steps;
  o.batch_size = c.batch_size;
  o.noise_samples = weak ? c.noise_samples : 1;
  o.noise = {c.noise_std, c.noise_cells};
  o.gamma = weak ? c.gamma : 0;
  o.gamma_steps = weak ? c.gamma_steps : 0;
  o.freeze_batchnorm = c.freeze_batchnorm;
  o.ema = c.ema;
  o.source_noise = c.source_noise;
  o.gradient_penalty = c.gradient_penalty;
  o.drift_penalty = c.drift_penalty;
  o.seed = static_cast<std::uint64_t>(c.seed);
  return o;
}

void add_prefixed(const Module& module, const std::string& prefix, std::map<std::string, HostArray>& arrays) {
  arrays.merge(state_dict(module, prefix));
}

std::map<std::string, HostArray> take_prefixed(const std::string& prefix,
                                               const std::map<std::string, HostArray>& all) {
  std::map<std::string, HostArray> some;
  for (auto it = all.lower_bound(prefix); it != all.end() && it->first.starts_with(prefix); ++it) {
    some[it->first.substr(prefix.size())] = it->second;
  }
  return some;
}

/// The state's step is the draw's number.
Sampler make_sampler(Dataset& data, RandomState state, Device device) {
  // A CPU draws from what the data set holds already.
  const auto there = device == Device::cpu ? std::nullopt : data.on_device(device);
  if (there) {
    return [samples = *there, state](const std::uint64_t* draw, std::int64_t count) mutable {
      state.offset = draw;
      return samples.draw(state, count);
    };
  }
  return [&data, state](std::uint64_t draw, std::int64_t count) mutable {
    state.step = draw;
    return draw_batch(data, state, count).volumes;
  };
}

}  // namespace

std::shared_ptr<TransportMap> make_map(const RunConfig& config, const SampleShape& shape) {
  const TransportConfig& c = config.transport;
  std::shared_ptr<TransportMap> map;
  if (c.model == "mlp") {
    MlpOptions o;
    o.volume = shape;
    o.hidden = c.hidden;
    o.noise_channels = config.solver.noise_channels;
    o.residual = c.residual;
    o.activation = find(kActivations, c.activation);
    o.linear = c.linear;
    map = std::make_shared<MlpMap>(o);
  } else {
    UNet3DOptions o;
    o.channels = shape[3];
    o.noise_channels = config.solver.noise_channels;
    o.base = c.base;
    o.norm = find(kNorms, c.normalisation);
    o.upsampling = find(kUpsamplings, c.upsampling);
    o.residual = c.residual;
    o.flat = shape[0] == 1;
    o.compute = compute_dtype(config.solver.precision);
    map = std::make_shared<UNet3D>(o);
  }
  Initialiser initialiser(find(kInitialisations, c.init), static_cast<std::uint64_t>(config.solver.seed), 0);
  map->initialise(initialiser);
  if (c.residual) {
    // x + U(x) starts as the identity: the first steps need not undo a random U.
    const std::string last = c.model == "mlp" ? fmt::format("mlp.layers.{}.", c.hidden.size()) : "outc.";
    for (const NamedTensor& entry : map->named_tensors()) {
      if (entry.name.starts_with(last)) entry.tensor->fill(0);
    }
  }
  return map;
}

std::shared_ptr<Potential> make_potential(const RunConfig& config, const SampleShape& shape) {
  const PotentialConfig& c = config.potential;
  std::shared_ptr<Potential> f;
  if (c.model == "mlp") {
    MlpOptions o;
    o.volume = shape;
    o.hidden = c.hidden;
    o.activation = find(kActivations, c.activation);
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
    o.compute = compute_dtype(config.solver.precision);
    f = std::make_shared<ResNet3D>(o);
  }
  Initialiser initialiser(find(kInitialisations, c.init), static_cast<std::uint64_t>(config.solver.seed), 1);
  f->initialise(initialiser);
  return f;
}

LabelledBatch draw_batch(Dataset& dataset, const RandomState& state, std::int64_t count) {
  const auto s = dataset.sample_shape();
  LabelledBatch batch;
  batch.volumes = Tensor::empty({count, s[0], s[1], s[2], s[3]});
  dataset.draw(state, count, batch.volumes.as<float>(), &batch.labels);
  return batch;
}

Session::Session(const RunConfig& config, const std::filesystem::path& data_directory, Device device)
    : config_(config),
      device_(device),
      source_(open_dataset(config.source, Split::train, data_directory)),
      target_(open_dataset(config.target, Split::train, data_directory)),
      shape_(source_->sample_shape()) {
  const SampleShape other = target_->sample_shape();
  if (shape_ != other) {
    fail_usage("config: source samples are {}×{}×{}×{} (D×H×W×C), target samples {}×{}×{}×{}", shape_[0],
               shape_[1], shape_[2], shape_[3], other[0], other[1], other[2], other[3]);
  }
  check_extents(config, shape_);
  map_ = make_map(config, shape_);
  potential_ = make_potential(config, shape_);
  std::shared_ptr<const Cost> cost = std::make_shared<QuadraticCost>();
  if (config.solver.form == "weak") cost = std::make_shared<WeakQuadraticCost>();
  const auto seed = static_cast<std::uint64_t>(config.solver.seed);
  const std::int64_t steps = schedule_steps(config.solver);
  solver_ = std::make_unique<NeuralOt>(
      solver_options(config.solver),
      NeuralOtParts{Trainable<TransportMap>(map_, device), Trainable<Potential>(potential_, device), cost,
                    optimizer_options(config.transport_optimizer, steps, config.solver.inner_steps),
                    optimizer_options(config.potential_optimizer, steps, 1),
                    make_sampler(*source_, {seed, Purpose::source_samples}, device),
                    make_sampler(*target_, {seed, Purpose::target_samples}, device)});
}

SafetensorsFile Session::checkpoint(const std::map<std::string, std::string>& extra) {
  SafetensorsFile file;
  add_prefixed(*map_, "transport.", file.tensors);
  add_prefixed(*potential_, "potential.", file.tensors);
  solver_->save(file.tensors);
  file.metadata = extra;
  file.metadata["config"] = to_toml(config_);
  file.metadata["format"] = "voxot checkpoint 1";
  return file;
}

void Session::save(const std::filesystem::path& file, const std::map<std::string, std::string>& extra) {
  write_safetensors(file, checkpoint(extra));
}

void Session::load(const Checkpoint& checkpoint) {
  const auto& tensors = checkpoint.file.tensors;
  const std::string name = checkpoint.path.string();
  load_state_dict(*map_, take_prefixed("transport.", tensors), name + ": map");
  load_state_dict(*potential_, take_prefixed("potential.", tensors), name + ": potential");
  solver_->load(tensors, name);
}

void Session::begin_with(const RunFolder& run) {
  const auto newest = run.newest();
  VOXOT_CHECK(newest.has_value(), "init_from: {} holds no checkpoint", run.path().string());
  const Checkpoint checkpoint = run.read(*newest);
  const std::string name = checkpoint.path.string();
  load_state_dict(*map_, take_prefixed("transport.", checkpoint.file.tensors), name + ": map");
  load_state_dict(*potential_, take_prefixed("potential.", checkpoint.file.tensors), name + ": potential");
  RunConfig same = config_;
  same.transport = checkpoint.config.transport;
  same.potential = checkpoint.config.potential;
  same.transport.init = config_.transport.init;
  same.potential.init = config_.potential.init;
  if (const auto lines = first_difference(same, config_)) {
    fail_usage("init_from: {} was made with `{}`, the config says `{}`", run.path().string(), lines->front(),
               lines->back());
  }
}

void Session::export_map(const std::filesystem::path& file) {
  const Averaged averaged(solver_->networks().front().average);
  SafetensorsFile out;
  out.tensors = state_dict(*map_);
  out.metadata = {{"format", "pt"},
                  {"model", config_.transport.model},
                  {"normalisation", config_.transport.normalisation},
                  {"residual", config_.transport.residual ? "true" : "false"},
                  {"noise_channels", std::to_string(config_.solver.noise_channels)},
                  {"noise_std", fmt::format("{}", config_.solver.noise_std)},
                  {"noise_cells", std::to_string(config_.solver.noise_cells)}};
  write_safetensors(file, out);
}

void load_checkpoint_map(const Checkpoint& checkpoint, TransportMap& map, Parameters& parameters) {
  const auto& tensors = checkpoint.file.tensors;
  load_state_dict(map, take_prefixed("transport.", tensors), checkpoint.path.string());
  const double decay = checkpoint.config.solver.ema;
  if (decay == 0) return;
  MovingAverage average(parameters, decay);
  average.load("solver.average.", tensors, checkpoint.path.string());
  if (average.ready()) average.swap();
}

}  // namespace voxot
