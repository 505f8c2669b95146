#pragma once
// A run's folder as `voxot report` shows it. Only the config must be there and sound; what else is missing or
// damaged (a run is killed, copied or not yet scored) becomes a note beside what could be read.
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "apps/config.h"
#include "apps/run_curves.h"
#include "apps/scores.h"
#include "apps/session_log.h"
#include "apps/volumes.h"

namespace voxot {

/// samples/step-*.png
struct SamplePicture {
  std::int64_t step = 0;
  std::vector<std::byte> png;
};

struct RunRecord {
  std::string name;
  std::filesystem::path path;
  RunConfig config;
  std::int64_t steps = 0;  // outer iterations done: of the last metrics or of the newest checkpoint
  std::optional<Scores> scores;
  std::map<std::string, Curve> curves;  // "train/cost", "validate/target_accuracy", ...
  std::vector<TrainingSession> sessions;
  std::vector<Volumes> samples;         // source, mapped, target of samples/last.npz; none for vectors
  std::vector<SamplePicture> pictures;  // the first, the middle and the last
  std::vector<std::string> notes;       // each one line
};

/// Throws Error where the folder holds no config.toml, UsageError where that is no config.
RunRecord read_run(const std::filesystem::path& folder);

/// Each folder once, in this order; runs of one name are told apart by their paths.
std::vector<RunRecord> read_runs(const std::vector<std::string>& folders);

}  // namespace voxot
