// voxot report: runs side by side in one HTML page that opens from disk.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "apps/commands.h"
#include "apps/report_page.h"
#include "engine/atomic_file.h"
#include "kernels/check.h"

namespace voxot {
namespace {

struct Options {
  std::vector<std::string> runs;
  std::string output;
  bool json = false;
};

void report(const Options& options) {
  if (options.output.empty() && !options.json)
    fail_usage("report: expected --output DIR for the page, --json for the table, or both");
  const std::vector<RunRecord> runs = read_runs(options.runs);
  if (!options.output.empty()) {
    const std::string page = report_page(runs);
    std::error_code failed;
    std::filesystem::create_directories(options.output, failed);
    VOXOT_CHECK(!failed, "{}: cannot make this folder: {}", options.output, failed.message());
    const auto file = std::filesystem::path(options.output) / "index.html";
    write_file_atomically(file, std::as_bytes(std::span(page)));
    if (!options.json) fmt::print("{}\n", file.string());
  }
  if (options.json) fmt::print("{}", report_rows(runs));
}

}  // namespace

void add_report(CLI::App& app) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand(
      "report",
      "Collects runs into one HTML page: scores, training curves, samples and a voxel viewer.\n"
      "Example: voxot report runs/demo runs/mine --output report");
  command->add_option("runs", options->runs, "folders of runs")->required();
  command->add_option("--output", options->output, "the folder that gets index.html");
  command->add_flag("--json", options->json, "print the table's rows as JSON");
  command->callback([options] { report(*options); });
}

}  // namespace voxot
