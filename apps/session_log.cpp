#include "apps/session_log.h"

#include <nlohmann/json.hpp>
#include <span>

#include "engine/atomic_file.h"
#include "kernels/check.h"

namespace voxot {
namespace {

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
  const std::string text = whole_lines(file_of(run_folder));
  std::vector<TrainingSession> sessions;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = text.find('\n', begin);
    try {
      const auto json = nlohmann::json::parse(text.begin() + static_cast<std::ptrdiff_t>(begin),
                                              text.begin() + static_cast<std::ptrdiff_t>(end));
      sessions.push_back({json.at("first_step"), json.at("last_step"), json.at("seconds"), json.at("device"),
                          json.at("threads"), json.at("precision"), json.value("version", ""),
                          json.value("commit", "")});
    } catch (const nlohmann::json::exception&) {
      // Another program's line, or a damaged one: the others still count.
    }
    begin = end + 1;
  }
  return sessions;
}

}  // namespace voxot
