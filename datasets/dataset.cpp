#include "datasets/dataset.h"

#include <cstdlib>
#include <utility>

#include "datasets/kinds.h"
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

void Dataset::draw(const BatchPart& part, float* out, std::span<SampleLabel> labels) {
  VOXOT_CHECK(part.first >= 0 && part.count >= 0 && part.first + part.count <= part.batch &&
                  part.batch <= (std::int64_t{1} << 20),
              "draw: expected a part of a batch of 0 to 2^20 samples, got [{}, {}) of {}", part.first,
              part.first + part.count, part.batch);
  VOXOT_CHECK(labels.empty() || std::cmp_equal(labels.size(), part.count), "draw: {} labels for {} samples",
              labels.size(), part.count);
  draw_part(part, out, labels.data());
}

std::unique_ptr<Dataset> open_dataset(const DatasetConfig& config, Split split,
                                      const fs::path& data_directory) {
  const DatasetKind& kind = kind_of(config);
  for (const int digit : config.classes) {
    if (kind.digits && (digit < 0 || digit > 9)) fail_usage("classes: expected digits 0 to 9, got {}", digit);
  }
  return kind.open(config, split, data_directory);
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
