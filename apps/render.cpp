// voxot render: pictures of volumes in .npy and .npz files and of a run's newest samples.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "apps/commands.h"
#include "apps/picture.h"
#include "apps/volumes.h"
#include "engine/atomic_file.h"
#include "engine/progress.h"
#include "kernels/check.h"

namespace voxot {
namespace {

struct Options {
  std::string input;
  std::string output;
  std::string key;
  std::int64_t count = 32;
  int columns = 8;
  RenderOptions picture;
};

/// One array of a file, and a line where its scale is changed.
Volumes volumes_of(HostArray array, const std::string& name, const std::string& title, std::int64_t count) {
  const std::string scale = scale_text(array);
  if (!scale.empty()) note(fmt::format("{}: {}", name, scale));
  return to_volumes(std::move(array), name, title, count);
}

/// Samples of a run: source above mapped above target. Of another archive the array `key`, or each array of
/// volumes by its name; what cannot be read is left out, with a line.
std::vector<Volumes> volumes_of_npz(const std::filesystem::path& path, const std::string& key,
                                    std::int64_t count) {
  const ArrayFile file(path, "render");
  std::vector<Volumes> rows;
  if (!key.empty()) {
    rows.push_back(volumes_of(file.read(file.samples(key, "--key")), file.title(key), "", count));
    return rows;
  }
  std::vector<std::string> of_run;
  for (const char* name : {"source", "mapped", "sampled_x", "sampled_y"}) {
    if (file.has(name)) of_run.emplace_back(name);
  }
  const bool run = of_run.size() > 1;
  std::vector<std::string> names = file.names();
  std::sort(names.begin(), names.end());
  if (run) {
    names = of_run;
    if (file.has("target")) names.emplace_back("target");
  }
  std::vector<std::pair<std::string, HostArray>> arrays;
  for (const std::string& name : names) {
    try {
      HostArray array = file.read(name);
      if (is_volumes(array)) arrays.emplace_back(name, std::move(array));
    } catch (const Error& error) {
      if (run) throw;
      note(fmt::format("left out: {}", error.what()));
    }
  }
  VOXOT_CHECK(!arrays.empty(), "{}: expected N×C×D×H×W volumes or N×C×H×W images; it holds {}",
              printable(path.string()), file.contents());
  for (auto& [name, array] : arrays)
    rows.push_back(volumes_of(std::move(array), file.title(name), name, count));
  return rows;
}

std::vector<Volumes> read_volumes(const Options& options) {
  const std::filesystem::path input = options.input;
  if (std::filesystem::is_directory(input)) {
    const auto samples = input / "samples" / "last.npz";
    VOXOT_CHECK(std::filesystem::exists(samples),
                "{}: expected a run with samples/last.npz, which voxot train writes", input.string());
    return volumes_of_npz(samples, options.key, std::min<std::int64_t>(options.count, options.columns));
  }
  if (input.extension() == ".npz") {
    return volumes_of_npz(input, options.key, options.count);
  }
  if (input.extension() != ".npy") {
    fail_usage("render: expected a .npy or .npz file or the folder of a run, got {}", input.string());
  }
  const ArrayFile file(input, "render");
  std::vector<Volumes> rows;
  const std::string name = file.samples(options.key, "--key");
  rows.push_back(volumes_of(file.read(name), file.title(name), "", options.count));
  return rows;
}

void render(const Options& options) {
  check_replaceable(options.output);
  const std::vector<Volumes> all = read_volumes(options);
  std::vector<VolumeRow> rows;
  for (const Volumes& volumes : all) {
    VolumeRow row{volumes.title, {}};
    for (std::int64_t i = 0; i < volumes.shape[0]; ++i) row.volumes.push_back(volumes.view(i));
    rows.push_back(std::move(row));
  }
  write_png(options.output, render_rows(rows, options.columns, options.picture));
  fmt::print("{}\n", options.output);
}

}  // namespace

void add_render(CLI::App& app) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("render",
                                         "Draws volumes as an isometric picture.\n"
                                         "Example: voxot render runs/demo --output demo.png");
  command
      ->add_option("input", options->input,
                   "a .npy or .npz file of N×C×D×H×W volumes (floats in [-1, 1], u8, booleans), or the "
                   "folder of a run (its newest samples)")
      ->required();
  command->add_option("--output", options->output, "the PNG file to write")->required();
  command->add_option("--key", options->key,
                      "of a .npz file: draw this array alone, not each that holds volumes");
  command->add_option("--count", options->count, "volumes to draw, the first of the file")
      ->check(integer_in({1, 4096}))
      ->capture_default_str();
  command->add_option("--columns", options->columns, "volumes beside each other")
      ->check(integer_in({1, 64}))
      ->capture_default_str();
  command
      ->add_option("--threshold", options->picture.threshold,
                   "brightness in [0, 1] above which a voxel is drawn")
      ->check(number_in({0, 1}))
      ->capture_default_str();
  command->add_option("--pixels", options->picture.pixels, "side of one volume's picture")
      ->check(integer_in({16, 2048}))
      ->capture_default_str();
  command->callback([options] { render(*options); });
}

}  // namespace voxot
