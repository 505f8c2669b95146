#pragma once
// Scoring what a run has trained, by what it can do, on held-out test volumes.
#include <filesystem>
#include <memory>

#include "apps/judge.h"
#include "apps/scores.h"
#include "engine/streams.h"
#include "solvers/solver.h"

namespace voxot {

/// Held-out data of a run, and where its judge is kept.
struct TestData {
  std::unique_ptr<Dataset> source, target;
  std::filesystem::path directory;
  std::filesystem::path judge_cache;
};

/// Scores of each capability on the test split, but for the step. Maps `samples` volumes, samples as many
/// pairs, labels twice as many targets; distances use half of the samples each. Throws Error for volumes that
/// are not finite.
Scores evaluate(const Capabilities& trained, const RunConfig& config, const TestData& data, Device device,
                std::int64_t samples, bool quiet);

/// T(x) of many volumes, in batches, on the host, with the noise of draw `index` of `draw`. Throws Error for
/// values that are not finite.
Tensor map_all(Transport& transport, const Tensor& x, std::uint64_t seed, EvaluationDraw draw,
               std::uint64_t index = 0);
/// `count` pairs likewise.
TensorPair sample_all(PairSampler& sampler, std::int64_t count, std::uint64_t seed, EvaluationDraw draw);

}  // namespace voxot
