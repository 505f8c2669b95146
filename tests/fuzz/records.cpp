// A run's records: metrics.jsonl, sessions.jsonl, evaluation.json.
#include <cmath>

#include "apps/run_curves.h"
#include "apps/scores.h"
#include "apps/session_log.h"
#include "engine/run_log.h"
#include "tests/fuzz/fuzz.h"

using namespace voxot;

std::vector<std::string> fuzz::seeds() {
  Scores scores;
  scores.set("samples", 64);
  scores.set("step", 10);
  scores.set("judge_accuracy", 0.99);
  scores.set("target_accuracy_by_colour", "red", 0.5);
  scores.set("diversity/by_colour", "red", 0.25);
  const Metric metrics[] = {{"cost", 0.25}, {"slope", std::nan("")}};
  // Numbers that no count is, for libFuzzer to put elsewhere.
  std::string damaged = scores_json(scores);
  damaged.replace(damaged.find("\"step\": 10"), 10, "\"step\": -1e30");
  return {scores_json(scores), damaged,
          metrics_line(5, "train", metrics) + metrics_line(6, "validate", metrics),
          R"({"first_step":0,"last_step":24,"seconds":1.5,"device":"x","threads":2,"precision":"fp32"})"
          "\n"};
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = fuzz::text_of(data, size);
  const Curves curves = parse_curves(text);
  fuzz::require(curves.last_step >= 0 && curves.last_step <= kMostSteps);
  for (const auto& [name, curve] : curves.by_name) fuzz::require(curve.steps.size() == curve.values.size());
  for (const TrainingSession& s : parse_sessions(text)) {
    fuzz::require(s.first_step >= 0 && s.last_step >= s.first_step && s.last_step <= kMostSteps &&
                  s.seconds >= 0);
  }
  fuzz::read_or_refuse("input", [&] {
    const Scores scores = parse_scores(std::string(text), "input");
    fuzz::require(scores.count("step") >= 0 && scores.count("samples") >= 0);
  });
  return 0;
}
