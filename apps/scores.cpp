#include "apps/scores.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "engine/atomic_file.h"
#include "engine/json_number.h"
#include "engine/run_log.h"
#include "kernels/check.h"

namespace voxot {
namespace {

constexpr ScoreKind kScores[] = {
    {.key = "samples", .text = "samples", .format = "{:.0f}", .note = "held-out test volumes", .whole = true},
    {.key = "target_accuracy",
     .text = "target accuracy",
     .format = "{:.4f}",
     .note = "no judge for this data",
     .column = "target_accuracy",
     .title = "target accuracy",
     .digits = 3},
    {.key = "target_accuracy_by_colour",
     .text = "  {}",
     .format = "{:.4f}",
     .note = "",
     .presence = Presence::group,
     .column = "target_accuracy_by_colour",
     .title = "… by colour"},
    {.key = "colour_kept",
     .text = "colour kept",
     .format = "{:.4f}",
     .note = "share of samples whose colour stays",
     .presence = Presence::json,
     .column = "colour_kept",
     .title = "colour kept",
     .digits = 3},
    {.key = "transport_cost",
     .text = "transport cost",
     .format = "{:.5f}",
     .note = "mean (x − T(x))² per value",
     .presence = Presence::json,
     .column = "transport_cost",
     .title = "transport cost"},
    {.key = "discrete_cost",
     .text = "discrete cost",
     .format = "{:.5f}",
     .note = "exact assignment of real test batches",
     .presence = Presence::json,
     .column = "discrete_cost"},
    {.key = "feature_distance",
     .text = "feature distance",
     .format = "{:.4f}",
     .note = "Fréchet, mapped to real targets",
     .column = "feature_distance",
     .title = "feature distance"},
    {.key = "feature_distance_real",
     .text = "  between real halves",
     .format = "{:.4f}",
     .note = "the same between disjoint real targets",
     .column = "feature_distance_real"},
    {.key = "diversity/draws",
     .text = "",
     .format = "",
     .note = "",
     .presence = Presence::known,
     .whole = true},
    {.key = "diversity/variance",
     .text = "diversity",
     .format = "{:.5f}",
     .note = "",
     .presence = Presence::known,
     .column = "diversity",
     .title = "diversity"},
    {.key = "diversity/by_colour",
     .text = "  {}",
     .format = "{:.5f}",
     .note = "",
     .presence = Presence::if_group},
    {.key = "diversity/by_class",
     .text = "  class {}",
     .format = "{:.5f}",
     .note = "",
     .presence = Presence::if_group},
    {.key = "diversity/shape",
     .text = "  of shape",
     .format = "{:.5f}",
     .note = "variance of the density, per voxel",
     .presence = Presence::known,
     .column = "diversity_of_shape",
     .title = "… of shape"},
    {.key = "diversity/colour_kept",
     .text = "  colour kept",
     .format = "{:.4f}",
     .note = "share of draws",
     .presence = Presence::known,
     .column = "diversity_colour_kept",
     .title = "… colour kept",
     .digits = 3},
    {.key = "l2_uvp",
     .text = "L2-UVP",
     .format = "{:.4f} %",
     .note = "‖T(x) − T*(x)‖² in percent of the target's variance",
     .presence = Presence::json,
     .column = "l2_uvp",
     .title = "L2-UVP %"},
    {.key = "cosine",
     .text = "cosine",
     .format = "{:.4f}",
     .note = "between T(x) − x and T*(x) − x",
     .presence = Presence::json,
     .column = "cosine",
     .title = "cosine",
     .digits = 4},
    {.key = "pair_cost",
     .text = "pair cost",
     .format = "{:.5f}",
     .note = "mean (x − y)² per value of sampled pairs",
     .presence = Presence::known,
     .column = "pair_cost",
     .title = "pair cost"},
    {.key = "pair_source_accuracy",
     .text = "  source accuracy",
     .format = "{:.4f}",
     .note = "share of sampled x that the judge calls a source's class",
     .presence = Presence::known,
     .column = "pair_source_accuracy",
     .title = "… of x",
     .digits = 3},
    {.key = "pair_target_accuracy",
     .text = "  target accuracy",
     .format = "{:.4f}",
     .note = "share of sampled y that the judge calls a target's class",
     .presence = Presence::known,
     .column = "pair_target_accuracy",
     .title = "… of y",
     .digits = 3},
    {.key = "label_accuracy",
     .text = "label accuracy",
     .format = "{:.4f}",
     .note = "share of real test targets whose class is found",
     .presence = Presence::known,
     .column = "label_accuracy",
     .title = "label accuracy",
     .digits = 4},
    {.key = "judge_accuracy",
     .text = "",
     .format = "",
     .note = "",
     .column = "judge_accuracy",
     .title = "judge",
     .digits = 3},
    {.key = "step",
     .text = "",
     .format = "",
     .note = "",
     .whole = true,
     .column = "scored_step",
     .title = "scored step",
     .digits = 0},
};

constexpr ScoreRatio kRatios[] = {
    {"cost_ratio", "× discrete", "transport_cost", "discrete_cost"},
    {"feature_ratio", "× real", "feature_distance", "feature_distance_real"},
};

const ScoreKind& kind_of(const std::string& key) {
  const auto* found =
      std::find_if(std::begin(kScores), std::end(kScores), [&](const ScoreKind& k) { return key == k.key; });
  VOXOT_CHECK(found != std::end(kScores), "scores: no score is called {}", key);
  return *found;
}

bool is_group(const ScoreKind& kind) {
  return kind.presence == Presence::group || kind.presence == Presence::if_group;
}

using Json = nlohmann::ordered_json;

Json::json_pointer place_of(const std::string& key) { return Json::json_pointer("/" + key); }

Json json_of(const ScoreKind& kind, double value) {
  return kind.whole ? Json(static_cast<std::int64_t>(value)) : Json(value);
}

/// A count of samples, draws or steps.
double count_of(const Json& json, const char* key) {
  const auto value = json_integer(json, 0, kMostSteps);
  VOXOT_CHECK(value.has_value(), "{}: expected a whole number from 0 to {}, got {}", key, kMostSteps,
              printable(json.dump(-1, ' ', true, Json::error_handler_t::replace), 40));
  return static_cast<double>(*value);
}

double number_of(const ScoreKind& kind, const Json& json) {
  return kind.whole ? count_of(json, kind.key) : json.get<double>();
}

}  // namespace

std::span<const ScoreKind> score_kinds() { return kScores; }
std::span<const ScoreRatio> score_ratios() { return kRatios; }

void Scores::set(const std::string& key, double value, const std::string& note) {
  (void)kind_of(key);
  values_[key] = {{{}, value, {}, note}};
}

void Scores::set(const std::string& key, const std::string& name, double value, const std::string& note) {
  VOXOT_CHECK(is_group(kind_of(key)), "scores: {} is no group", key);
  values_[key].push_back({name, value, {}, note});
}

void Scores::refuse(const std::string& key, const std::string& word, const std::string& note) {
  (void)kind_of(key);
  values_[key] = {{{}, {}, word, note}};
}

const std::vector<Scores::Value>& Scores::values(const ScoreKind& kind) const {
  static const std::vector<Value> none;
  const auto found = values_.find(kind.key);
  return found == values_.end() ? none : found->second;
}

std::optional<double> Scores::get(const std::string& key) const {
  const auto& all = values(kind_of(key));
  return all.empty() ? std::nullopt : all.front().value;
}

std::vector<std::pair<std::string, double>> Scores::group(const std::string& key) const {
  std::vector<std::pair<std::string, double>> found;
  for (const Value& v : values(kind_of(key))) found.emplace_back(v.name, *v.value);
  return found;
}

std::int64_t Scores::count(const std::string& key) const {
  return static_cast<std::int64_t>(get(key).value_or(0));
}

std::string scores_table(const Scores& scores) {
  std::string text;
  const auto row = [&](const ScoreKind& kind, const std::string& name, const std::string& value,
                       const std::string& note) {
    text += fmt::format("{:<26}{:>9}   {}\n", fmt::format(fmt::runtime(kind.text), name), value,
                        note.empty() ? kind.note : note);
  };
  for (const ScoreKind& kind : kScores) {
    if (kind.text[0] == '\0') continue;
    const auto& values = scores.values(kind);
    if (values.empty() && kind.presence == Presence::always) row(kind, "", "n/a", "");
    for (const auto& v : values) {
      row(kind, v.name, v.value ? fmt::format(fmt::runtime(kind.format), *v.value) : v.word, v.note);
    }
  }
  return text;
}

std::string scores_json(const Scores& scores) {
  Json json;
  for (const ScoreKind& kind : kScores) {
    const auto place = place_of(kind.key);
    if (is_group(kind)) {
      const auto group = scores.group(kind.key);
      if (!group.empty() || kind.presence == Presence::group) json[place] = Json::object();
      for (const auto& [name, value] : group) json[place][name] = value;
      continue;
    }
    const auto value = scores.get(kind.key);
    if (value || kind.presence != Presence::known)
      json[place] = value ? json_of(kind, *value) : Json(nullptr);
  }
  return json.dump(2) + "\n";
}

Scores parse_scores(const std::string& text, const std::string& name) {
  try {
    const Json json = Json::parse(text);
    Scores scores;
    for (const ScoreKind& kind : kScores) {
      const auto place = place_of(kind.key);
      if (kind.whole && std::string_view(kind.key).find('/') == std::string_view::npos) {
        scores.set(kind.key, count_of(json.at(kind.key), kind.key));  // what every version has
        continue;
      }
      if (!json.contains(place) || json.at(place).is_null()) continue;
      if (is_group(kind)) {
        for (const auto& [member, value] : json.at(place).items())
          scores.set(kind.key, member, value.get<double>());
      } else {
        scores.set(kind.key, number_of(kind, json.at(place)));
      }
    }
    return scores;
  } catch (const nlohmann::json::exception&) {
    fail("{}: expected the scores that voxot evaluate writes", name);
  } catch (const Error& error) {
    fail("{}: {}", name, error.what());
  }
}

}  // namespace voxot
