#pragma once
// How the mapped volumes of one source differ over the noise z of a stochastic map.
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "apps/labelled_batch.h"

namespace voxot {

struct Diversity {
  std::int64_t draws = 0;          // of z for each source
  double variance = 0;             // unbiased over z, per value, mean over sources
  double shape = 0;                // of the density, the largest channel in [0, 1], per voxel
  std::optional<double> hue_kept;  // share of draws that keep the source's colour, where it is known
  std::vector<std::pair<std::string, double>> by_colour;  // variance
  std::vector<std::pair<std::string, double>> by_class;   // variance, by the source's digit
};

/// Over `draws` draws of z for each of the sources, N×D×H×W×C with their labels.
Diversity measure_diversity(const std::function<Tensor(const Tensor& x, std::uint64_t draw)>& map,
                            const LabelledBatch& sources, const DatasetConfig& source, std::int64_t draws);

}  // namespace voxot
