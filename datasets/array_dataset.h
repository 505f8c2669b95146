#pragma once
// Anyone's own volumes from a .npy or .npz file: the data set npy.
#include <array>
#include <cstdint>
#include <filesystem>
#include <memory>

#include "datasets/dataset.h"

namespace voxot {

/// The split of item `index` of an array: 80 % train, 10 % validation, 10 % test, by the SplitMix64 hash of
/// the index modulo 10 (0 to 7, 8, 9). It depends on nothing else, so an array that grows keeps its old items
/// in place.
Split array_split_of(std::int64_t index);

/// Opens config.path, a .npy or .npz file, as array_file.h says: the array config.key (or data, x, or the
/// only one besides labels), shaped N×C×D×H×W, N×C×H×W or N×C, split by array_split_of(). A relative path is
/// tried from the working directory, then from `data_directory`. A .npz may hold integers "labels" or "y" of
/// shape N or N×1; config.classes filters by them. SampleLabel::item is the index in the array.
///
/// Arrays train_X, val_X, test_X (X: volumes, images or data; config.key says which where a file has more)
/// with labels train_labels, ... are the splits, and no item is moved. A split without an array of its own is
/// held out of train_X by array_split_of(), and train_X keeps the others. Colour, rotation and resolution do
/// not apply. Throws UsageError for a missing path and for classes that cannot be had, Error for missing or
/// bad files.
std::unique_ptr<Dataset> open_array_dataset(const DatasetConfig& config, Split split,
                                            const std::filesystem::path& data_directory);

}  // namespace voxot
