#include "apps/training.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <utility>

#include "apps/commands.h"
#include "apps/device.h"
#include "apps/evaluation.h"
#include "apps/picture.h"
#include "apps/session_log.h"
#include "datasets/array_file.h"
#include "engine/atomic_file.h"
#include "engine/interrupt.h"
#include "engine/npy.h"
#include "engine/progress.h"
#include "kernels/features.h"
#include "solvers/metrics.h"

namespace voxot {
namespace {

constexpr std::int64_t kPictureColumns = 8;
constexpr std::int64_t kMostCompared = 256;  // values of a sample up to which covariances are compared

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

std::vector<std::string> role_names(Solver& solver) {
  std::vector<std::string> names;
  for (const NetworkRole& role : solver.networks()) names.push_back(role.name);
  return names;
}

/// N×D×H×W×C here to N×C×D×H×W in a file.
HostArray to_file(const Tensor& t) {
  const std::int64_t n = t.extent(0);
  const std::int64_t voxels = t.extent(1) * t.extent(2) * t.extent(3);
  const std::int64_t channels = t.extent(4);
  const std::vector<float> from = t.to_floats();
  std::vector<float> to(from.size());
  transpose_samples(from.data(), to.data(), n, voxels, channels);
  return HostArray::from_floats({n, channels, t.extent(1), t.extent(2), t.extent(3)}, to);
}

}  // namespace

Training::Training(const RunConfig& config, RunFolder folder, const std::filesystem::path& data,
                   Device device, bool quiet)
    : session_(config, data, device), folder_(std::move(folder)), data_(data), quiet_(quiet) {
  draw_validation();
}

void Training::start() {
  const std::string& from = session_.config().solver.init_from;
  if (!from.empty()) session_.begin_with(RunFolder(from));
  const SafetensorsFile first = session_.checkpoint(metadata());
  const auto begin = Clock::now();
  session_.solver().advance();
  losses_ = session_.solver().losses();
  seconds_ = seconds_since(begin);
  ahead_ = true;
  const bool made = !std::filesystem::exists(folder_.path());
  folder_.make();
  lock_ = std::make_unique<RunLock>(folder_.path());
  try {
    folder_.check_fresh();  // again: another process may have been quicker
    folder_.clear();
    write_safetensors(folder_.checkpoint(0), first);
  } catch (...) {
    lock_->remove();
    folder_.unmake(made);
    throw;
  }
  write_config(session_.config());
}

void Training::resume(const Checkpoint& checkpoint, std::unique_ptr<RunLock> lock, bool branch) {
  lock_ = std::move(lock);
  session_.load(checkpoint);
  const auto& metadata = checkpoint.file.metadata;
  best_ = metadata_number(metadata, "best_score", checkpoint.path.string(), 0.0, 1.0).value_or(best_);
  const auto before = metadata.find("arithmetic");
  if (const std::string now = arithmetic_of(session_.device());
      before != metadata.end() && before->second != now) {
    note(
        fmt::format("step {} was computed with {}, the next ones are with {}: last bits will differ from "
                    "those of a run in one piece",
                    checkpoint.step, before->second, now));
  }
  folder_.make();
  folder_.clear();
  if (branch) folder_.drop_after(checkpoint.step, role_names(session_.solver()));
  if (!std::filesystem::exists(folder_.best_checkpoint())) best_ = -1;  // the next good one is the best
  RunConfig config = session_.config();
  if (config.solver.steps < checkpoint.step) {
    note(fmt::format("{}: step {} is beyond solver.steps = {}: nothing is trained, and the run keeps {}",
                     folder_.path().string(), checkpoint.step, config.solver.steps,
                     checkpoint.config.solver.steps));
    config.solver.steps = checkpoint.config.solver.steps;
  }
  write_config(config);
  if (const std::int64_t damaged = log_->truncate_after(checkpoint.step); damaged > 0) {
    note(fmt::format("{}: {} damaged line{} left out", log_->path().string(), damaged,
                     damaged == 1 ? "" : "s"));
  }
}

void Training::run() {
  const HoldSignals hold;
  train_judge();
  const std::int64_t total = session_.config().solver.steps;
  const std::int64_t first = session_.solver().steps() - (ahead_ ? 1 : 0);
  EventWriter events(folder_.path());
  events.begin_at(first + 1);
  Progress progress("train", total, session_.solver().steps());
  const auto begin = Clock::now();
  while (ahead_ || (session_.solver().steps() < total && caught_signal() == 0)) {
    if (!std::exchange(ahead_, false)) session_.solver().advance();
    after_step(events, progress);
  }
  if (caught_signal() != 0) save();
  record_session(first, seconds_ + seconds_since(begin));
  session_.export_networks(folder_);
  if (caught_signal() != 0) {
    note(fmt::format("stopped after step {} by signal {}; continue with --resume", session_.solver().steps(),
                     caught_signal()));
  }
}

/// What is due after a step: log, validation, samples, checkpoint.
void Training::after_step(EventWriter& events, Progress& progress) {
  const RunConfig& c = session_.config();
  const LogConfig& log = c.log;
  const std::int64_t step = session_.solver().steps();
  const bool last = step == c.solver.steps;
  const auto due = [&](std::int64_t every) { return every > 0 && (step % every == 0 || last); };
  // A GPU's losses are read only where they are used, so that the host need not wait for every iteration.
  if (session_.device() == Device::cpu || due(log.every) || last) {
    losses_ = session_.solver().losses();
  }
  if (due(log.every)) {
    log_->record(step, "train", losses_);
    for (const Metric& m : losses_) events.scalar("train/" + m.name, m.value, step);
    events.scalar("speed/steps_per_second", progress.rate(), step);
  }
  progress.update(step, losses_);
  if (due(log.validate_every)) validate(step, events, progress);
  if (due(log.samples_every)) write_samples(step, events);
  if (due(log.checkpoint_every) || last) save();
}

void Training::write_config(const RunConfig& config) {
  const std::string text = to_toml(config);
  write_file_atomically(folder_.config_file(), std::as_bytes(std::span(text)));
  log_ = std::make_unique<RunLog>(folder_.path());
}

std::map<std::string, std::string> Training::metadata() const {
  std::map<std::string, std::string> extra{{"arithmetic", arithmetic_of(session_.device())}};
  if (best_ >= 0) extra["best_score"] = fmt::format("{}", best_);
  return extra;
}

void Training::save() {
  session_.save(folder_.checkpoint(session_.solver().steps()), metadata());
  folder_.prune(std::max<std::int64_t>(1, session_.config().log.keep_checkpoints));
}

void Training::record_session(std::int64_t first_step, double seconds) {
  const std::int64_t last_step = session_.solver().steps();
  if (last_step == first_step) return;  // a finished run, resumed
  const char* commit = std::getenv("VOXOT_COMMIT");
  append_session(folder_.path(),
                 {first_step, last_step, seconds, describe(session_.device()), kernels::threads(),
                  session_.config().solver.precision, kVersion, commit != nullptr ? commit : ""});
}

/// Opens the data that training itself does not read, and draws what the run is shown by.
void Training::draw_validation() {
  const RunConfig& c = session_.config();
  const auto seed = static_cast<std::uint64_t>(c.solver.seed);
  const auto source = open_dataset(c.source, Split::validation, data_);
  const auto target = open_dataset(c.target, Split::validation, data_);
  validation_ = draw_batch(*source, evaluation_state(seed, EvaluationDraw::validation_source),
                           std::max<std::int64_t>(1, c.log.validate_samples));
  if (!can_be_judged(c)) {
    validation_target_ = draw_batch(*target, evaluation_state(seed, EvaluationDraw::validation_target),
                                    std::max<std::int64_t>(2, c.log.validate_samples));
  } else if (c.log.validate_every > 0) {
    check_judge_data(c.judge, c.target, data_);
  }
  shown_ = draw_batch(*source, evaluation_state(seed, EvaluationDraw::shown_source), kPictureColumns);
  shown_target_ = draw_batch(*target, evaluation_state(seed, EvaluationDraw::shown_target), kPictureColumns);
}

void Training::train_judge() {
  const RunConfig& c = session_.config();
  const bool done = session_.solver().steps() >= c.solver.steps && !ahead_;
  const bool maps = session_.solver().capabilities().transport != nullptr;
  if (c.log.validate_every == 0 || !can_be_judged(c) || !maps || done) return;
  try {
    judge_ = std::make_unique<Judge>(c.judge, c.target, data_, judge_file(c, folder_.path()),
                                     session_.device(), quiet_);
  } catch (const ExitStatus&) {
    note("continue with --resume");
    throw;
  }
  if (!judge_->trusted()) {
    note(
        fmt::format("the judge reaches {:.4f} on real test volumes, {} is needed: it chooses no best "
                    "checkpoint",
                    judge_->accuracy(), c.judge.required));
  }
}

/// Scores what the solver can do on validation volumes, and keeps the best map.
void Training::validate(std::int64_t step, EventWriter& events, Progress& progress) {
  const Capabilities solver = session_.solver().capabilities();
  const auto seed = static_cast<std::uint64_t>(session_.config().solver.seed);
  Validation v;
  if (solver.transport != nullptr) {
    const Tensor mapped =
        map_all(*solver.transport, validation_.volumes, seed, EvaluationDraw::validation_noise);
    v = judge_ != nullptr ? judged(mapped) : compared(mapped);
  }
  if (solver.pairs != nullptr) {
    const TensorPair pairs =
        sample_all(*solver.pairs, validation_.volumes.extent(0), seed, EvaluationDraw::validation_pairs);
    v.metrics.push_back({"pair_cost", paired_cost(pairs.x, pairs.y)});
    v.text += fmt::format(" pair cost {:.4f}", v.metrics.back().value);
  }
  if (v.metrics.empty()) return;
  log_->record(step, "validate", v.metrics);
  for (const Metric& m : v.metrics) events.scalar("validate/" + m.name, m.value, step);
  if (!quiet_) progress.message(fmt::format("step {:>6}  validation:{}", step, v.text));
  // A judge that is not trusted, or that finds nothing right, chooses nothing. Of equal scores the later one
  // is kept: its learning rate is lower.
  if (!(v.score > 0) || !(v.score >= best_)) return;
  best_ = v.score;
  session_.save(folder_.best_checkpoint(), metadata());
}

/// What the judge says of mapped volumes; the score is accuracy times colour kept.
Training::Validation Training::judged(const Tensor& mapped) {
  const RunConfig& c = session_.config();
  const MapScores scores = score_map(*judge_, c.source, c.target.classes, validation_, mapped);
  const bool coloured = !scores.colour.names.empty();
  Validation v;
  v.metrics = {{"target_accuracy", scores.target_accuracy}, {"transport_cost", scores.transport_cost}};
  if (coloured) v.metrics.push_back({"colour_kept", scores.colour.kept});
  v.text = fmt::format(" target accuracy {:.3f}{}, cost {:.4f}", scores.target_accuracy,
                       coloured ? fmt::format(", colour kept {:.3f}", scores.colour.kept) : "",
                       scores.transport_cost);
  if (judge_->trusted()) v.score = scores.target_accuracy * (coloured ? scores.colour.kept : 1.0);
  return v;
}

/// Where nothing can be judged, what needs no truth: the cost, and how far the mapped mean and covariance are
/// from the target's. They choose nothing: such a run is scored at its last step.
Training::Validation Training::compared(const Tensor& mapped) {
  Validation v;
  v.metrics = {{"transport_cost", paired_cost(validation_.volumes, mapped)}};
  if (mapped.count() / mapped.extent(0) <= kMostCompared) {
    v.metrics.push_back({"target_distance", frechet_distance(mapped, validation_target_.volumes)});
  }
  for (const Metric& m : v.metrics) v.text += fmt::format(" {} {:.5f}", m.name, m.value);
  return v;
}

/// samples/last.npz, and a picture of volumes that have one.
void Training::write_samples(std::int64_t step, EventWriter& events) {
  const auto seed = static_cast<std::uint64_t>(session_.config().solver.seed);
  const Capabilities solver = session_.solver().capabilities();
  std::vector<std::pair<const char*, Tensor>> rows;
  if (solver.transport != nullptr) {
    rows = {{"source", shown_.volumes},
            {"mapped", map_all(*solver.transport, shown_.volumes, seed, EvaluationDraw::shown_noise)}};
  }
  if (solver.pairs != nullptr) {
    const TensorPair pairs = sample_all(*solver.pairs, kPictureColumns, seed, EvaluationDraw::shown_pairs);
    rows.insert(rows.end(), {{"sampled_x", pairs.x}, {"sampled_y", pairs.y}});
  }
  if (rows.empty()) return;
  const auto folder = folder_.path() / "samples";
  std::map<std::string, HostArray> arrays{{"target", to_file(shown_target_.volumes)}};
  for (const auto& [name, volumes] : rows) arrays[name] = to_file(volumes);
  write_npz(folder / "last.npz", arrays);
  const Shape& shape = rows.front().second.shape();
  if (shape[2] == 1 && shape[3] == 1) return;  // vectors have no picture
  if (shape[4] != 1 && shape[4] != 3) return;
  std::vector<VolumeRow> views;
  for (const auto& [name, t] : rows) {
    views.push_back({name, {}});
    const std::int64_t each = t.count() / t.extent(0);
    for (std::int64_t i = 0; i < t.extent(0); ++i) {
      views.back().volumes.push_back(
          {t.as<float>() + i * each, t.extent(1), t.extent(2), t.extent(3), t.extent(4)});
    }
  }
  const Image image = render_rows(views, kPictureColumns);
  const std::vector<std::byte> png = encode_png(image);
  write_file_atomically(folder / fmt::format("step-{:07}.png", step), png);
  events.image("samples", png, image.width, image.height, step);
  events.flush();
}

}  // namespace voxot
