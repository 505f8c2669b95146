// voxot render: pictures of volumes in .npy and .npz files and of a run's newest samples.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "apps/commands.h"
#include "apps/picture.h"
#include "apps/volumes.h"
#include "engine/host_array.h"
#include "engine/npy.h"
#include "kernels/check.h"

namespace voxot {
namespace {

struct Options {
  std::string input;
  std::string output;
  std::int64_t count = 32;
  int columns = 8;
  RenderOptions picture;
};

// Samples of a run: source above mapped above target. Any other archive: each array of volumes by its name.
std::vector<Volumes> volumes_of_npz(const std::filesystem::path& file, std::int64_t count) {
  std::map<std::string, HostArray> arrays = read_npz(file);
  std::vector<Volumes> rows;
  const auto add = [&](const std::string& name) {
    const auto found = arrays.find(name);
    if (found != arrays.end() && is_volumes(found->second)) {
      rows.push_back(to_volumes(std::move(found->second), file.string() + ": " + name, name, count));
      arrays.erase(found);
    }
  };
  if (arrays.contains("source") && arrays.contains("mapped")) {
    add("source");
    add("mapped");
    add("target");
    return rows;
  }
  std::vector<std::string> names;
  names.reserve(arrays.size());
  for (const auto& [name, array] : arrays) {
    names.push_back(name);
  }
  std::for_each(names.begin(), names.end(), add);
  VOXOT_CHECK(!rows.empty(), "{}: expected N×C×D×H×W volumes or N×C×H×W images, got only {}", file.string(),
              fmt::join(names, ", "));
  return rows;
}

std::vector<Volumes> read_volumes(const Options& options) {
  const std::filesystem::path input = options.input;
  if (std::filesystem::is_directory(input)) {
    const auto samples = input / "samples" / "last.npz";
    VOXOT_CHECK(std::filesystem::exists(samples),
                "{}: expected a run with samples/last.npz, which voxot train writes", input.string());
    return volumes_of_npz(samples, std::min<std::int64_t>(options.count, options.columns));
  }
  if (input.extension() == ".npz") {
    return volumes_of_npz(input, options.count);
  }
  if (input.extension() != ".npy") {
    fail_usage("render: expected a .npy or .npz file or the folder of a run, got {}", input.string());
  }
  std::vector<Volumes> rows;
  rows.push_back(to_volumes(read_npy(input), input.string(), "", options.count));
  return rows;
}

void render(const Options& options) {
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
      ->add_option(
          "input", options->input,
          "a .npy or .npz file of N×C×D×H×W volumes in [-1, 1], or the folder of a run (its newest samples)")
      ->required();
  command->add_option("--output", options->output, "the PNG file to write")->required();
  command->add_option("--count", options->count, "volumes to draw, the first of the file")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  command->add_option("--columns", options->columns, "volumes beside each other")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  command
      ->add_option("--threshold", options->picture.threshold,
                   "brightness in [0, 1] above which a voxel is drawn")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  command->add_option("--pixels", options->picture.pixels, "side of one volume's picture")
      ->check(CLI::Range(16, 2048))
      ->capture_default_str();
  command->callback([options] { render(*options); });
}

}  // namespace voxot
