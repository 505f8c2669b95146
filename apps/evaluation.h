#pragma once
// The scores of a run on held-out test volumes, and their two forms: a table and evaluation.json.
#include <optional>
#include <string>

#include "apps/judge.h"

namespace voxot {

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
  std::optional<double> l2_uvp;                 // percent, where the optimal map is known
  std::optional<double> cosine;
};

/// Scores the session's map on the test split. Maps `samples` volumes; distances use half of them each.
Evaluation evaluate_map(Session& session, const std::filesystem::path& data_directory,
                        const std::filesystem::path& judge_cache, std::int64_t samples, bool quiet);

/// T(x) of many volumes, in batches; noise of draw `draw` of Purpose::evaluation.
Tensor map_all(NeuralOt& solver, const Tensor& x, std::uint64_t seed, std::uint64_t draw);

std::string evaluation_table(const Evaluation& evaluation);
/// With a line end; keys as design.md names them.
std::string evaluation_json(const Evaluation& evaluation);
/// What evaluation_json wrote, but for the counts of the colours. Throws Error, beginning with `name`, for
/// anything else.
Evaluation parse_evaluation(const std::string& json, const std::string& name);

}  // namespace voxot
