#include "datasets/dataset.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cstdlib>

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

namespace fs = std::filesystem;

Order order_of(const DatasetConfig& config, bool unlimited) {
  if (config.order == "random") return Order::random;
  if (config.order != "shuffled") {
    fail_usage("order: expected random or shuffled, got \"{}\"", config.order);
  }
  if (unlimited) {
    fail_usage("order: the items of \"{}\" have no number; expected random, got shuffled", config.dataset);
  }
  return Order::shuffled;
}

std::unique_ptr<Dataset> open_dataset(const DatasetConfig& config, Split split,
                                      const fs::path& data_directory) {
  const std::string& asked = config.dataset;
  if (asked == "npy") {
    return open_array_dataset(config, split, data_directory);
  }
  if (asked == "gaussian") return open_gaussian(config, split);
  if (asked == "w2bench") return open_w2bench(config, split, data_directory);
  constexpr std::array kDigits{"auto", "mnist3d", "mnist", "digits", "kaggle3d", "usps", "mnistm"};
  if (std::find(kDigits.begin(), kDigits.end(), asked) == kDigits.end()) {
    fail_usage("dataset: expected {}, npy, gaussian or w2bench, got \"{}\"", fmt::join(kDigits, ", "), asked);
  }
  for (const int digit : config.classes) {
    if (digit < 0 || digit > 9) {
      fail_usage("classes: expected digits 0 to 9, got {}", digit);
    }
  }
  if (asked == "kaggle3d") return open_kaggle3d(config, split, data_directory);
  if (asked == "mnistm") return open_mnistm(config, split, data_directory);
  const bool flat = is_flat(asked);
  check_voxel_config(config, flat);
  if (asked == "usps") {
    return std::make_unique<VoxelDataset>(config, flat, open_usps(split, config.classes, data_directory));
  }
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
