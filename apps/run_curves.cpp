#include "apps/run_curves.h"

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>

#include "engine/json_number.h"
#include "engine/run_log.h"

namespace voxot {
namespace {

/// False where the line is no record.
bool add_record(Curves& curves, std::string_view line) {
  const auto json = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object() || !json.contains("step") || !json.contains("kind") || !json["kind"].is_string()) {
    return false;
  }
  const auto step = json_integer(json["step"], 0, kMostSteps);
  if (!step) return false;
  curves.last_step = std::max(curves.last_step, *step);
  for (const auto& [name, value] : json.items()) {
    if (name == "step" || name == "kind" || !(value.is_number() || value.is_null())) continue;
    Curve& curve = curves.by_name[json["kind"].get<std::string>() + "/" + name];
    curve.steps.push_back(*step);
    curve.values.push_back(value.is_null() ? std::numeric_limits<double>::quiet_NaN() : value.get<double>());
  }
  return true;
}

}  // namespace

Curves parse_curves(std::string_view text) {
  Curves curves;
  for (std::size_t begin = 0, end = 0; (end = text.find('\n', begin)) != std::string_view::npos;
       begin = end + 1) {
    curves.damaged += add_record(curves, text.substr(begin, end - begin)) ? 0 : 1;
  }
  return curves;
}

}  // namespace voxot
