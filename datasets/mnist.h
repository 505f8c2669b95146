#pragma once
// MNIST (LeCun, Cortes, Burges) from its four IDX files, raw or gzip.
#include <filesystem>
#include <memory>
#include <vector>

#include "datasets/dataset.h"
#include "datasets/image_source.h"

namespace voxot {

/// Images in each split: the first 55,000 training images, the last 5,000 training images, the 10,000 t10k
/// images.
std::int64_t mnist_split_size(Split split);

/// The folder that holds all four files (`data_directory`/mnist or `data_directory` itself; each file raw or
/// with
/// ".gz"), or an empty path.
std::filesystem::path find_mnist(const std::filesystem::path& data_directory);

/// The images of one split whose labels are in `classes` (empty: all). Throws Error where the files are
/// missing (saying what was looked for, and where) or are not MNIST by shape and labels.
std::unique_ptr<ImageSource> open_mnist(Split split, const std::vector<int>& classes,
                                        const std::filesystem::path& data_directory);

}  // namespace voxot
