#pragma once
// Progress of long work on stderr: one line that is rewritten on a terminal that can, a plain line now and
// then elsewhere (also under TERM=dumb). Nothing is coloured. What stderr does not take is lost.
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <span>
#include <string>
#include <string_view>

#include "engine/run_log.h"

namespace voxot {

/// "train   120/300   4.21 it/s   0:43 left   transport_loss 0.01234   ..."; `rate` in steps per second, 0
/// where it is not known yet.
std::string progress_line(std::string_view what, std::int64_t step, std::int64_t total, double rate,
                          std::span<const Metric> metrics);

/// Seconds as 0:07, 12:34 or 1:02:03.
std::string duration_text(double seconds);

/// "voxot: TEXT" as a line on stderr. A stderr that is full or closed loses it and stops nothing.
void note(std::string_view text);

/// The progress of long work on one line of a stream, with rate and time left.
class Progress {
 public:
  /// `first_step`: where a resumed run begins, so that the rate counts only this process's steps.
  /// `stream` must outlive this object.
  Progress(std::string what, std::int64_t total, std::int64_t first_step = 0, std::FILE* stream = stderr);
  /// Ends the line.
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// Reports that `step` steps are done. Cheap: prints at most 10 times a second on a terminal, and every 10
  /// seconds elsewhere; the first and the last step are always printed.
  void update(std::int64_t step, std::span<const Metric> metrics = {});
  /// A line of its own, which the progress line does not overwrite.
  void message(std::string_view text);
  /// Steps per second over the last half minute; 0 before the second update.
  [[nodiscard]] double rate() const { return rate_; }

 private:
  using Clock = std::chrono::steady_clock;
  void measure(std::int64_t step, Clock::time_point now);
  void print(const std::string& line);

  std::string what_;
  std::int64_t total_;
  std::FILE* stream_;
  bool terminal_;
  std::int64_t window_step_;
  Clock::time_point window_start_;
  std::int64_t next_window_step_;
  Clock::time_point next_window_start_;
  Clock::time_point printed_;
  double rate_ = 0;
  bool any_ = false;
  bool open_line_ = false;
};

}  // namespace voxot
