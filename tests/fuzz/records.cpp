// A run's records: metrics.jsonl, sessions.jsonl, evaluation.json.
#include <cmath>

#include "apps/evaluation.h"
#include "apps/run_curves.h"
#include "apps/session_log.h"
#include "engine/run_log.h"
#include "tests/fuzz/fuzz.h"

using namespace voxot;

std::vector<std::string> fuzz::seeds() {
  Evaluation e;
  e.samples = 64;
  e.step = 10;
  e.judge_accuracy = 0.99;
  e.colour.emplace().names = {"red"};
  e.colour->accuracy = {0.5};
  e.diversity.emplace().by_colour = {{"red", 0.25}};
  const Metric metrics[] = {{"cost", 0.25}, {"slope", std::nan("")}};
  // Numbers that no count is, for libFuzzer to put elsewhere.
  std::string damaged = evaluation_json(e);
  damaged.replace(damaged.find("\"step\": 10"), 10, "\"step\": -1e30");
  return {evaluation_json(e), damaged,
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
    const Evaluation e = parse_evaluation(std::string(text), "input");
    fuzz::require(e.step >= 0 && e.samples >= 0);
  });
  return 0;
}
