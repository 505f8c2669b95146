#include "apps/extents.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "datasets/kinds.h"

namespace voxot {

ExtentsRule extents_rule(const TransportConfig& c, const std::string& role) {
  if (c.model != MapModel::unet3d) return {"", [](const Extents&) { return true; }};
  return {role + ".model unet3d takes multiples of 8 (D may be 1)", unet3d_takes};
}

ExtentsRule extents_rule(const PotentialConfig& c, const std::string& role, const Extents& extents) {
  if (c.model != PotentialModel::resnet3d) return {"", [](const Extents&) { return true; }};
  return {fmt::format("{}.model resnet3d takes extents from 4 on, here multiples of {} (D may be 1)", role,
                      std::int64_t{2} << resnet3d_levels(extents)),
          resnet3d_takes};
}

void check_extents(const RunConfig& config, const SampleShape& shape, const std::vector<ExtentsRule>& rules) {
  const Extents extents{shape[0], shape[1], shape[2]};
  const auto takes = [&](const Extents& e) {
    return std::all_of(rules.begin(), rules.end(), [&](const ExtentsRule& rule) { return rule.takes(e); });
  };
  if (takes(extents)) return;
  if (extents == Extents{1, 1, 1}) {
    std::vector<std::string> keys;
    for (const std::string& role : config.settings->roles()) keys.push_back(role + ".model");
    fail_usage("config: vectors of {} values fit no network of convolutions; set {} to \"mlp\"", shape[3],
               fmt::join(keys, " and "));
  }
  std::vector<std::string> texts;
  for (const ExtentsRule& rule : rules) {
    if (!rule.text.empty()) texts.push_back(rule.text);
  }
  // The arrays of a file have the size that they have; the other data sets are made in the size of this key.
  const bool made = reads(config.source, DatasetKey::resolution);
  fail_usage("config: volumes of {} (D×H×W) do not fit: {}; {}{}", text_of(extents), fmt::join(texts, ", "),
             advice_on(extents, takes), made ? " (source.resolution and target.resolution)" : "");
}

}  // namespace voxot
