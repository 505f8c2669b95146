#include "datasets/dataset.h"

#include <cstdlib>

#include "datasets/array_dataset.h"
#include "datasets/digits.h"
#include "datasets/gaussian.h"
#include "datasets/kaggle3d.h"
#include "datasets/mnist.h"
#include "datasets/voxel_dataset.h"
#include "datasets/w2bench.h"
#include "kernels/check.h"

namespace voxot {

namespace fs = std::filesystem;

std::unique_ptr<Dataset> open_dataset(const DatasetConfig& config, Split split,
                                      const fs::path& data_directory) {
  const std::string& asked = config.dataset;
  if (asked == "npy") {
    return open_array_dataset(config, split, data_directory);
  }
  if (asked == "gaussian") return open_gaussian(config, split);
  if (asked == "w2bench") return open_w2bench(config, split, data_directory);
  if (asked != "auto" && asked != "mnist3d" && asked != "mnist" && asked != "digits" && asked != "kaggle3d") {
    fail_usage(
        "dataset: expected auto, mnist3d, mnist, digits, kaggle3d, npy, gaussian or w2bench, got \"{}\"",
        asked);
  }
  for (const int digit : config.classes) {
    if (digit < 0 || digit > 9) {
      fail_usage("classes: expected digits 0 to 9, got {}", digit);
    }
  }
  if (asked == "kaggle3d") return open_kaggle3d(config, split, data_directory);
  const bool flat = asked == "mnist";
  check_voxel_config(config, flat);
  const bool procedural = asked == "digits" || (asked == "auto" && find_mnist(data_directory).empty());
  auto source =
      procedural ? open_digits(split, config.classes) : open_mnist(split, config.classes, data_directory);
  return std::make_unique<VoxelDataset>(config, flat, std::move(source));
}

fs::path find_data_directory(const std::string& option) {
  std::error_code ignored;
  if (!option.empty()) {
    if (!fs::is_directory(option, ignored)) {
      fail_usage("--data: expected a directory, got \"{}\"", option);
    }
    return option;
  }
  // A variable that is set decides alone: falling back would train on data that the user did not name.
  if (const char* variable = std::getenv("VOXOT_DATA"); variable != nullptr && *variable != '\0') {
    return fs::is_directory(variable, ignored) ? fs::path(variable) : fs::path{};
  }
  for (const char* candidate : {"data", "../shared/data"}) {
    if (fs::is_directory(candidate, ignored)) {
      return candidate;
    }
  }
  return {};
}

}  // namespace voxot
