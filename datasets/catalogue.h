#pragma once
// What `voxot data list | make | fetch` does.
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "datasets/kinds.h"

namespace voxot {

/// One data set that open_dataset() knows.
struct CatalogueEntry : DatasetFiles {
  std::string name;
  std::string description;
};

/// All data sets, as seen from `data_directory` (may be empty: no directory). Does not read the files.
std::vector<CatalogueEntry> list_datasets(const std::filesystem::path& data_directory);

/// Draws n samples of one split and writes them to a .npz file, atomically: `data` f32 N×C×D×H×W, `labels`
/// i64 N (digits) and `colours` i64 N (indices into colour_palette(config.colour)), -1 where unknown. The
/// draw has Purpose::evaluation; steps count blocks of 1024 samples, so a longer file begins with a shorter
/// one. Throws UsageError for n < 1, for an output that does not end in .npz, and as open_dataset() does;
/// Error where writing fails.
void make_dataset(const DatasetConfig& config, Split split, const std::filesystem::path& data_directory,
                  std::int64_t n, std::uint64_t seed, const std::filesystem::path& output);

/// Downloads a data set with curl into `destination`/NAME and returns that folder. Files that are there
/// already and have the published MD5 (of their unpacked bytes) are kept, a damaged .gz is replaced; a
/// download takes its name only after its MD5 agrees. `mirrors` (folder URLs) are tried in order, the
/// published ones where the list is empty. Throws UsageError for a name other than "mnist", Error where curl,
/// md5sum or the network is missing, every mirror fails, or an unpacked file of the user's is not MNIST's and
/// would hide the download.
std::filesystem::path fetch_dataset(const std::string& name, const std::filesystem::path& destination,
                                    const std::vector<std::string>& mirrors = {});

}  // namespace voxot
