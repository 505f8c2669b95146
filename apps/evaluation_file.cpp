// evaluation.json: the second form of apps/evaluation.h.
#include <nlohmann/json.hpp>

#include "apps/evaluation.h"
#include "engine/atomic_file.h"
#include "engine/json_number.h"
#include "engine/run_log.h"

namespace voxot {

std::string evaluation_json(const Evaluation& e) {
  using Json = nlohmann::ordered_json;
  const auto value = [](const std::optional<double>& v) { return v ? Json(*v) : Json(nullptr); };
  Json json;
  json["target_accuracy"] = value(e.target_accuracy);
  json["target_accuracy_by_colour"] = Json::object();
  if (e.colour) {
    for (std::size_t i = 0; i < e.colour->accuracy.size(); ++i) {
      json["target_accuracy_by_colour"][e.colour->names[i]] = e.colour->accuracy[i];
    }
  }
  json["colour_kept"] = e.colour ? Json(e.colour->kept) : Json(nullptr);
  json["transport_cost"] = e.transport_cost;
  json["discrete_cost"] = e.discrete_cost;
  json["feature_distance"] = value(e.feature_distance);
  json["feature_distance_real"] = value(e.feature_distance_real);
  if (e.diversity) {
    const Diversity& d = *e.diversity;
    json["diversity"] = {
        {"draws", d.draws}, {"variance", d.variance}, {"shape", d.shape}, {"colour_kept", value(d.hue_kept)}};
    for (const auto& [name, value] : d.by_colour) json["diversity"]["by_colour"][name] = value;
    for (const auto& [name, value] : d.by_class) json["diversity"]["by_class"][name] = value;
  }
  json["l2_uvp"] = value(e.l2_uvp);
  json["cosine"] = value(e.cosine);
  json["samples"] = e.samples;
  json["judge_accuracy"] = value(e.judge_accuracy);
  json["step"] = e.step;
  return json.dump(2) + "\n";
}

namespace {

/// A number of samples, draws or steps.
std::int64_t count_of(const nlohmann::ordered_json& json, const char* key) {
  const auto value = json_integer(json.at(key), 0, kMostSteps);
  VOXOT_CHECK(value.has_value(), "{}: expected a whole number from 0 to {}, got {}", key, kMostSteps,
              printable(json.at(key).dump(-1, ' ', true, nlohmann::json::error_handler_t::replace), 40));
  return *value;
}

Diversity parse_diversity(const nlohmann::ordered_json& json) {
  Diversity d;
  d.draws = count_of(json, "draws");
  d.variance = json.at("variance").get<double>();
  d.shape = json.at("shape").get<double>();
  if (!json.at("colour_kept").is_null()) d.hue_kept = json.at("colour_kept").get<double>();
  const auto read = [&](const char* key, auto& groups) {
    if (!json.contains(key)) return;
    for (const auto& [name, value] : json.at(key).items())
      groups.emplace_back(name, value.template get<double>());
  };
  read("by_colour", d.by_colour);
  read("by_class", d.by_class);
  return d;
}

}  // namespace

Evaluation parse_evaluation(const std::string& text, const std::string& name) {
  try {
    const auto json = nlohmann::ordered_json::parse(text);
    const auto number = [&](const char* key) {
      return json.at(key).is_null() ? std::nullopt : std::optional(json.at(key).get<double>());
    };
    Evaluation e;
    e.target_accuracy = number("target_accuracy");
    if (const auto kept = number("colour_kept")) {
      e.colour.emplace().kept = *kept;
      for (const auto& [colour, accuracy] : json.at("target_accuracy_by_colour").items()) {
        e.colour->names.push_back(colour);
        e.colour->accuracy.push_back(accuracy.get<double>());
      }
    }
    e.transport_cost = json.at("transport_cost").get<double>();
    e.discrete_cost = json.at("discrete_cost").get<double>();
    e.feature_distance = number("feature_distance");
    e.feature_distance_real = number("feature_distance_real");
    if (json.contains("diversity")) e.diversity = parse_diversity(json.at("diversity"));
    e.l2_uvp = number("l2_uvp");
    e.cosine = number("cosine");
    e.samples = count_of(json, "samples");
    e.judge_accuracy = number("judge_accuracy");
    e.step = count_of(json, "step");
    return e;
  } catch (const nlohmann::json::exception&) {
    fail("{}: expected the scores that voxot evaluate writes", name);
  } catch (const Error& error) {
    fail("{}: {}", name, error.what());
  }
}

}  // namespace voxot
