// voxot evaluate: scores a run on held-out test volumes.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <memory>

#include "apps/commands.h"
#include "apps/device.h"
#include "apps/evaluation.h"
#include "apps/session.h"
#include "engine/atomic_file.h"
#include "engine/progress.h"
#include "kernels/features.h"

namespace voxot {
namespace {

struct Options {
  std::string run;
  std::string data;
  std::string device = "auto";
  std::string precision;
  std::string checkpoint = "best";
  std::int64_t samples = 1024;
  int threads = 0;
  bool json = false;
};

/// Says where config.toml is not what the checkpoint was made with.
void note_differences(const RunFolder& folder, const Checkpoint& checkpoint, const RunConfig& taken) {
  const std::string made = checkpoint.path.filename().string();
  const auto moved = [&](const char* key, const std::string& was, const std::string& now) {
    if (was != now) note(fmt::format("{} is now \"{}\"; {} was made with \"{}\"", key, now, made, was));
  };
  moved("source.path", checkpoint.config.source.path, taken.source.path);
  moved("target.path", checkpoint.config.target.path, taken.target.path);
  if (const auto lines = first_difference(taken, folder.load_config())) {
    note(fmt::format("{} was made with `{}`, which holds; {} says `{}`", made, lines->front(),
                     folder.config_file().string(), lines->back()));
  }
}

void evaluate_run(const Options& options) {
  kernels::set_threads(options.threads);
  const Device device = choose_device(options.device);
  const RunFolder folder(options.run);
  const auto file = folder.evaluation_file();
  const Checkpoint checkpoint = folder.read_chosen(options.checkpoint);
  RunConfig config = folder.load_config_of(checkpoint);
  note_differences(folder, checkpoint, config);
  config.solver.precision =
      choose_precision(options.precision.empty() ? config.solver.precision : options.precision, device);
  try {
    check_replaceable(file);
  } catch (const Error& error) {
    note(fmt::format("the scores will be printed and not kept: {}", error.what()));
  }
  const auto directory = find_data_directory(options.data);
  TestData data{open_dataset(config.source, Split::test, directory),
                open_dataset(config.target, Split::test, directory), directory,
                judge_file(config, folder.path())};
  const SampleShape shape = common_shape(config, *data.source, *data.target);
  const auto trained = solver_kind(config.solver.kind).load(config, shape, device, checkpoint);
  Scores scores = evaluate(trained->capabilities(), config, data, device, options.samples, options.json);
  scores.set("step", static_cast<double>(checkpoint.step));
  scores.set("samples", static_cast<double>(options.samples),
             fmt::format("held-out test volumes, networks of step {}", checkpoint.step));
  const std::string json = scores_json(scores);
  const auto judged = scores.get("judge_accuracy");
  if (judged && *judged < config.judge.required) {
    note(
        fmt::format("the judge reaches {:.4f} on real test volumes, {} is needed: target accuracy is refused",
                    *judged, config.judge.required));
  }
  fmt::print("{}", options.json ? json : scores_table(scores));
  std::fflush(stdout);  // whatever becomes of the file
  write_file_atomically(file, std::as_bytes(std::span(json)));
}

}  // namespace

void add_evaluate(CLI::App& app) {
  auto o = std::make_shared<Options>();
  CLI::App* command =
      app.add_subcommand("evaluate",
                         "Scores a run on held-out test volumes; also writes RUN/evaluation.json.\n"
                         "Example: voxot evaluate runs/demo");
  command->add_option("run", o->run, "folder of the run")->required();
  command->add_option("--data", o->data, "folder of the data sets");
  command->add_option("--checkpoint", o->checkpoint, "the best on validation, or the last")
      ->check(CLI::IsMember({"best", "last"}))
      ->capture_default_str();
  command->add_option("--samples", o->samples, "test volumes to map")
      ->check(integer_in({16, 65536}))
      ->capture_default_str();
  add_device_option(*command, o->device);
  add_precision_option(*command, o->precision);
  command->add_option("--threads", o->threads, "threads of the CPU backend; 0: all")
      ->check(integer_in(kThreads))
      ->capture_default_str();
  command->add_flag("--json", o->json, "print evaluation.json in place of the table");
  command->callback([o] { evaluate_run(*o); });
}

}  // namespace voxot
