#pragma once
// sessions.jsonl: what a run's training cost, one JSON object for each stretch of it that came to its end. It
// stands beside metrics.jsonl, which holds no times so that interrupted and untouched runs leave the same
// bytes.
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace voxot {

/// Training from a start (or a resumption) to the run's end or an interruption. A killed one leaves no
/// record.
struct TrainingSession {
  std::int64_t first_step = 0;  // outer iterations done before
  std::int64_t last_step = 0;   // ... and after
  double seconds = 0;           // wall time, with validations, samples and checkpoints
  std::string device;
  std::int64_t threads = 0;
  std::string precision;
  std::string version;
  std::string commit;  // empty where it is not known
};

/// Adds a line to RUN/sessions.jsonl, atomically. Throws Error when it cannot be read or written.
void append_session(const std::filesystem::path& run_folder, const TrainingSession& session);

/// All whole records; none where there is no such file. Lines that are no record are left out.
std::vector<TrainingSession> read_sessions(const std::filesystem::path& run_folder);
/// The same of the file's text.
std::vector<TrainingSession> parse_sessions(std::string_view text);

}  // namespace voxot
