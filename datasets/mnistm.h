#pragma once
// MNIST-M (Ganin, Lempitsky: "Unsupervised domain adaptation by backpropagation", ICML 2015): MNIST's digits
// over crops of natural photographs, |crop − digit| in each channel; made from MNIST and crops of BSDS500.
#include <filesystem>
#include <memory>
#include <utility>

#include "datasets/dataset.h"

namespace voxot {

/// The crops [first, last) of `crops` that a split has to itself: the first eight tenths, the ninth, the
/// tenth.
std::pair<std::int64_t, std::int64_t> mnistm_crops(Split split, std::int64_t crops);

/// `data_directory`/textures/bsds500_crops_96.npy, or an empty path where there is none.
std::filesystem::path find_textures(const std::filesystem::path& data_directory);

/// Images of depth 1, resolution² × 3 in [−1, 1]: an image of MNIST's split before a window of one of the
/// split's crops, both drawn uniformly, then resized. A sample reads item, crop, row and column. Its colours
/// are the photographs': `colour` is not read, and labels have none. Throws UsageError for a rotation, Error
/// for missing or wrong files (textures: u8 crops×height×width×3, at least 10 and 28×28).
std::unique_ptr<Dataset> open_mnistm(const DatasetConfig& config, Split split,
                                     const std::filesystem::path& data_directory);

}  // namespace voxot
