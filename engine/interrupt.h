#pragma once
// SIGINT, SIGTERM and SIGHUP: a process ends at once and leaves no temporary file, or, where work can be
// kept, when its holder has kept it.
#include <atomic>
#include <cstddef>
#include <string>

namespace voxot {

/// From here on SIGINT, SIGTERM and, unless it is ignored (nohup), SIGHUP end the process with status
/// 128 + signal and a line on stderr, and a write beyond the limit of file sizes is an error (SIGXFSZ is
/// ignored). To be called once, by main().
void watch_signals();

/// The first signal that came while a HoldSignals lived; 0 where none came.
int caught_signal();

/// While one lives, a first signal is only remembered, for its holder to stop at the next good place; a
/// second one ends the process. The end of the outermost ends the process where a signal has come, unless an
/// exception is on its way.
class HoldSignals {
 public:
  HoldSignals();
  ~HoldSignals();
  HoldSignals(const HoldSignals&) = delete;
  HoldSignals& operator=(const HoldSignals&) = delete;
  /// Whether it is the outermost one, whose work may be given up for a signal.
  [[nodiscard]] bool outermost() const { return outermost_; }

 private:
  bool outermost_;
  int exceptions_;
};

/// A file that an end by a signal removes while this lives. Where too many live at once, or the path is too
/// long, it stays behind.
class RemovedBySignal {
 public:
  explicit RemovedBySignal(const std::string& path);
  ~RemovedBySignal();
  RemovedBySignal(const RemovedBySignal&) = delete;
  RemovedBySignal& operator=(const RemovedBySignal&) = delete;

 private:
  std::size_t slot_;
};

}  // namespace voxot
