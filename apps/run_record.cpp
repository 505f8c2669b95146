#include "apps/run_record.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <set>
#include <string_view>
#include <utility>

#include "apps/run_folder.h"
#include "engine/atomic_file.h"
#include "engine/npy.h"

namespace voxot {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kShownSamples = 8;

std::string text_of(const fs::path& file) {
  const std::vector<std::byte> bytes = read_file(file);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// Calls read(), and makes a note of what it throws.
template <class Read>
void attempt(RunRecord& run, const Read& read) {
  try {
    read();
  } catch (const Error& error) {
    run.notes.push_back(printable(error.what(), 300));
  }
}

void read_metrics(RunRecord& run) {
  const fs::path file = run.path / "metrics.jsonl";
  if (!fs::exists(file)) {
    run.notes.emplace_back("no metrics.jsonl");
    return;
  }
  Curves curves = parse_curves(text_of(file));
  run.curves = std::move(curves.by_name);
  run.steps = std::max(run.steps, curves.last_step);
  if (curves.damaged > 0) {
    run.notes.push_back(fmt::format("metrics.jsonl: {} damaged line{} left out", curves.damaged,
                                    curves.damaged == 1 ? "" : "s"));
  }
}

void read_evaluation(RunRecord& run) {
  const fs::path file = run.path / "evaluation.json";
  if (!fs::exists(file)) {
    run.notes.emplace_back("not scored: no evaluation.json (voxot evaluate)");
    return;
  }
  run.scores = parse_scores(text_of(file), "evaluation.json");
  const auto judge = run.scores->get("judge_accuracy");
  if (judge && !run.scores->get("target_accuracy")) {
    run.notes.push_back(
        fmt::format("target accuracy is refused: the judge reaches {:.4f} on real test volumes", *judge));
  }
}

void read_samples(RunRecord& run) {
  const fs::path file = run.path / "samples" / "last.npz";
  if (!fs::exists(file)) {
    run.notes.emplace_back("no samples/last.npz");
    return;
  }
  std::map<std::string, HostArray> arrays = read_npz(file);
  std::vector<Volumes> rows;
  for (const char* name : {"source", "mapped", "sampled_x", "sampled_y", "target"}) {
    const auto found = arrays.find(name);
    if (found == arrays.end() || !is_volumes(found->second)) continue;
    rows.push_back(
        to_volumes(std::move(found->second), std::string("last.npz: ") + name, name, kShownSamples));
    const auto [n, d, h, w, c] = rows.back().shape;
    if (h == 1 && w == 1) return;  // vectors
    VOXOT_CHECK(c == 1 || c == 3, "last.npz: {}: {} channels cannot be drawn", name, c);
  }
  run.samples = std::move(rows);
}

std::vector<fs::path> step_pictures(const fs::path& run) {
  std::vector<fs::path> found;
  std::error_code none;
  for (const auto& entry : fs::directory_iterator(run / "samples", none)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("step-") && name.ends_with(".png")) found.push_back(entry.path());
  }
  std::sort(found.begin(), found.end());
  return found;
}

void read_pictures(RunRecord& run) {
  const std::vector<fs::path> all = step_pictures(run.path);
  if (all.empty()) return;
  const std::set<std::size_t> chosen{0, all.size() / 2, all.size() - 1};
  constexpr std::string_view kSignature = "\x89PNG\r\n\x1a\n";
  for (const std::size_t i : chosen) {
    const std::vector<std::byte> png = read_file(all[i]);
    const std::string_view bytes(reinterpret_cast<const char*>(png.data()), png.size());
    const std::string name = all[i].filename().string();
    VOXOT_CHECK(bytes.starts_with(kSignature) && bytes.substr(bytes.size() - 8).starts_with("IEND"),
                "{}: no whole PNG file", printable(name, 80));
    run.pictures.push_back({std::strtoll(name.c_str() + 5, nullptr, 10), png});
  }
}

void note_progress(RunRecord& run) {
  if (const auto newest = RunFolder(run.path).newest()) run.steps = std::max(run.steps, *newest);
  const std::int64_t planned = run.config.solver.steps;
  if (run.steps < planned) run.notes.push_back(fmt::format("stopped at step {} of {}", run.steps, planned));
  if (run.scores && run.scores->count("step") != run.steps) {
    run.notes.push_back(fmt::format("the scores are of step {}; samples and curves go on to step {}",
                                    run.scores->count("step"), run.steps));
  }
  std::int64_t timed = 0;
  for (const TrainingSession& s : run.sessions) timed += s.last_step - s.first_step;
  if (timed > 0 && timed < run.steps) {
    run.notes.push_back(
        fmt::format("the seconds are those of {} of {} steps: a session was killed", timed, run.steps));
  }
}

/// "demo" of runs/demo, runs/demo/ and, within it, of "."
std::string name_of_folder(const fs::path& folder) {
  const fs::path whole = fs::absolute(folder).lexically_normal();
  return printable((whole.has_filename() ? whole : whole.parent_path()).filename().string(), 200);
}

}  // namespace

RunRecord read_run(const fs::path& folder) {
  RunRecord run;
  run.path = folder;
  run.name = name_of_folder(folder);
  run.config = RunFolder(folder).load_config();
  attempt(run, [&] { read_evaluation(run); });
  attempt(run, [&] { read_metrics(run); });
  attempt(run, [&] { run.sessions = read_sessions(folder); });
  attempt(run, [&] { read_samples(run); });
  attempt(run, [&] { read_pictures(run); });
  note_progress(run);
  return run;
}

std::vector<RunRecord> read_runs(const std::vector<std::string>& folders) {
  std::vector<RunRecord> runs;
  std::set<fs::path> seen;
  std::map<std::string, int> names;
  for (const std::string& folder : folders) {
    if (!seen.insert(fs::weakly_canonical(folder)).second) continue;
    runs.push_back(read_run(folder));
    ++names[runs.back().name];
  }
  for (RunRecord& run : runs) {
    if (names[run.name] > 1) run.name = printable(run.path.lexically_normal().string(), 200);
  }
  return runs;
}

}  // namespace voxot
