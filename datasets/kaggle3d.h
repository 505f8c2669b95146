#pragma once
// "3D MNIST" (kaggle.com/daavoo/3d-mnist, D. de la Iglesia Castro, 2016): voxelised point clouds of digits,
// from the published file or made from MNIST.
#include <cstdint>
#include <filesystem>
#include <memory>

#include "datasets/dataset.h"

namespace voxot {

/// Where the validation rows of `rows` training rows begin: the last tenth, at least one row, an even number
/// of rows before it. The published file is said to hold each image twice, once upright and once rotated with
/// noise. Code that extends it writes the two one after the other, and then no image is in two of our splits;
/// if the file had all upright rows before all rotated ones, validation would share images with training.
/// Test rows come from MNIST's other file either way.
std::int64_t kaggle3d_first_validation_row(std::int64_t rows);

/// With `path`, the published HDF5 file (full_dataset_vectors.h5): X_train, X_test N×4096, y_train, y_test N
/// digits. A row is a 16³ grid, x fastest, then y, then z, where z points up, y along the digit's writing and
/// x through its depth: it becomes D = x, H = 15 − z, W = y, so that digits stand as those of mnist3d. Counts
/// are divided by the row's largest, which leaves rows as they are whose largest is 1. Without `path`,
/// MNIST's images of the same split as point clouds (point_cloud.h) on a grid of resolution³. Colours, and
/// the generator's rotation, are those of VoxelDataset. Throws UsageError for a file with a rotation or
/// another resolution than 16; Error for a file that is missing, damaged or holds something else.
std::unique_ptr<Dataset> open_kaggle3d(const DatasetConfig& config, Split split,
                                       const std::filesystem::path& data_directory);

}  // namespace voxot
