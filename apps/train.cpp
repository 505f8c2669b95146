// voxot train: trains a transport map from a config, with validation, checkpoints and samples; resumable bit
// for bit.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <memory>

#include "apps/commands.h"
#include "apps/device.h"
#include "apps/evaluation.h"
#include "apps/picture.h"
#include "apps/session_log.h"
#include "engine/atomic_file.h"
#include "engine/event_writer.h"
#include "engine/npy.h"
#include "engine/progress.h"
#include "engine/run_log.h"
#include "kernels/features.h"
#include "solvers/metrics.h"

namespace voxot {
namespace {

volatile std::sig_atomic_t caught_signal = 0;

extern "C" void remember_signal(int number) { caught_signal = number; }

/// SIGINT and SIGTERM end the run after the step at hand; a second one ends it at once.
void watch_signals() {
  struct sigaction action {};
  action.sa_handler = remember_signal;
  action.sa_flags = static_cast<int>(SA_RESETHAND);
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

struct Options {
  std::vector<std::string> configs;  // later ones win
  std::vector<std::string> overrides;
  std::string device = "auto";
  std::string precision;
  std::string autotune = "measure";
  std::int64_t seed = -1;
  int threads = 0;
  std::string out;
  std::string data;
  std::string init_from;
  bool resume = false;
  bool quiet = false;
};

constexpr std::int64_t kPictureColumns = 8;
constexpr std::int64_t kMostCompared = 256;  // values of a sample up to which covariances are compared

/// N×D×H×W×C here to N×C×D×H×W in a file.
HostArray to_file(const Tensor& t) {
  const std::int64_t n = t.extent(0);
  const std::int64_t voxels = t.extent(1) * t.extent(2) * t.extent(3);
  const std::int64_t channels = t.extent(4);
  const std::vector<float> from = t.to_floats();
  std::vector<float> to(from.size());
  for (std::int64_t i = 0; i < n * voxels; ++i) {
    for (std::int64_t c = 0; c < channels; ++c) {
      to[static_cast<std::size_t>((i / voxels * channels + c) * voxels + i % voxels)] =
          from[static_cast<std::size_t>(i * channels + c)];
    }
  }
  return HostArray::from_floats({n, channels, t.extent(1), t.extent(2), t.extent(3)}, to);
}

/// One training run.
class Training {
 public:
  Training(const RunConfig& config, RunFolder folder, const std::filesystem::path& data, Device device,
           bool quiet)
      : session_(config, data, device), folder_(std::move(folder)), data_(data), quiet_(quiet) {}

  void start() {
    const std::string& from = session_.config().solver.init_from;
    if (!from.empty()) session_.begin_with(RunFolder(from));
    open_folder();
    log_->truncate_after(-1);
    clear_sessions(folder_.path());
    save();
  }

  void resume(std::int64_t step) {
    const auto file = folder_.checkpoint(step);
    best_ = metadata_number(session_.load(file), "best_score", file.string(), 0.0, 1.0).value_or(best_);
    open_folder();
    log_->truncate_after(step);
  }

  /// Returns the signal that ended the run early, or 0.
  int run() {
    const LogConfig& log = session_.config().log;
    const std::int64_t total = session_.config().solver.steps;
    prepare_validation();
    EventWriter events(folder_.path());
    Progress progress("train", total, session_.solver().steps());
    NeuralOtLosses losses;
    bool known = false;
    const auto begin = std::chrono::steady_clock::now();
    const std::int64_t first = session_.solver().steps();
    while (session_.solver().steps() < total && caught_signal == 0) {
      session_.solver().advance();
      const std::int64_t step = session_.solver().steps();
      const bool last = step == total;
      const auto due = [&](std::int64_t every) { return every > 0 && (step % every == 0 || last); };
      // A GPU's losses are read only where they are used, so that the host need not wait for every iteration.
      if (session_.device() == Device::cpu || due(log.every) || last) {
        losses = session_.solver().losses();
        known = true;
      }
      const Metric train[] = {
          {"transport_loss", losses.transport}, {"cost", losses.cost}, {"potential_loss", losses.potential}};
      std::vector<Metric> metrics(std::begin(train), std::end(train));
      if (session_.config().solver.form == "weak") metrics.push_back({"gamma", session_.solver().gamma()});
      if (session_.config().solver.gradient_penalty > 0) metrics.push_back({"slope", losses.slope});
      if (due(log.every)) {
        log_->record(step, "train", metrics);
        for (const Metric& m : metrics) events.scalar("train/" + m.name, m.value, step);
        events.scalar("speed/steps_per_second", progress.rate(), step);
      }
      progress.update(step, known ? std::span<const Metric>(metrics) : std::span<const Metric>());
      if (due(log.validate_every)) validate(step, events, progress);
      if (due(log.samples_every)) write_samples(step, events);
      if (due(log.checkpoint_every) || last) save();
    }
    if (caught_signal != 0) save();
    record_session(first, std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
    session_.export_map(folder_.exported_map());
    return caught_signal;
  }

 private:
  static void write_text(const std::filesystem::path& file, const std::string& text) {
    write_file_atomically(file, std::as_bytes(std::span(text.data(), text.size())));
  }

  void open_folder() {
    std::filesystem::create_directories(folder_.path() / "checkpoints");
    std::filesystem::create_directories(folder_.path() / "samples");
    for (const char* part : {"", "checkpoints", "samples"}) remove_temporary_files(folder_.path() / part);
    write_text(folder_.config_file(), to_toml(session_.config()));
    log_ = std::make_unique<RunLog>(folder_.path());
  }

  void save() {
    std::map<std::string, std::string> extra;
    if (best_ >= 0) extra["best_score"] = fmt::format("{}", best_);
    session_.save(folder_.checkpoint(session_.solver().steps()), extra);
    folder_.prune(std::max<std::int64_t>(1, session_.config().log.keep_checkpoints));
  }

  void record_session(std::int64_t first_step, double seconds) {
    const std::int64_t last_step = session_.solver().steps();
    if (last_step == first_step) return;  // a finished run, resumed
    const char* commit = std::getenv("VOXOT_COMMIT");
    append_session(folder_.path(),
                   {first_step, last_step, seconds, describe(session_.device()), kernels::threads(),
                    session_.config().solver.precision, kVersion, commit != nullptr ? commit : ""});
  }

  void prepare_validation() {
    const RunConfig& c = session_.config();
    const auto seed = static_cast<std::uint64_t>(c.solver.seed);
    const auto source = open_dataset(c.source, Split::validation, data_);
    const auto target = open_dataset(c.target, Split::validation, data_);
    validation_ = draw_batch(*source, {seed, Purpose::evaluation, 11},
                             std::max<std::int64_t>(1, c.log.validate_samples));
    if (!can_be_judged(c)) {
      validation_target_ = draw_batch(*target, {seed, Purpose::evaluation, 16},
                                      std::max<std::int64_t>(2, c.log.validate_samples));
    }
    shown_ = draw_batch(*source, {seed, Purpose::evaluation, 12}, kPictureColumns);
    shown_target_ = draw_batch(*target, {seed, Purpose::evaluation, 13}, kPictureColumns);
    if (c.log.validate_every > 0 && can_be_judged(c)) {
      judge_ = std::make_unique<Judge>(c.judge, c.target, data_, judge_file(c, folder_.path()),
                                       session_.device(), quiet_);
    }
  }

  /// Scores the map on validation volumes and keeps the best: accuracy times colour kept.
  void validate(std::int64_t step, EventWriter& events, Progress& progress) {
    const RunConfig& c = session_.config();
    const Tensor mapped =
        map_all(session_.solver(), validation_.volumes, static_cast<std::uint64_t>(c.solver.seed), 14);
    if (judge_ == nullptr) return compare(step, mapped, events, progress);
    const MapScores scores = score_map(*judge_, c.source, c.target.classes, validation_, mapped);
    const bool coloured = !scores.colour.names.empty();
    std::vector<Metric> metrics{{"target_accuracy", scores.target_accuracy},
                                {"transport_cost", scores.transport_cost}};
    if (coloured) metrics.push_back({"colour_kept", scores.colour.kept});
    log_->record(step, "validate", metrics);
    for (const Metric& m : metrics) events.scalar("validate/" + m.name, m.value, step);
    if (!quiet_) {
      progress.message(fmt::format(
          "step {:>6}  validation: target accuracy {:.3f}{}, cost {:.4f}", step, scores.target_accuracy,
          coloured ? fmt::format(", colour kept {:.3f}", scores.colour.kept) : "", scores.transport_cost));
    }
    const double score = scores.target_accuracy * (coloured ? scores.colour.kept : 1.0);
    if (!(score >= best_)) return;  // of equals the later one, which has cooled further
    best_ = score;
    session_.save(folder_.best_checkpoint(), {{"best_score", fmt::format("{}", best_)}});
  }

  /// Where nothing can be judged, what needs no truth: the cost, and how far the mapped mean and covariance
  /// are from the target's. They choose nothing: such a run is scored at its last step.
  void compare(std::int64_t step, const Tensor& mapped, EventWriter& events, Progress& progress) {
    std::vector<Metric> metrics{{"transport_cost", paired_cost(validation_.volumes, mapped)}};
    if (mapped.count() / mapped.extent(0) <= kMostCompared) {
      metrics.push_back({"target_distance", frechet_distance(mapped, validation_target_.volumes)});
    }
    log_->record(step, "validate", metrics);
    std::string line = fmt::format("step {:>6}  validation:", step);
    for (const Metric& m : metrics) {
      events.scalar("validate/" + m.name, m.value, step);
      line += fmt::format(" {} {:.5f}", m.name, m.value);
    }
    if (!quiet_) progress.message(line);
  }

  void write_samples(std::int64_t step, EventWriter& events) {
    const auto seed = static_cast<std::uint64_t>(session_.config().solver.seed);
    const Tensor mapped = map_all(session_.solver(), shown_.volumes, seed, 15);
    const auto folder = folder_.path() / "samples";
    write_npz(folder / "last.npz", {{"source", to_file(shown_.volumes)},
                                    {"mapped", to_file(mapped)},
                                    {"target", to_file(shown_target_.volumes)}});
    if (mapped.extent(2) == 1 && mapped.extent(3) == 1) return;  // vectors have no picture
    if (mapped.extent(4) != 1 && mapped.extent(4) != 3) return;
    const auto row = [](const char* title, const Tensor& t) {
      VolumeRow views{title, {}};
      const std::int64_t each = t.count() / t.extent(0);
      for (std::int64_t i = 0; i < t.extent(0); ++i) {
        views.volumes.push_back(
            {t.as<float>() + i * each, t.extent(1), t.extent(2), t.extent(3), t.extent(4)});
      }
      return views;
    };
    const Image image = render_rows({row("source", shown_.volumes), row("mapped", mapped)}, kPictureColumns);
    const std::vector<std::byte> png = encode_png(image);
    write_file_atomically(folder / fmt::format("step-{:07}.png", step), png);
    events.image("samples", png, image.width, image.height, step);
    events.flush();
  }

  Session session_;
  RunFolder folder_;
  std::filesystem::path data_;
  bool quiet_;
  std::unique_ptr<RunLog> log_;
  std::unique_ptr<Judge> judge_;
  LabelledBatch validation_, validation_target_, shown_, shown_target_;
  double best_ = -1;  // before the first validation
};

/// Throws UsageError unless the two configs describe the same training (length, judge and logging may
/// differ).
void check_same_training(RunConfig stored, const RunConfig& wanted, const std::filesystem::path& folder) {
  stored.log = wanted.log;
  stored.judge = wanted.judge;
  if (stored.transport_optimizer.schedule == "constant" &&
      stored.potential_optimizer.schedule == "constant") {
    stored.solver.steps = wanted.solver.steps;
  }
  if (const auto lines = first_difference(stored, wanted)) {
    fail_usage(
        "{}: the run was made with `{}`, the config says `{}`; resume it with its own config or choose "
        "another --out",
        folder.string(), lines->front(), lines->back());
  }
}

RunConfig resolve_config(const Options& options) {
  std::vector<std::string> overrides = options.overrides;
  if (!options.precision.empty()) overrides.push_back("solver.precision=" + options.precision);
  if (options.seed >= 0) overrides.push_back(fmt::format("solver.seed={}", options.seed));
  const std::vector<std::filesystem::path> files(options.configs.begin(), options.configs.end());
  RunConfig config = load_config(files, overrides);
  if (!options.init_from.empty()) config.solver.init_from = options.init_from;
  if (!options.out.empty()) config.log.out = options.out;
  if (config.log.out.empty()) {
    config.log.out = (std::filesystem::path("runs") / files.front().stem()).string();
  }
  return config;
}

/// `auto` becomes the data set that is there.
void resolve_dataset(DatasetConfig& config, const std::filesystem::path& data) {
  if (config.dataset != "auto") return;
  config.dataset = "digits";
  try {
    DatasetConfig real = config;
    real.dataset = "mnist3d";
    (void)open_dataset(real, Split::test, data);
    config.dataset = "mnist3d";
  } catch (const UsageError&) {
    throw;
  } catch (const Error&) {
    // No MNIST: procedural digits need no files.
  }
}

void train(const Options& options) {
  kernels::set_threads(options.threads);
  const Device device = choose_device(options.device);
  RunConfig config = resolve_config(options);
  const auto data = find_data_directory(options.data);
  resolve_dataset(config.source, data);
  resolve_dataset(config.target, data);
  RunFolder folder(config.log.out);
  const auto newest = folder.newest();
  if (newest && !options.resume) {
    fail_usage("{}: holds a run of {} steps; continue it with --resume or choose another --out",
               folder.path().string(), *newest);
  }
  // A run goes on in what it was made in, also where `auto` means something else.
  if (newest && config.solver.precision == "auto")
    config.solver.precision = folder.load_config().solver.precision;
  config.solver.precision = choose_precision(config.solver.precision, device);
  if (newest) check_same_training(folder.load_config(), config, folder.path());
  fmt::print(stderr, "voxot: {} on {} ({}), {} → {}\n", config.log.out, describe(device),
             config.solver.precision, config.source.dataset, config.target.dataset);
  configure_kernels(options.autotune, device, folder.path() / "kernels.tsv");
  Training training(config, folder, data, device, options.quiet);
  if (newest) {
    training.resume(*newest);
  } else {
    training.start();
  }
  watch_signals();
  const int signal = training.run();
  if (signal != 0) {
    fmt::print(stderr, "voxot: stopped by signal {}; continue with --resume\n", signal);
    throw ExitStatus{128 + signal};
  }
  fmt::print("{}\n", config.log.out);
}

}  // namespace

void add_train(CLI::App& app) {
  auto o = std::make_shared<Options>();
  CLI::App* command =
      app.add_subcommand("train",
                         "Trains a transport map from a config.\n"
                         "Example: voxot train configs/demo.toml --set solver.steps=100 --out runs/first");
  command
      ->add_option("config", o->configs, "TOML files (configs/README.md); later ones win over earlier ones")
      ->required();
  command->add_option("--set", o->overrides, "key=value, over the file's; may come more than once")
      ->allow_extra_args(false);
  add_device_option(*command, o->device);
  add_precision_option(*command, o->precision);
  add_autotune_option(*command, o->autotune);
  command->add_option("--seed", o->seed, "seed of everything random")->check(whole_number());
  command->add_option("--threads", o->threads, "threads of the CPU backend; 0: all")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  command->add_option("--out", o->out, "the run's folder (default: runs/CONFIG)");
  command->add_option("--data", o->data, "folder of the data sets");
  command->add_option("--init-from", o->init_from, "a run whose weights this one begins with");
  command->add_flag("--resume", o->resume, "continue the run in --out from its newest checkpoint");
  command->add_flag("--quiet", o->quiet, "no validation lines");
  command->callback([o] { train(*o); });
}

}  // namespace voxot
