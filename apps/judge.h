#pragma once
// The independent judge: a voxel classifier trained on real training volumes of every digit, and the scores
// of a map that follow from it.
#include <array>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "apps/config.h"
#include "apps/labelled_batch.h"
#include "engine/optimizer.h"
#include "engine/safetensors.h"
#include "models/classifier.h"

namespace voxot {

class Judge {
 public:
  /// Trains on the training split of the target's kind of data (its colours and rotation, the config's
  /// classes), or loads `cache` when it was trained for the same. Deterministic on one device. `quiet` prints
  /// no progress. A signal ends the training with ExitStatus; the cache then holds what the next one goes on
  /// from, to the same bits.
  Judge(const JudgeConfig& config, const DatasetConfig& target, const std::filesystem::path& data_directory,
        const std::filesystem::path& cache, Device device, bool quiet);

  /// On the real test split, all of its classes.
  [[nodiscard]] double accuracy() const { return accuracy_; }
  [[nodiscard]] bool trusted() const { return accuracy_ >= config_.required; }

  struct Verdict {
    std::vector<int> classes;  // of each volume
    Tensor features;           // N×F, on the host
  };
  Verdict operator()(const Tensor& volumes);

 private:
  void train(const DatasetConfig& kind, const std::filesystem::path& data_directory, bool quiet);
  void load(const DatasetConfig& kind);
  void store(const DatasetConfig& kind, const Optimizer* unfinished);
  void stop_where_signalled(const DatasetConfig& kind, const Optimizer& optimizer);

  JudgeConfig config_;
  std::filesystem::path cache_;
  Device device_;
  std::unique_ptr<VoxelClassifier> classifier_;
  std::unique_ptr<Parameters> parameters_;
  bool trained_ = false;
  double accuracy_ = 0;
  std::map<std::string, HostArray> unfinished_;  // the optimizer's state, where a signal ended the training
};

/// Opens what a judge is trained and tested on, so that what is wrong with it shows before anything begins.
void check_judge_data(const JudgeConfig& config, const DatasetConfig& target,
                      const std::filesystem::path& data_directory);

/// Where the config's run keeps its judge.
std::filesystem::path judge_file(const RunConfig& config, const std::filesystem::path& run_folder);

/// Whether digits are known of the target, so that a judge can be trained, and no class is both a source's
/// and a target's: a map that does nothing would be right there.
bool can_be_judged(const RunConfig& config);

/// Colours of mapped volumes beside those of their sources.
struct ColourScores {
  double kept = 0;  // share of samples whose colour stays
  std::vector<std::string> names;
  std::vector<double> accuracy;  // target accuracy of each source colour that was drawn
  std::vector<std::int64_t> count;
};

/// The colours in which a source's hues are counted; a uniform hue by the nearest of six.
const std::vector<NamedHue>& counted_colours(const DatasetConfig& source);
/// Whether every sample's hue is known: coloured digits, and not anyone's own arrays.
bool has_hues(const LabelledBatch& batch);
/// Whether a source of hue `before` has kept its colour; never where either hue is unknown (−1).
bool keeps_colour(const DatasetConfig& source, float before, float after);

struct MapScores {
  double target_accuracy = 0;
  ColourScores colour;
  double transport_cost = 0;
};

/// Scores of mapped volumes: accuracy needs the judge, colours the sources' hues. `classes`: the target's.
MapScores score_map(Judge& judge, const DatasetConfig& source, const std::vector<int>& classes,
                    const LabelledBatch& from, const Tensor& mapped);

}  // namespace voxot
