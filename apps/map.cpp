// voxot map: maps volumes of a .npy or .npz file by a run's map or by a state dict in published form.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <memory>

#include "apps/commands.h"
#include "apps/device.h"
#include "apps/published_map.h"
#include "apps/run_folder.h"
#include "datasets/array_file.h"
#include "engine/atomic_file.h"
#include "engine/progress.h"
#include "kernels/features.h"
#include "kernels/sizes.h"

namespace voxot {
namespace {

struct Options {
  std::string model;
  std::string input;
  std::string key;
  std::string output;
  std::string device = "auto";
  std::string precision;
  std::string checkpoint = "best";
  MapFacts facts;
  std::int64_t samples = 1;
  std::int64_t seed = 0;
  int threads = 0;
};

constexpr std::int64_t kBatch = 16;
/// What a run has trained, as `voxot evaluate` scores it.
std::unique_ptr<Trained> load_run(const Options& options, const SampleShape& shape, Device device) {
  if (options.facts.residual != "auto" || options.facts.normalisation != "auto" ||
      options.facts.noise_cells) {
    fail_usage(
        "map: --residual, --normalisation and --noise-cells are for files of weights; the run {} has a "
        "config",
        options.model);
  }
  const RunFolder folder(options.model);
  const Checkpoint checkpoint = folder.read_chosen(options.checkpoint);
  (void)folder.load_config_of(checkpoint);  // refuses what another map was made with
  RunConfig config = checkpoint.config;
  if (!options.precision.empty()) config.solver.precision = options.precision;
  config.solver.precision = choose_precision(config.solver.precision, device);
  auto trained = solver_kind(config.solver.kind).load(config, shape, device, checkpoint);
  VOXOT_CHECK(trained->capabilities().transport != nullptr, "{}: a run of {} has no map to apply",
              options.model, config.solver.kind);
  return trained;
}

/// What is to be mapped: the samples, the axes of their file, and what a message calls them.
struct MapInput {
  NetworkSamples samples;
  std::vector<std::int64_t> axes;
  std::string name;
};

MapInput read_input(const Options& options) {
  const ArrayFile file(options.input, "map: --input");
  const std::string name = file.samples(options.key, "--key");
  const HostArray array = file.read(name);
  MapInput input{network_samples(array, file.title(name)), array.shape, file.title(name)};
  const std::string scale = scale_text(array);
  if (!scale.empty()) note(fmt::format("{}: {}; the output has the network's scale too", input.name, scale));
  return input;
}

void map_file(const Options& options) {
  kernels::set_threads(options.threads);
  check_replaceable(options.output);
  const Device device = choose_device(options.device);
  const MapInput input = read_input(options);
  const auto [n, depth, height, width, channels] = input.samples.shape;
  const std::int64_t voxels = depth * height * width;
  const std::int64_t each = voxels * channels;
  const auto trained = std::filesystem::is_directory(options.model)
                           ? load_run(options, {depth, height, width, channels}, device)
                           : load_published_map(options.model, options.facts, options.precision, device);
  Transport& transport = *trained->capabilities().transport;
  if (options.facts.noise_std) transport.set_noise_deviation(*options.facts.noise_std);
  std::vector<float> to(input.samples.values.size() * to_size(options.samples));
  for (std::int64_t z = 0; z < options.samples; ++z) {
    for (std::int64_t first = 0; first < n; first += kBatch) {
      const std::int64_t count = std::min(kBatch, n - first);
      const std::span<const float> from(input.samples.values.data() + first * each, to_size(count * each));
      const Tensor x = Tensor::from({count, depth, height, width, channels}, from);
      const std::vector<float> y = transport
                                       .apply(x, {static_cast<std::uint64_t>(options.seed), Purpose::noise,
                                                  static_cast<std::uint64_t>(z * n + first)})
                                       .to_floats();
      const auto bad = std::find_if(y.begin(), y.end(), [](float v) { return !std::isfinite(v); });
      VOXOT_CHECK(bad == y.end(), "{}: the map makes {} of sample {} of {}", options.model, *bad,
                  first + (bad - y.begin()) / each, input.name);
      transpose_samples(y.data(), to.data() + (z * n + first) * each, count, voxels, channels);
    }
  }
  std::vector<std::int64_t> shape = input.axes;
  if (options.samples > 1) shape.insert(shape.begin(), options.samples);
  write_npy(options.output, HostArray::from_floats(shape, to));
  fmt::print("{}\n", options.output);
}

}  // namespace

void add_map(CLI::App& app) {
  auto o = std::make_shared<Options>();
  CLI::App* command =
      app.add_subcommand("map",
                         "Maps the volumes of a .npy or .npz file.\n"
                         "Example: voxot map runs/demo --input threes.npy --output fives.npy");
  command
      ->add_option("model", o->model,
                   "folder of a run, or a UNet3D state dict in published names (.safetensors)")
      ->required();
  command
      ->add_option("--input", o->input,
                   "N×C×D×H×W volumes, N×C×H×W images or N×C vectors (.npy, .npz): floats as the map was "
                   "trained on, u8 or booleans, which are read as [-1, 1]")
      ->required();
  command->add_option("--key", o->key, "the array of a .npz file (else data, x or the only one)");
  command
      ->add_option("--output", o->output,
                   "the .npy file to write; with --samples Z > 1 it has Z before the axes of the input")
      ->required();
  command->add_option("--samples", o->samples, "noise draws for each volume")
      ->check(integer_in({1, 4096}))
      ->capture_default_str();
  command->add_option("--seed", o->seed, "seed of the noise")
      ->check(integer_in(kWholeNumbers))
      ->capture_default_str();
  command->add_option("--noise-std", o->facts.noise_std, "deviation of the noise (default: as trained)")
      ->check(number_in({0, 1e6}));
  command
      ->add_option("--residual", o->facts.residual,
                   "of a file of weights: its map is x + U(x), or U(x); auto: as its metadata say")
      ->check(CLI::IsMember({"auto", "yes", "no"}))
      ->capture_default_str();
  command
      ->add_option("--normalisation", o->facts.normalisation,
                   "of a file of weights without running statistics; auto: as its metadata say")
      ->check(CLI::IsMember({"auto", "group", "instance"}))
      ->capture_default_str();
  command
      ->add_option("--noise-cells", o->facts.noise_cells,
                   "of a file of weights: noise for each of N cells a side, 0 for each voxel (default: as "
                   "its metadata say)")
      ->check(integer_in({0, 256}));
  command->add_option("--checkpoint", o->checkpoint, "of a run: the best on validation, or the last")
      ->check(CLI::IsMember({"best", "last"}))
      ->capture_default_str();
  add_device_option(*command, o->device);
  add_precision_option(*command, o->precision);
  command->add_option("--threads", o->threads, "threads of the CPU backend; 0: all")
      ->check(integer_in(kThreads))
      ->capture_default_str();
  command->callback([o] { map_file(*o); });
}

}  // namespace voxot
