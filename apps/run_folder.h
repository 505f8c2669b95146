#pragma once
// A run's folder: config.toml, metrics.jsonl, events, checkpoints/, samples/; what it may hold when a run
// begins, who may write to it, and its checkpoints with the configs that they were made with.
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "apps/config.h"
#include "engine/safetensors.h"

namespace voxot {

/// A checkpoint, whole in memory.
struct Checkpoint {
  std::filesystem::path path;
  SafetensorsFile file;
  RunConfig config;       // that it was made with
  std::int64_t step = 0;  // its own, whatever its name says
};
/// Throws Error for anything but a whole voxot checkpoint.
Checkpoint read_checkpoint(const std::filesystem::path& file);

/// The right to write to a run's folder, for one process at a time; readers need none. A file `.lock` that
/// the process has locked (flock), so that it goes with the process.
class RunLock {
 public:
  /// Throws Error where another process has it. On a file system without locks everyone has.
  explicit RunLock(const std::filesystem::path& folder);
  ~RunLock();
  RunLock(const RunLock&) = delete;
  RunLock& operator=(const RunLock&) = delete;
  /// Removes the file too.
  void remove();

 private:
  std::filesystem::path path_;
  int file_ = -1;
};

class RunFolder {
 public:
  explicit RunFolder(std::filesystem::path path) : path_(std::move(path)) {}
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  [[nodiscard]] std::filesystem::path config_file() const { return path_ / "config.toml"; }
  [[nodiscard]] std::filesystem::path checkpoint(std::int64_t step) const;
  [[nodiscard]] std::filesystem::path best_checkpoint() const {
    return path_ / "checkpoints" / "best.safetensors";
  }
  /// The network of a role as a file of its own.
  [[nodiscard]] std::filesystem::path exported(const std::string& role) const {
    return path_ / (role + ".safetensors");
  }
  [[nodiscard]] std::filesystem::path evaluation_file() const { return path_ / "evaluation.json"; }

  /// Steps of the checkpoints by their names, rising.
  [[nodiscard]] std::vector<std::int64_t> steps() const;
  /// The newest checkpoint's step; nothing when there is none.
  [[nodiscard]] std::optional<std::int64_t> newest() const;
  /// The checkpoint of that step. Throws Error where it is not whole, or of another step than its name says.
  [[nodiscard]] Checkpoint read(std::int64_t step) const;
  /// The same to go on from; the Error of a damaged one names the newest whole one before it.
  [[nodiscard]] Checkpoint read_to_resume(std::int64_t step) const;
  /// What `voxot evaluate` and `voxot map` take: the checkpoint that was best on validation where `which` is
  /// "best" and there is one, else the newest. Throws Error where there is none.
  [[nodiscard]] Checkpoint read_chosen(const std::string& which) const;

  /// Throws UsageError unless a run may begin here: there is no such folder, or it is empty but for a judge,
  /// kernels.tsv, the lock and what a start that was killed leaves.
  void check_fresh() const;
  /// Makes the folders of a run.
  void make() const;
  /// Removes temporary files of killed writers.
  void clear() const;
  /// Removes the folders that make() made, as far as they are empty; `whole`: the run's folder too.
  void unmake(bool whole) const;
  /// Removes all but the newest `keep` checkpoints.
  void prune(std::int64_t keep) const;
  /// Removes what is of later steps: checkpoints, a best one among them, exported networks, samples, scores.
  void drop_after(std::int64_t step, const std::vector<std::string>& roles) const;

  /// The stored config. Throws Error when the folder holds no run.
  [[nodiscard]] RunConfig load_config() const;
  /// The config that a checkpoint was made with; the paths of its data, length, judge and logging are the
  /// stored config's. Throws UsageError where that says other networks, noise, precision or data.
  [[nodiscard]] RunConfig load_config_of(const Checkpoint& checkpoint) const;

 private:
  void check_run() const;
  std::filesystem::path path_;
};

}  // namespace voxot
