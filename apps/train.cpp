// voxot train: trains a transport map from a config, with validation, checkpoints and samples; resumable bit
// for bit.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <memory>
#include <optional>
#include <utility>

#include "apps/commands.h"
#include "apps/device.h"
#include "apps/training.h"
#include "datasets/kinds.h"
#include "engine/progress.h"
#include "kernels/features.h"

namespace voxot {
namespace {

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
  std::string resume;             // "", now or auto
  std::int64_t resume_from = -1;  // a step; -1: the newest
  bool quiet = false;
};

/// Throws UsageError unless the two configs describe the same training (length, judge and logging may
/// differ, and the schedule's length where it is given).
void check_same_training(RunConfig stored, const RunConfig& wanted, const std::filesystem::path& folder) {
  stored.log = wanted.log;
  stored.judge = wanted.judge;
  stored.solver.steps = wanted.solver.steps;
  stored.solver.schedule_steps = wanted.solver.schedule_steps;
  if (const auto lines = first_difference(stored, wanted)) {
    fail_usage(
        "{}: the run was made with `{}`, the config says `{}`; resume it with its own config or choose "
        "another --out",
        folder.string(), lines->front(), lines->back());
  }
}

/// Throws UsageError for steps that would be trained at rate 0.
void check_rates(const RunConfig& config, const std::filesystem::path& folder, bool resumed) {
  const std::int64_t steps = config.solver.steps;
  const std::int64_t over = schedule_steps(config.solver);
  if (steps <= over) return;
  for (const std::string& role : config.settings->roles()) {
    const OptimizerConfig* optimizer = config.settings->optimizer(role);
    if (optimizer == nullptr || !ends_at_zero(*optimizer)) continue;
    fail_usage(
        "{0}: the rate of optimizer.{1} ends at 0 after {2} steps, so that steps up to {3} would change "
        "nothing: let "
        "it fall over all of them with --set solver.schedule_steps={3}{4}",
        folder.string(), role, over, steps,
        resumed ? fmt::format(", or begin a new run with these weights: --init-from {} --out ANOTHER",
                              folder.string())
                : "");
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

/// The step to go on from; nothing where a run begins. Throws UsageError where neither is possible.
std::optional<std::int64_t> step_to_resume(const Options& options, const RunFolder& folder) {
  const std::string name = folder.path().string();
  if (options.resume_from >= 0) {
    const std::vector<std::int64_t> steps = folder.steps();
    if (std::find(steps.begin(), steps.end(), options.resume_from) == steps.end()) {
      fail_usage(
          "{}: holds no checkpoint of step {}, {}", name, options.resume_from,
          steps.empty() ? std::string("and no other") : fmt::format("only of {}", fmt::join(steps, ", ")));
    }
    return options.resume_from;
  }
  const auto newest = folder.newest();
  if (newest && !options.resume.empty()) return newest;
  if (options.resume == "now") {
    fail_usage("{}: holds no checkpoint to resume; leave --resume out to begin, or --resume=auto does either",
               name);
  }
  folder.check_fresh();
  return std::nullopt;
}

/// A run goes on with what it was made with, also where `auto` or a default means something else now.
void adopt(RunConfig& config, const RunConfig& stored) {
  if (config.solver.precision == "auto") config.solver.precision = stored.solver.precision;
  if (config.solver.schedule_steps == 0) config.solver.schedule_steps = schedule_steps(stored.solver);
}

void train(const Options& options) {
  kernels::set_threads(options.threads);
  const Device device = choose_device(options.device);
  RunConfig config = resolve_config(options);
  const auto data = find_data_directory(options.data);
  resolve_kind(config.source, data);
  resolve_kind(config.target, data);
  RunFolder folder(config.log.out);
  std::unique_ptr<RunLock> lock;
  std::optional<Checkpoint> checkpoint;
  if (step_to_resume(options, folder)) {
    lock = std::make_unique<RunLock>(folder.path());
    // Again: the one who had the lock may have gone on.
    checkpoint = folder.read_to_resume(step_to_resume(options, folder).value());
    adopt(config, checkpoint->config);
  }
  config.solver.schedule_steps = schedule_steps(config.solver);
  config.solver.precision = choose_precision(config.solver.precision, device);
  if (checkpoint) {
    check_same_training(checkpoint->config, config, folder.path());
    if (std::filesystem::exists(folder.config_file())) (void)folder.load_config_of(*checkpoint);
  }
  check_rates(config, folder.path(), checkpoint.has_value());
  note(fmt::format("{} on {} ({}), {} → {}", config.log.out, describe(device), config.solver.precision,
                   config.source.dataset, config.target.dataset));
  configure_kernels(options.autotune, device, folder.path() / "kernels.tsv");
  Training training(config, folder, data, device, options.quiet);
  if (checkpoint) {
    const bool other_schedule = schedule_steps(checkpoint->config.solver) != config.solver.schedule_steps;
    training.resume(*checkpoint, std::move(lock), other_schedule || options.resume_from >= 0);
    checkpoint.reset();  // its memory
  } else {
    training.start();
  }
  training.run();
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
  command->add_option("--seed", o->seed, "seed of everything random")->check(integer_in(kWholeNumbers));
  command->add_option("--threads", o->threads, "threads of the CPU backend; 0: all")
      ->check(integer_in(kThreads))
      ->capture_default_str();
  command->add_option("--out", o->out, "the run's folder (default: runs/CONFIG)");
  command->add_option("--data", o->data, "folder of the data sets");
  command->add_option("--init-from", o->init_from, "a run whose weights this one begins with");
  command
      ->add_flag("--resume{now}", o->resume,
                 "continue the run in --out from its newest checkpoint; --resume=auto begins it where there "
                 "is none")
      ->check(CLI::IsMember({"now", "auto"}));
  command
      ->add_option("--resume-from", o->resume_from,
                   "continue from the checkpoint of this step; later ones are removed")
      ->check(integer_in(kWholeNumbers));
  command->add_flag("--quiet", o->quiet, "no validation lines");
  command->callback([o] { train(*o); });
}

}  // namespace voxot
