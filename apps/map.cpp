// voxot map: maps volumes of a .npy file by a run's map or by a state dict in published form.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <memory>

#include "apps/commands.h"
#include "apps/device.h"
#include "apps/session.h"
#include "engine/npy.h"
#include "kernels/features.h"
#include "models/noise.h"
#include "models/unet3d.h"

namespace voxot {
namespace {

struct Options {
  std::string model;
  std::string input;
  std::string output;
  std::string device = "auto";
  std::string precision = "fp32";
  std::string residual = "auto";
  std::string checkpoint = "best";
  std::int64_t samples = 1;
  std::int64_t seed = 0;
  double noise_std = -1;
  int threads = 0;
};

constexpr std::int64_t kBatch = 16;

/// A map, and the noise that it takes.
struct LoadedMap {
  std::unique_ptr<TransportMap> map;
  std::unique_ptr<Parameters> parameters;
  NoiseOptions noise;
};

std::string metadata_or(const SafetensorsFile& file, const std::string& key, const std::string& otherwise) {
  const auto found = file.metadata.find(key);
  return found == file.metadata.end() ? otherwise : found->second;
}

/// Reads the architecture off the shapes and names of a published UNet3D state dict.
LoadedMap load_state_dict_file(const Options& options, Device device) {
  const SafetensorsFile file = read_safetensors(options.model);
  if (file.metadata.contains("model")) note_without_checksum(file, options.model);  // voxot's own export
  const auto first = file.tensors.find("inc.double_conv.0.weight");
  const auto last = file.tensors.find("outc.conv.weight");
  VOXOT_CHECK(first != file.tensors.end() && last != file.tensors.end() && first->second.shape.size() == 5 &&
                  last->second.shape.size() == 5,
              "{}: expected a UNet3D state dict with inc.double_conv.0.weight and outc.conv.weight",
              options.model);
  UNet3DOptions o;
  o.base = first->second.shape[0];
  o.channels = last->second.shape[0];
  o.noise_channels = first->second.shape[1] - o.channels;
  o.flat = first->second.shape[2] == 1;
  const bool norm = file.tensors.contains("inc.double_conv.1.weight");
  const bool batch = file.tensors.contains("inc.double_conv.1.running_mean");
  o.norm = batch ? NormKind::batch : norm ? NormKind::group : NormKind::none;
  o.upsampling =
      file.tensors.contains("up2.up.weight") ? UpsamplingKind::transposed : UpsamplingKind::nearest;
  o.residual =
      (options.residual == "auto" ? metadata_or(file, "residual", "false") : options.residual) == "true";
  o.compute = compute_dtype(options.precision);
  if (norm && !batch && metadata_or(file, "normalisation", "group") == "instance")
    o.norm = NormKind::instance;
  LoadedMap loaded;
  loaded.map = std::make_unique<UNet3D>(o);
  loaded.parameters = std::make_unique<Parameters>(*loaded.map, DType::f32, device);
  load_state_dict(*loaded.map, file.tensors, options.model);
  loaded.noise = {
      metadata_number(file.metadata, "noise_std", options.model, 0.0, 1e6).value_or(0.1),
      metadata_number<std::int64_t>(file.metadata, "noise_cells", options.model, 0, 256).value_or(0)};
  return loaded;
}

/// A run's map, as `voxot evaluate` scores it.
LoadedMap load_run(const Options& options, const SampleShape& shape, Device device) {
  const RunFolder folder(options.model);
  RunConfig config = folder.load_config();
  config.solver.precision = options.precision;
  LoadedMap loaded;
  loaded.map = make_map(config, shape);
  loaded.parameters = std::make_unique<Parameters>(*loaded.map, DType::f32, device);
  load_checkpoint_map(folder.chosen_checkpoint(options.checkpoint), config.solver, *loaded.map,
                      *loaded.parameters);
  loaded.noise = {config.solver.noise_std, config.solver.noise_cells};
  return loaded;
}

/// Copies volumes between N×C×voxels (files) and N×voxels×C (here).
void transpose(const float* from, float* to, std::int64_t n, std::int64_t rows, std::int64_t columns) {
  for (std::int64_t i = 0; i < n; ++i) {
    for (std::int64_t r = 0; r < rows; ++r) {
      for (std::int64_t c = 0; c < columns; ++c)
        to[(i * columns + c) * rows + r] = from[(i * rows + r) * columns + c];
    }
  }
}

void map_file(Options options) {
  kernels::set_threads(options.threads);
  const Device device = choose_device(options.device);
  options.precision = choose_precision(options.precision, device);
  const HostArray input = read_npy(options.input);
  VOXOT_CHECK((input.shape.size() == 5 || input.shape.size() == 2) && input.count() > 0,
              "{}: expected N×C×D×H×W volumes or N×C vectors, got {}", options.input, input.describe());
  std::vector<std::int64_t> s = input.shape;
  s.resize(5, 1);
  const std::int64_t n = s[0];
  const std::int64_t channels = s[1];
  const std::int64_t voxels = s[2] * s[3] * s[4];
  LoadedMap loaded = std::filesystem::is_directory(options.model)
                         ? load_run(options, {s[2], s[3], s[4], channels}, device)
                         : load_state_dict_file(options, device);
  loaded.map->set_training(false);
  if (options.noise_std >= 0) loaded.noise.deviation = options.noise_std;
  const std::vector<float> from = input.to_floats();
  std::vector<float> to(from.size() * static_cast<std::size_t>(options.samples));
  std::vector<float> here(from.size());
  transpose(from.data(), here.data(), n, channels, voxels);
  Tape tape;
  const NoRecord quiet(tape);
  const std::int64_t each = channels * voxels;
  for (std::int64_t z = 0; z < options.samples; ++z) {
    for (std::int64_t first = 0; first < n; first += kBatch) {
      const std::int64_t count = std::min(kBatch, n - first);
      const Shape shape{count, s[2], s[3], s[4], channels};
      const Tensor x = Tensor::from(
          shape, std::span<const float>(here.data() + first * each, static_cast<std::size_t>(count * each)),
          DType::f32, device);
      const RandomState state{static_cast<std::uint64_t>(options.seed), Purpose::noise,
                              static_cast<std::uint64_t>(z * n + first)};
      const Tensor noise = draw_noise(tape, *loaded.map, x, loaded.noise, state);
      const std::vector<float> y = loaded.map->forward(tape, x, noise).to_floats();
      transpose(y.data(), to.data() + (z * n + first) * each, count, voxels, channels);
    }
  }
  std::vector<std::int64_t> shape = input.shape;
  if (options.samples > 1) shape.insert(shape.begin(), options.samples);
  write_npy(options.output, HostArray::from_floats(shape, to));
  fmt::print("{}\n", options.output);
}

}  // namespace

void add_map(CLI::App& app) {
  auto o = std::make_shared<Options>();
  CLI::App* command =
      app.add_subcommand("map",
                         "Maps the volumes of a .npy file.\n"
                         "Example: voxot map runs/demo --input threes.npy --output fives.npy");
  command
      ->add_option("model", o->model,
                   "folder of a run, or a UNet3D state dict in published names (.safetensors)")
      ->required();
  command->add_option("--input", o->input, "N×C×D×H×W volumes in [-1, 1] (.npy)")->required();
  command->add_option("--output", o->output, "the .npy file to write; with --samples Z > 1 it is Z×N×C×D×H×W")
      ->required();
  command->add_option("--samples", o->samples, "noise draws for each volume")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  command->add_option("--seed", o->seed, "seed of the noise")->check(whole_number())->capture_default_str();
  command->add_option("--noise-std", o->noise_std, "deviation of the noise (default: as trained)");
  command
      ->add_option("--residual", o->residual,
                   "the state dict's map is x + U(x); auto: as the file says, else false")
      ->check(CLI::IsMember({"auto", "true", "false"}))
      ->capture_default_str();
  command->add_option("--checkpoint", o->checkpoint, "of a run: the best on validation, or the last")
      ->check(CLI::IsMember({"best", "last"}))
      ->capture_default_str();
  add_device_option(*command, o->device);
  add_precision_option(*command, o->precision);
  command->add_option("--threads", o->threads, "threads of the CPU backend; 0: all")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  command->callback([o] { map_file(*o); });
}

}  // namespace voxot
