#include "apps/session_log.h"

#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <utility>

#include "engine/atomic_file.h"
#include "engine/json_number.h"
#include "engine/run_log.h"
#include "kernels/check.h"

namespace voxot {
namespace {

constexpr double kMostSeconds = 1e12;
constexpr std::int64_t kMostThreads = 1 << 20;

std::filesystem::path file_of(const std::filesystem::path& run_folder) {
  return run_folder / "sessions.jsonl";
}

// Empty where there is no file; a last line without its end is none.
std::string whole_lines(const std::filesystem::path& file) {
  if (!std::filesystem::exists(file)) return {};
  const std::vector<std::byte> bytes = read_file(file);
  const std::string text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  return text.substr(0, text.rfind('\n') + 1);
}

/// Nothing where the line is no record of a session.
std::optional<TrainingSession> session_of(std::string_view line) {
  const auto json = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return std::nullopt;
  const auto integer = [&](const char* key, std::int64_t most) {
    return json.contains(key) ? json_integer(json[key], 0, most) : std::nullopt;
  };
  const auto text = [&](const char* key) {
    return json.contains(key) && json[key].is_string() ? std::optional(json[key].get<std::string>())
                                                       : std::nullopt;
  };
  const auto first = integer("first_step", kMostSteps);
  const auto last = integer("last_step", kMostSteps);
  const auto seconds =
      json.contains("seconds") ? json_number(json["seconds"], 0, kMostSeconds) : std::nullopt;
  const auto threads = integer("threads", kMostThreads);
  const auto device = text("device");
  const auto precision = text("precision");
  if (!first || !last || *last < *first || !seconds || !threads || !device || !precision) return std::nullopt;
  return TrainingSession{*first,
                         *last,
                         *seconds,
                         *device,
                         *threads,
                         *precision,
                         text("version").value_or(""),
                         text("commit").value_or("")};
}

}  // namespace

void append_session(const std::filesystem::path& run_folder, const TrainingSession& s) {
  nlohmann::ordered_json json;
  json["first_step"] = s.first_step;
  json["last_step"] = s.last_step;
  json["seconds"] = s.seconds;
  json["device"] = s.device;
  json["threads"] = s.threads;
  json["precision"] = s.precision;
  json["version"] = s.version;
  if (!s.commit.empty()) json["commit"] = s.commit;
  const std::string text = whole_lines(file_of(run_folder)) +
                           json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  write_file_atomically(file_of(run_folder), std::as_bytes(std::span(text)));
}

std::vector<TrainingSession> read_sessions(const std::filesystem::path& run_folder) {
  return parse_sessions(whole_lines(file_of(run_folder)));
}

std::vector<TrainingSession> parse_sessions(std::string_view text) {
  std::vector<TrainingSession> sessions;
  for (std::size_t begin = 0, end = 0; (end = text.find('\n', begin)) != std::string_view::npos;
       begin = end + 1) {
    // A line of another program, or a damaged one, is left out; the others still count.
    if (auto session = session_of(text.substr(begin, end - begin))) sessions.push_back(std::move(*session));
  }
  return sessions;
}

}  // namespace voxot
