#include "apps/session.h"

#include <optional>

#include "apps/labelled_batch.h"
#include "apps/role_state.h"

namespace voxot {
namespace {

/// The state's step is the draw's number.
Sampler make_sampler(Dataset& data, RandomState state, Device device) {
  // A CPU draws from what the data set holds already.
  const auto there = device == Device::cpu ? std::nullopt : data.on_device(device);
  if (there) {
    return [samples = *there, state](const std::uint64_t* draw, std::int64_t count) mutable {
      state.offset = draw;
      return samples.draw({state, count});
    };
  }
  return [&data, state](std::uint64_t draw, std::int64_t count) mutable {
    state.step = draw;
    return draw_volumes(data, {state, count});
  };
}

}  // namespace

SampleShape common_shape(const RunConfig& config, const Dataset& source, const Dataset& target) {
  const SampleShape shape = source.sample_shape();
  const SampleShape other = target.sample_shape();
  if (shape != other) {
    fail_usage("config: source samples are {}×{}×{}×{} (D×H×W×C), target samples {}×{}×{}×{}", shape[0],
               shape[1], shape[2], shape[3], other[0], other[1], other[2], other[3]);
  }
  config.settings->check_shape(config, shape);
  return shape;
}

Session::Session(const RunConfig& config, const std::filesystem::path& data_directory, Device device)
    : config_(config),
      device_(device),
      source_(open_dataset(config.source, Split::train, data_directory)),
      target_(open_dataset(config.target, Split::train, data_directory)) {
  const auto seed = static_cast<std::uint64_t>(config.solver.seed);
  solver_ = solver_kind(config.solver.kind)
                .make(config, {.shape = common_shape(config, *source_, *target_),
                               .device = device,
                               .source = make_sampler(*source_, {seed, Purpose::source_samples}, device),
                               .target = make_sampler(*target_, {seed, Purpose::target_samples}, device)});
}

SafetensorsFile Session::checkpoint(const std::map<std::string, std::string>& extra) {
  SafetensorsFile file;
  for (const NetworkRole& role : solver_->networks())
    file.tensors.merge(state_dict(role.parameters->module(), role.name + "."));
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
  for (const NetworkRole& role : solver_->networks()) load_role(checkpoint, role.name, *role.parameters);
  solver_->load(checkpoint.file.tensors, checkpoint.path.string());
}

void Session::begin_with(const RunFolder& run) {
  const auto newest = run.newest();
  VOXOT_CHECK(newest.has_value(), "init_from: {} holds no checkpoint", run.path().string());
  const Checkpoint checkpoint = run.read(*newest);
  for (const NetworkRole& role : solver_->networks()) load_role(checkpoint, role.name, *role.parameters);
  const auto counts = [this](const std::string& key) { return describes_network(config_, key); };
  if (const auto lines = first_difference(checkpoint.config, config_, counts)) {
    fail_usage("init_from: {} was made with `{}`, the config says `{}`", run.path().string(), lines->front(),
               lines->back());
  }
}

void Session::export_networks(const RunFolder& folder) {
  for (const NetworkRole& role : solver_->networks()) {
    SafetensorsFile out;
    out.metadata =
        solver_kind(config_.solver.kind).export_metadata(config_, source_->sample_shape(), role.name);
    if (out.metadata.empty()) continue;
    out.metadata["format"] = "pt";
    out.metadata["precision"] = config_.solver.precision;
    const Averaged averaged(role.average);
    out.tensors = state_dict(role.parameters->module());
    write_safetensors(folder.exported(role.name), out);
  }
}

}  // namespace voxot
