#pragma once
// The scores of a run on held-out test volumes, and their two forms: a table and evaluation.json.
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "apps/judge.h"

namespace voxot {

/// How the mapped volumes of one source differ over the noise z (weak form).
struct Diversity {
  std::int64_t draws = 0;          // of z for each source
  double variance = 0;             // unbiased over z, per value, mean over sources
  double shape = 0;                // of the density, the largest channel in [0, 1], per voxel
  std::optional<double> hue_kept;  // share of draws whose colour is the source's, where that is known
  std::vector<std::pair<std::string, double>> by_colour;  // variance
  std::vector<std::pair<std::string, double>> by_class;   // variance, by the source's digit
};

struct Evaluation {
  std::int64_t samples = 0;
  std::int64_t step = 0;                  // of the checkpoint that was scored
  std::optional<double> judge_accuracy;   // of the classifier on real test volumes
  std::optional<double> target_accuracy;  // null where no judge can be trained or its verdict is refused
  std::optional<ColourScores> colour;
  double transport_cost = 0;  // per value
  double discrete_cost = 0;   // of the exact assignment between the same sources and real targets
  std::optional<double> feature_distance;       // Fréchet, mapped to real targets
  std::optional<double> feature_distance_real;  // Fréchet, between two disjoint halves of real targets
  std::optional<Diversity> diversity;           // where the map takes noise
  std::optional<double> l2_uvp;                 // percent, where the optimal map is known
  std::optional<double> cosine;
};

/// Over `draws` draws of z for each of the sources, N×D×H×W×C with their labels.
Diversity measure_diversity(const std::function<Tensor(const Tensor& x, std::uint64_t draw)>& map,
                            const LabelledBatch& sources, const DatasetConfig& source, std::int64_t draws);

/// Held-out data of a run, and where its judge is kept.
struct TestData {
  std::unique_ptr<Dataset> source, target;
  std::filesystem::path directory;
  std::filesystem::path judge_cache;
};

/// Scores what a run can do on the test split. Maps `samples` volumes; distances use half of them each.
Evaluation evaluate(const Capabilities& trained, const RunConfig& config, TestData& data, Device device,
                    std::int64_t samples, bool quiet);

/// T(x) of many volumes, in batches; noise of draw `draw` of Purpose::evaluation.
Tensor map_all(Transport& transport, const Tensor& x, std::uint64_t seed, std::uint64_t draw);

std::string evaluation_table(const Evaluation& evaluation);
/// With a line end; keys as design.md names them.
std::string evaluation_json(const Evaluation& evaluation);
/// What evaluation_json wrote, but for the counts of the colours. Throws Error, beginning with `name`, for
/// anything else.
Evaluation parse_evaluation(const std::string& json, const std::string& name);

}  // namespace voxot
