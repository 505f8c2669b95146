#include "datasets/kinds.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <string_view>
#include <vector>

#include "datasets/array_dataset.h"
#include "datasets/digits.h"
#include "datasets/gaussian.h"
#include "datasets/kaggle3d.h"
#include "datasets/mnist.h"
#include "datasets/mnistm.h"
#include "datasets/usps.h"
#include "datasets/voxel_dataset.h"
#include "datasets/w2bench.h"
#include "kernels/check.h"

namespace voxot {
namespace {

namespace fs = std::filesystem;
using enum DatasetKey;

/// Volumes or images of a population of images; the config is checked before files are looked for.
template <class OpenImages>
std::unique_ptr<Dataset> painted(const DatasetConfig& config, const OpenImages& open_images) {
  const bool flat = kind_of(config).form == SampleForm::images;
  check_voxel_config(config, flat);
  return std::make_unique<VoxelDataset>(config, flat, open_images());
}

std::unique_ptr<Dataset> open_of_mnist(const DatasetConfig& c, Split split, const fs::path& data_directory) {
  return painted(c, [&] { return open_mnist(split, c.classes, data_directory); });
}

std::unique_ptr<Dataset> open_of_digits(const DatasetConfig& c, Split split, const fs::path&) {
  return painted(c, [&] { return open_digits(split, c.classes); });
}

std::unique_ptr<Dataset> open_of_usps(const DatasetConfig& c, Split split, const fs::path& data_directory) {
  return painted(c, [&] { return open_usps(split, c.classes, data_directory); });
}

std::unique_ptr<Dataset> open_auto(const DatasetConfig& config, Split split, const fs::path& data_directory) {
  DatasetConfig resolved = config;
  resolve_kind(resolved, data_directory);
  return open_dataset(resolved, split, data_directory);
}

DatasetFiles files_in(const fs::path& where, std::int64_t (*split_size)(Split)) {
  if (where.empty()) return {};
  return {true, where, {split_size(Split::train), split_size(Split::validation), split_size(Split::test)}};
}

DatasetFiles mnist_files(const fs::path& data_directory) {
  return files_in(find_mnist(data_directory), mnist_split_size);
}

DatasetFiles usps_files(const fs::path& data_directory) {
  return files_in(find_usps(data_directory), usps_split_size);
}

DatasetFiles mnistm_files(const fs::path& data_directory) {
  const fs::path textures = find_textures(data_directory);
  const DatasetFiles digits = mnist_files(data_directory);
  const bool found = digits.found && !textures.empty();
  return {found, textures, found ? digits.items : std::array<std::int64_t, 3>{}};
}

DatasetFiles no_files(const fs::path&) { return {true, {}, {-1, -1, -1}}; }
DatasetFiles own_file(const fs::path&) { return {true, {}, {}}; }

constexpr DatasetKeys kImageKeys{classes, order, colour, rotation, rotate, rotation_degrees, resolution};
constexpr DatasetKeys kVolumeKeys{classes,          order,      colour, rotation, rotate,
                                  rotation_degrees, resolution, extrude};

constexpr DatasetKind kKinds[] = {
    {.name = "auto",
     .description = "mnist3d where MNIST is found, else digits",
     .form = SampleForm::volumes,
     .digits = true,
     .keys = kVolumeKeys,
     .open = open_auto},
    {.name = "mnist3d",
     .description = "MNIST digits extruded into coloured volumes",
     .form = SampleForm::volumes,
     .digits = true,
     .downloaded = "mnist",
     .keys = kVolumeKeys,
     .open = open_of_mnist,
     .find = mnist_files},
    {.name = "mnist",
     .description = "MNIST digits as coloured images (volumes of depth 1)",
     .form = SampleForm::images,
     .digits = true,
     .downloaded = "mnist",
     .keys = kImageKeys,
     .open = open_of_mnist,
     .find = mnist_files},
    {.name = "digits",
     .description = "procedural handwritten digits as coloured volumes; needs no files",
     .form = SampleForm::volumes,
     .digits = true,
     .keys = kVolumeKeys,
     .open = open_of_digits,
     .find = no_files},
    {.name = "kaggle3d",
     .description =
         "MNIST digits as rotated, noisy point clouds in voxels, or the published HDF5 file (key: path)",
     .form = SampleForm::volumes,
     .digits = true,
     .one_file = true,
     .downloaded = "mnist",
     .keys = {path, classes, order, colour, rotation, rotation_degrees, resolution, noise},
     .open = open_kaggle3d,
     .find = mnist_files},
    {.name = "usps",
     .description = "USPS digits as coloured images",
     .form = SampleForm::images,
     .digits = true,
     .keys = kImageKeys,
     .open = open_of_usps,
     .find = usps_files},
    {.name = "mnistm",
     .description = "MNIST digits over photographs, in colour images",
     .form = SampleForm::images,
     .digits = true,
     .keys = {classes, order, resolution},
     .open = open_mnistm,
     .find = mnistm_files},
    {.name = "npy",
     .description = "your own volumes, N×C×D×H×W in a .npy or .npz file (key: path)",
     .form = SampleForm::file,
     .needs_path = true,
     .keys = {path, key, classes, order},
     .open = open_array_dataset,
     .find = own_file},
    {.name = "gaussian",
     .description = "Gaussian vectors or fields with a known optimal map; needs no files",
     .form = SampleForm::vectors,
     .keys = {order, resolution, role, dimension, field, seed},
     .open = open_gaussian,
     .find = no_files,
     .truth = gaussian_truth},
    {.name = "w2bench",
     .description = "benchmark pairs with a known optimal map from a .npz file (key: path)",
     .form = SampleForm::file,
     .needs_path = true,
     .one_file = true,
     .keys = {path, order, role},
     .open = open_w2bench,
     .find = own_file,
     .truth = w2bench_truth},
};

}  // namespace

std::span<const DatasetKind> dataset_kinds() { return kKinds; }

std::span<const char* const> dataset_names() {
  static const auto names = [] {
    std::array<const char*, std::size(kKinds)> all{};
    std::transform(std::begin(kKinds), std::end(kKinds), all.begin(), [](const auto& k) { return k.name; });
    return all;
  }();
  return names;
}

std::string alternatives(std::span<const char* const> names) {
  const auto most = names.first(names.size() - 1);
  return most.empty() ? names.back() : fmt::format("{} or {}", fmt::join(most, ", "), names.back());
}

const DatasetKind& kind_of(const DatasetConfig& config) {
  const auto* const kind = std::find_if(std::begin(kKinds), std::end(kKinds),
                                        [&](const DatasetKind& k) { return k.name == config.dataset; });
  if (kind == std::end(kKinds)) {
    fail_usage("dataset: expected {}, got \"{}\"", alternatives(dataset_names()), config.dataset);
  }
  return *kind;
}

void resolve_kind(DatasetConfig& config, const fs::path& data_directory) {
  if (kind_of(config).open != open_auto) return;
  config.dataset = find_mnist(data_directory).empty() ? "digits" : "mnist3d";
}

std::string goes_with(const DatasetConfig& config, DatasetKey key, const std::string& table) {
  const DatasetKeys& keys = kind_of(config).keys;
  if (!keys.has(key)) {
    std::vector<const char*> kinds;
    for (const DatasetKind& kind : kKinds) {
      if (kind.keys.has(key)) kinds.push_back(kind.name);
    }
    return fmt::format("{}.dataset = {}", table, alternatives(kinds));
  }
  switch (key) {
    case rotation:
    case noise:  // volumes of a file are as they are
      return config.path.empty() ? "" : table + ".path = \"\"";
    case rotate:
    case rotation_degrees:
      if (!reads(config, rotation)) return goes_with(config, rotation, table);
      return config.rotation != "none" ? "" : table + ".rotation";
    case resolution:
      return !keys.has(field) || config.field ? "" : table + ".field = true";
    case dimension:
      return !config.field ? "" : table + ".field = false";
    default:
      return "";
  }
}

std::optional<std::array<std::int64_t, 4>> described_shape(const DatasetConfig& config) {
  const DatasetKind& kind = kind_of(config);
  const std::int64_t side = config.resolution;
  const std::int64_t channels = kind.keys.has(colour) && config.colour == "none" ? 1 : 3;
  switch (kind.form) {
    case SampleForm::volumes:
      return {{side, side, side, channels}};
    case SampleForm::images:
      return {{1, side, side, channels}};
    case SampleForm::vectors:
      if (config.field) return {{side, side, side, 3}};
      return {{1, 1, 1, config.dimension}};
    case SampleForm::file:
      return std::nullopt;
  }
  fail("{}: unknown form of samples", kind.name);
}

}  // namespace voxot
