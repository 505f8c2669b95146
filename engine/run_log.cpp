#include "engine/run_log.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>

#include "engine/atomic_file.h"
#include "engine/json_number.h"
#include "kernels/check.h"
#include "kernels/sizes.h"

namespace voxot {
namespace {

// The step of a record; nothing where the line is no record.
std::optional<std::int64_t> step_of(std::string_view line) {
  const auto json = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object() || !json.contains("step")) return std::nullopt;
  return json_integer(json["step"], 0, kMostSteps);
}

std::string json_string(std::string_view text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

// Whole numbers keep a ".0": readers take "-0" for an integer, which has no sign.
std::string json_number(double value) {
  const std::string text = std::isfinite(value) ? fmt::format("{}", value) : "null";
  return text.find_first_of(".eu") == std::string::npos ? text + ".0" : text;
}

}  // namespace

std::string metrics_line(std::int64_t step, std::string_view kind, std::span<const Metric> metrics) {
  std::string line = fmt::format("{{\"step\":{},\"kind\":{}", step, json_string(kind));
  for (const Metric& metric : metrics) {
    line += fmt::format(",{}:{}", json_string(metric.name), json_number(metric.value));
  }
  return line + "}\n";
}

RunLog::RunLog(const std::filesystem::path& run_folder) : path_(run_folder / "metrics.jsonl") { open(); }

RunLog::~RunLog() { close(); }

void RunLog::open() {
  file_ = ::open(path_.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
  VOXOT_CHECK(file_ >= 0, "run log: cannot open {}: {}", path_.string(), std::strerror(errno));
}

void RunLog::close() noexcept {
  if (file_ >= 0) {
    ::close(file_);
    file_ = -1;
  }
}

void RunLog::record(std::int64_t step, std::string_view kind, std::span<const Metric> metrics) {
  const std::string line = metrics_line(step, kind, metrics);
  std::string_view rest = line;
  while (!rest.empty()) {
    const ssize_t written = ::write(file_, rest.data(), rest.size());
    if (written < 0 && errno == EINTR) {
      continue;
    }
    VOXOT_CHECK(written > 0, "run log: cannot write {}: {}", path_.string(), std::strerror(errno));
    rest.remove_prefix(to_size(written));
  }
}

std::int64_t RunLog::truncate_after(std::int64_t step) {
  const std::vector<std::byte> bytes = read_file(path_);
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  std::string kept;
  std::int64_t damaged = 0;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = text.find('\n', begin);
    if (end == std::string_view::npos) {
      break;  // written in part
    }
    const std::string_view line = text.substr(begin, end - begin + 1);
    const std::optional<std::int64_t> at = step_of(line);
    if (!at) ++damaged;
    if (at && *at <= step) {
      kept += line;
    }
    begin = end + 1;
  }
  if (kept != text) {
    close();
    write_file_atomically(path_, std::as_bytes(std::span(std::as_const(kept))));
    open();
  }
  return damaged;
}

}  // namespace voxot
