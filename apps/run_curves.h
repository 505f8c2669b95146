#pragma once
// The curves of a run's metrics.jsonl (engine/run_log.h writes it).
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace voxot {

struct Curve {
  std::vector<std::int64_t> steps;
  std::vector<double> values;  // NaN where the record says null
};

struct Curves {
  std::map<std::string, Curve> by_name;  // "train/cost", "validate/target_accuracy", ...
  std::int64_t last_step = 0;
  std::size_t damaged = 0;  // lines that are no record
};

/// Of the file's text. What follows the last line end was cut off by a kill.
Curves parse_curves(std::string_view text);

}  // namespace voxot
