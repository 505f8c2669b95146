#pragma once
// metrics.jsonl: what a run measured, one JSON object on a line. It holds no times, so that an interrupted
// and resumed run leaves the same bytes as an uninterrupted one.
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace voxot {

/// Outer iterations of the longest run. No record of a greater step is believed.
inline constexpr std::int64_t kMostSteps = 1'000'000'000;

/// A number by the name that logs give it.
struct Metric {
  std::string name;
  double value = 0;
};

/// {"step":5,"kind":"train","transport_loss":0.25,...}: the shortest digits that read back the same; null for
/// what is not finite. Names are escaped as JSON strings.
std::string metrics_line(std::int64_t step, std::string_view kind, std::span<const Metric> metrics);

/// Appends to RUN/metrics.jsonl. A record has reached the kernel when record() returns.
/// Everything throws Error when the file cannot be read or written.
class RunLog {
 public:
  /// Opens (or creates) the file; the folder must exist.
  explicit RunLog(const std::filesystem::path& run_folder);
  ~RunLog();
  RunLog(const RunLog&) = delete;
  RunLog& operator=(const RunLog&) = delete;

  /// `kind`: "train" or "validate".
  void record(std::int64_t step, std::string_view kind, std::span<const Metric> metrics);

  /// Drops the records after `step` (all of them for -1), a last line that was written in part, and lines
  /// that are no records, whose number it returns; atomic. To be called once, before the first record of a
  /// resumed run.
  std::int64_t truncate_after(std::int64_t step);

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  void open();
  void close() noexcept;

  std::filesystem::path path_;
  int file_ = -1;
};

}  // namespace voxot
