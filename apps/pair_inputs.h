#pragma once
// What `voxot pair` is given: its options, and both files as features, labels and volumes.
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "datasets/array_file.h"
#include "engine/tensor.h"
#include "solvers/pairing.h"

namespace voxot {

struct PairCommand {
  std::string source;
  std::string target;
  std::string output;
  std::string picture;
  std::string source_features;
  std::string target_features;
  std::string key;
  std::string features_key;
  std::string within;
  PairingPlan method = PairingPlan::sinkhorn;
  GroundCost cost = GroundCost::half_squared_per_dimension;
  PartnerRule rule = PartnerRule::sample;
  std::string precision = "auto";
  std::string device = "auto";
  double epsilon = 0.05;
  bool relative = false;
  double tolerance = 1e-4;
  double scaling = 0;
  std::int64_t max_iterations = 10000;
  std::int64_t batch = 0;
  bool compare_exact = true;
  std::uint64_t seed = 0;
  int threads = 0;
  bool json = false;
};

/// A file of samples, and which of its arrays they are: none where features beside the file stand for them.
struct PairFile {
  ArrayFile file;
  std::optional<std::string> samples;
};

struct PairInputs {
  PairFile source_file, target_file;
  Tensor source{}, target{};  // features, N×D
  std::vector<std::int64_t> source_labels{}, target_labels{};
  std::optional<std::vector<std::int64_t>> source_colours{}, target_colours{};  // where both files say them
  std::int64_t batch = 0;                                                       // at most the larger file
  Device device = Device::cpu;                                                  // where batches are paired

  [[nodiscard]] std::int64_t batches() const { return (source.extent(0) + batch - 1) / batch; }
  /// Of the largest problem: a batch, or what of one has equal labels.
  [[nodiscard]] std::int64_t most_points() const;
};

/// Reads both files and looks at all else that the work will need: features that fit together, labels,
/// volumes where a picture is asked for, places to write to. Throws UsageError for names of files that are no
/// .npy or .npz, and Error for the rest.
PairInputs read_pair_inputs(const PairCommand& command);

/// The first 10 pairs, each source above its partner.
void draw_pairs(const PairCommand& command, const PairInputs& in, const std::vector<std::int64_t>& partners);

}  // namespace voxot
