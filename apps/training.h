#pragma once
// One training run: its iterations, and what it writes into its folder.
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "apps/judge.h"
#include "apps/labelled_batch.h"
#include "apps/session.h"
#include "engine/event_writer.h"
#include "engine/progress.h"
#include "engine/run_log.h"

namespace voxot {

class Training {
 public:
  /// Networks, solver and all data of the config; `quiet` prints no validation lines. Writes nothing. Throws
  /// what does not fit.
  Training(const RunConfig& config, RunFolder folder, const std::filesystem::path& data, Device device,
           bool quiet);

  /// Begins in a fresh folder. The first iteration is done before anything is written, so that what cannot
  /// be trained leaves nothing behind, and the first file that stays is a checkpoint: a start that is killed
  /// leaves a folder to start in again or one to resume.
  void start();
  /// Goes on in the run's folder, from one of its checkpoints, with a config that check_same_training() (in
  /// train.cpp) has found to fit. `branch`: what the folder holds of later steps is dropped, also where it
  /// is whole.
  void resume(const Checkpoint& checkpoint, std::unique_ptr<RunLock> lock, bool branch);
  /// Trains to the end, or to a signal, which ends the process when the run can be resumed.
  void run();

 private:
  void draw_validation();
  void write_config(const RunConfig& config);
  void save();
  std::map<std::string, std::string> metadata() const;
  void record_session(std::int64_t first_step, double seconds);
  void train_judge();
  void after_step(EventWriter& events, Progress& progress);
  void validate(std::int64_t step, EventWriter& events, Progress& progress);
  struct Validation {
    std::vector<Metric> metrics;
    std::string text;
    double score = 0;  // by which the best checkpoint is chosen; 0: by nothing
  };
  Validation judged(const Tensor& mapped);
  Validation compared(const Tensor& mapped);
  void write_samples(std::int64_t step, EventWriter& events);

  Session session_;
  RunFolder folder_;
  std::filesystem::path data_;
  bool quiet_;
  std::unique_ptr<RunLock> lock_;
  std::unique_ptr<RunLog> log_;
  std::unique_ptr<Judge> judge_;
  LabelledBatch validation_, validation_target_, shown_, shown_target_;
  std::vector<Metric> losses_;  // last read
  bool ahead_ = false;          // the solver has done a step that is not logged yet
  double seconds_ = 0;          // that it took
  double best_ = -1;            // before the first validation
};

}  // namespace voxot
