#pragma once
// Benchmark pairs with a known optimal map (Korotin et al., NeurIPS 2021, arXiv 2106.01954), from a .npz
// file: the data set w2bench.
#include <memory>
#include <vector>

#include "datasets/truth.h"

namespace voxot {

/// Of 16 rows of `source` or `target` one, chosen by a hash of its index, is for validation.
Split w2bench_split_of(std::int64_t row);

/// Opens config.path, a .npz file with the float matrices `source`, `target`, `test_source` and `test_target`
/// of one width D, as many rows in the last two, and the number `target_var`. Training and validation read
/// the rows of `source` or `target` (config.role), which are not paired; the test split reads `test_source`
/// or `test_target`. A relative path is tried from the working directory, then from `data_directory`. Throws
/// Error for what is missing, of another shape or not finite.
std::unique_ptr<Dataset> open_w2bench(const DatasetConfig& config, Split split,
                                      const std::filesystem::path& data_directory);

/// known_truth() of the two roles of one file: all of its test pairs, `count` or not.
std::optional<KnownTruth> w2bench_truth(const DatasetConfig& source, const DatasetConfig& target,
                                        const std::filesystem::path& data_directory, const RandomState& state,
                                        std::int64_t count);

}  // namespace voxot
