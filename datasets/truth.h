#pragma once
// The optimal map of a pair of data sets, where it is known.
#include <optional>
#include <vector>

#include "datasets/dataset.h"

namespace voxot {

/// Held-out samples of the source as the data set draws them, T*(x) of each, and Var(Q).
struct KnownTruth {
  std::int64_t count = 0;
  std::vector<float> source;
  std::vector<float> image;
  double target_variance = 0;
};

/// What is known of the pair: two Gaussians (`count` samples of `state`), or the two roles of one benchmark
/// file (all of its test pairs). Nothing for every other pair. Throws as open_dataset() does.
std::optional<KnownTruth> known_truth(const DatasetConfig& source, const DatasetConfig& target,
                                      const std::filesystem::path& data_directory, const RandomState& state,
                                      std::int64_t count);

}  // namespace voxot
