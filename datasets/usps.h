#pragma once
// USPS digits (Le Cun et al., 1990; "zip code" data of The Elements of Statistical Learning): zip.train.gz
// and zip.test.gz, a line for each image: its digit, then 16×16 greys in [−1, 1], rows from the top.
#include <cstdint>
#include <filesystem>
#include <memory>
#include <vector>

#include "datasets/dataset.h"
#include "datasets/image_source.h"

namespace voxot {

/// Images of one file, in its order.
struct UspsImages {
  std::vector<int> digits;
  std::vector<float> pixels;  // intensities (grey + 1)/2, 256 of each
};

/// Reads a file of `count` lines, raw or gzip. Throws Error, one line that begins with the file's name, for
/// anything else.
UspsImages read_usps_images(const std::filesystem::path& path, std::int64_t count);

/// Images in each split: the first 6,562 lines of zip.train, its last 729, and the 2,007 of zip.test.
std::int64_t usps_split_size(Split split);

/// The folder that holds both files (`data_directory`/usps or `data_directory` itself; each file raw or with
/// ".gz"), or an empty path.
std::filesystem::path find_usps(const std::filesystem::path& data_directory);

/// The images of one split whose digits are in `classes` (empty: all), intensities (grey + 1)/2. Throws
/// Error, one line, where files are missing, damaged or not USPS.
std::unique_ptr<ImageSource> open_usps(Split split, const std::vector<int>& classes,
                                       const std::filesystem::path& data_directory);

}  // namespace voxot
