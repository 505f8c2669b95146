#pragma once
// What the tests of datasets/ share.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <vector>

#include "datasets/dataset.h"
#include "datasets/mnist.h"
#include "tests/skip.h"

namespace voxot::test {

/// The directory in which `find` finds a data set, or an empty path: the test case is then skipped.
inline std::filesystem::path directory_with(const char* name,
                                            std::filesystem::path (*find)(const std::filesystem::path&)) {
  std::filesystem::path found = find_data_directory("");
  if (find(found).empty() && std::getenv("VOXOT_DATA") == nullptr) {
    found =
        std::filesystem::path(VOXOT_GOLDENS).parent_path().parent_path().parent_path() / "shared" / "data";
  }
  if (!find(found).empty()) return found;
  skip(std::string(name) + " not found through $VOXOT_DATA, ./data or ../shared/data");
  return {};
}
inline std::filesystem::path mnist_directory() { return directory_with("MNIST", find_mnist); }

inline DatasetConfig digits_config() {
  DatasetConfig config;
  config.dataset = "digits";
  return config;
}

inline std::int64_t values_in(const Dataset& dataset) {
  const auto [d, h, w, c] = dataset.sample_shape();
  return d * h * w * c;
}

struct Drawn {
  std::vector<float> values;
  std::vector<SampleLabel> labels;
};

inline Drawn draw(Dataset& dataset, std::int64_t n, std::uint64_t step = 0, std::uint64_t seed = 1,
                  Purpose purpose = Purpose::source_samples) {
  Drawn drawn;
  drawn.values.resize(n * values_in(dataset), 9.0F);
  drawn.labels.resize(n);
  dataset.draw({{seed, purpose, step}, n}, drawn.values.data(), drawn.labels);
  return drawn;
}

inline Drawn draw(const DatasetConfig& config, std::int64_t n, const std::filesystem::path& directory = {}) {
  return draw(*open_dataset(config, Split::train, directory), n);
}

inline float hue_distance(float a, float b) {
  const float apart = std::fabs(a - b);
  return std::min(apart, 360.0F - apart);
}

}  // namespace voxot::test
