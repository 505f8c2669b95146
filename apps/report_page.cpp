#include "apps/report_page.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "apps/picture.h"
#include "datasets/kinds.h"
#include "kernels/sizes.h"

namespace voxot {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t kCurvePoints = 2000;        // more than a chart has pixels
constexpr std::int64_t kViewerBytes = 4LL << 20;  // of one run's volumes; larger ones come with fewer samples
constexpr RenderOptions kGridOptions{.pixels = 128};

Json value_or_null(const std::optional<double>& v) {
  return v && std::isfinite(*v) ? Json(*v) : Json(nullptr);
}

/// "digits 3, 5", "gaussian D = 16", "npy shapes.npz"
std::string data_text(const DatasetConfig& c) {
  if (has_digits(c)) {
    return c.dataset + " " + (c.classes.empty() ? "all" : fmt::format("{}", fmt::join(c.classes, ", ")));
  }
  if (!reads(c, DatasetKey::path)) {
    return c.field ? fmt::format("gaussian field 3×{}³", c.resolution)
                   : fmt::format("gaussian D = {}", c.dimension);
  }
  return c.dataset + " " + std::filesystem::path(c.path).filename().string();
}

/// "digits 3 → 5", "npy a.npz → digits 5"
std::string pair_text(const DatasetConfig& source, const DatasetConfig& target) {
  const std::string to = data_text(target);
  const bool same_kind = source.dataset == target.dataset;
  return data_text(source) + " → " + (same_kind ? to.substr(target.dataset.size() + 1) : to);
}

Json colour_text(const DatasetConfig& c) { return has_digits(c) ? Json(c.colour) : Json(nullptr); }

Json rotation_text(const DatasetConfig& c) {
  if (!has_digits(c)) return nullptr;
  return c.rotation == "none" ? c.rotation : fmt::format("{} ±{}°", c.rotation, c.rotation_degrees);
}

/// One text where both ends agree.
Json both(const Json& source, const Json& target) {
  if (source == target) return source;
  const auto text = [](const Json& j) { return j.is_null() ? std::string("–") : j.get<std::string>(); };
  return text(source) + " → " + text(target);
}

/// Null where no session is recorded.
Json seconds_of(const RunRecord& run) {
  double sum = 0;
  for (const TrainingSession& s : run.sessions) sum += s.seconds;
  return run.sessions.empty() ? Json(nullptr) : Json(sum);
}

Json devices_of(const RunRecord& run) {
  std::vector<std::string> devices;
  for (const TrainingSession& s : run.sessions) {
    if (std::find(devices.begin(), devices.end(), s.device) == devices.end()) devices.push_back(s.device);
  }
  return devices.empty() ? Json(nullptr) : Json(fmt::format("{}", fmt::join(devices, "; ")));
}

void add_scores(const RunRecord& run, Json& row) {
  const Scores scores = run.scores.value_or(Scores{});
  for (const ScoreKind& kind : score_kinds()) {
    if (kind.column[0] == '\0') continue;
    if (kind.presence == Presence::group) {
      row[kind.column] = Json::object();
      for (const auto& [name, value] : scores.group(kind.key)) row[kind.column][name] = value_or_null(value);
    } else if (kind.whole) {
      row[kind.column] = run.scores ? Json(scores.count(kind.key)) : Json(nullptr);
    } else {
      row[kind.column] = value_or_null(scores.get(kind.key));
    }
  }
  for (const ScoreRatio& ratio : score_ratios()) {
    const auto a = scores.get(ratio.score);
    const auto b = scores.get(ratio.over);
    row[ratio.column] = a && b && *b != 0 ? value_or_null(*a / *b) : Json(nullptr);
  }
}

/// The columns of scores, each ratio after the score that it divides.
Json score_columns() {
  Json columns = Json::array();
  for (const ScoreKind& kind : score_kinds()) {
    if (kind.title[0] == '\0') continue;
    columns.push_back({{"key", kind.column},
                       {"title", kind.title},
                       {"digits", kind.digits < 0 ? Json(nullptr) : Json(kind.digits)},
                       {"group", kind.presence == Presence::group}});
    for (const ScoreRatio& ratio : score_ratios()) {
      if (std::string_view(ratio.score) != kind.key) continue;
      columns.push_back({{"key", ratio.column}, {"title", ratio.title}, {"digits", 2}, {"group", false}});
    }
  }
  return columns;
}

Json row_of(const RunRecord& run) {
  const DatasetConfig& source = run.config.source;
  const DatasetConfig& target = run.config.target;
  Json row;
  row["name"] = run.name;
  row["run"] = run.path.string();
  row["data"] = pair_text(source, target);
  row["colour"] = both(colour_text(source), colour_text(target));
  row["rotation"] = both(rotation_text(source), rotation_text(target));
  const std::string form = run.config.settings->form();
  row["form"] = form.empty() ? run.config.solver.kind : form;
  add_scores(run, row);
  row["steps"] = run.steps;
  row["planned_steps"] = run.config.solver.steps;
  row["seconds"] = seconds_of(run);
  row["device"] = devices_of(run);
  row["precision"] = run.config.solver.precision;
  row["seed"] = run.config.solver.seed;
  row["notes"] = run.notes;
  return row;
}

/// Six digits are more than a chart shows.
Json short_number(double value) {
  return std::isfinite(value) ? Json(std::stod(fmt::format("{:.6g}", value))) : Json(nullptr);
}

Json curve_of(const Curve& curve) {
  const std::size_t n = curve.steps.size();
  const std::size_t stride = n / kCurvePoints + 1;
  Json steps = Json::array();
  Json values = Json::array();
  for (std::size_t i = 0; i < n; ++i) {
    if (i % stride != 0 && i + 1 != n) continue;
    steps.push_back(curve.steps[i]);
    values.push_back(short_number(curve.values[i]));
  }
  return {{"steps", steps}, {"values", values}};
}

std::string png_uri(std::span<const std::byte> png) { return "data:image/png;base64," + base64(png); }

std::string grid_uri(const std::vector<Volumes>& samples) {
  std::vector<VolumeRow> rows;
  std::int64_t columns = 1;
  for (const Volumes& volumes : samples) {
    rows.push_back({volumes.title, {}});
    for (std::int64_t i = 0; i < volumes.shape[0]; ++i) rows.back().volumes.push_back(volumes.view(i));
    columns = std::max(columns, volumes.shape[0]);
  }
  return png_uri(encode_png(render_rows(rows, static_cast<int>(columns), kGridOptions)));
}

/// [-1, 1] in 256 steps; NaN is 0.
std::byte byte_of(float value) {
  return static_cast<std::byte>(value > -1 ? std::lround(255 * std::min((value + 1) / 2, 1.0F)) : 0);
}

Json viewer_of(const std::vector<Volumes>& samples) {
  Json arrays = Json::object();
  for (const Volumes& volumes : samples) {
    const auto each = std::ssize(volumes.values) / volumes.shape[0];
    const std::int64_t most = kViewerBytes / (each * std::ssize(samples));
    const std::int64_t count = std::clamp<std::int64_t>(most, 1, volumes.shape[0]);
    std::vector<std::byte> bytes(to_size(count * each));
    std::transform(volumes.values.begin(), volumes.values.begin() + count * each, bytes.begin(), byte_of);
    const auto [n, d, h, w, c] = volumes.shape;
    arrays[volumes.title] = {{"shape", {count, d, h, w, c}}, {"bytes", base64(bytes)}};
  }
  return arrays;
}

Json data_of(const RunRecord& run) {
  Json data;
  data["row"] = row_of(run);
  data["curves"] = Json::object();
  for (const auto& [name, curve] : run.curves) data["curves"][name] = curve_of(curve);
  data["grid"] = run.samples.empty() ? Json(nullptr) : Json(grid_uri(run.samples));
  data["pictures"] = Json::array();
  for (const SamplePicture& p : run.pictures)
    data["pictures"].push_back({{"step", p.step}, {"uri", png_uri(p.png)}});
  data["volumes"] = viewer_of(run.samples);
  return data;
}

/// JSON that cannot end the script element that holds it: "<" is written \u003c, and all else is ASCII.
std::string script_text(const Json& json) {
  const std::string text = json.dump(-1, ' ', /*ensure_ascii=*/true, Json::error_handler_t::replace);
  std::string safe;
  safe.reserve(text.size());
  for (const char c : text) {
    if (c == '<') {
      safe += "\\u003c";
    } else {
      safe += c;
    }
  }
  return safe;
}

}  // namespace

std::string base64(std::span<const std::byte> bytes) {
  constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  text.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const std::size_t count = std::min<std::size_t>(3, bytes.size() - i);
    std::uint32_t group = 0;
    for (std::size_t k = 0; k < 3; ++k)
      group = group << 8 | (k < count ? std::to_integer<std::uint32_t>(bytes[i + k]) : 0);
    for (std::size_t k = 0; k < 4; ++k) text += k <= count ? kDigits[group >> (18 - 6 * k) & 63] : '=';
  }
  return text;
}

std::string report_rows(std::span<const RunRecord> runs) {
  Json rows = Json::array();
  for (const RunRecord& run : runs) rows.push_back(row_of(run));
  return rows.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string report_page(std::span<const RunRecord> runs) {
  Json all = Json::array();
  for (const RunRecord& run : runs) all.push_back(data_of(run));
  Json data;
  data["runs"] = std::move(all);
  data["score_columns"] = score_columns();
  std::string page(kReportPage);
  page.replace(page.find(kReportData), kReportData.size(), script_text(data));
  return page;
}

}  // namespace voxot
