#include "engine/progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <utility>

namespace voxot {
namespace {

using namespace std::chrono_literals;

constexpr auto kTerminalPause = 100ms;
constexpr auto kPlainPause = 10s;
constexpr auto kRateWindow = 15s;

// Columns of the terminal; a longer line would wrap and could not be rewritten.
std::size_t columns_of(std::FILE* stream) {
  winsize size{};
  return ::ioctl(::fileno(stream), TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

bool can_rewrite(std::FILE* stream) {
  const char* const term = std::getenv("TERM");
  return ::isatty(::fileno(stream)) == 1 && term != nullptr && *term != '\0' &&
         std::string_view(term) != "dumb";
}

}  // namespace

void note(std::string_view text) { std::fputs(fmt::format("voxot: {}\n", text).c_str(), stderr); }

std::string duration_text(double seconds) {
  const auto total = static_cast<std::int64_t>(std::clamp(std::ceil(seconds), 0.0, 3.6e8));
  return total >= 3600 ? fmt::format("{}:{:02}:{:02}", total / 3600, total / 60 % 60, total % 60)
                       : fmt::format("{}:{:02}", total / 60, total % 60);
}

std::string progress_line(std::string_view what, std::int64_t step, std::int64_t total, double rate,
                          std::span<const Metric> metrics) {
  const std::string of = fmt::format("{}", total);
  std::string line = fmt::format("{} {:>{}}/{}", what, step, of.size(), of);
  if (rate > 0) {
    line += rate >= 1 ? fmt::format("  {:.2f} it/s", rate) : fmt::format("  {:.2f} s/it", 1 / rate);
    line += fmt::format("  {} left", duration_text(static_cast<double>(total - step) / rate));
  }
  for (const Metric& metric : metrics) {
    line += fmt::format("  {} {:.4g}", metric.name, metric.value);
  }
  return line;
}

Progress::Progress(std::string what, std::int64_t total, std::int64_t first_step, std::FILE* stream)
    : what_(std::move(what)),
      total_(total),
      stream_(stream),
      terminal_(can_rewrite(stream)),
      window_step_(first_step),
      window_start_(Clock::now()),
      next_window_step_(first_step),
      next_window_start_(window_start_),
      printed_(window_start_) {}

Progress::~Progress() {
  if (open_line_) {
    std::fputc('\n', stream_);
    std::fflush(stream_);
  }
}

// The rate is that since the start of a window; the window moves on when the next one is old enough, so that
// it spans between one and two times kRateWindow.
void Progress::measure(std::int64_t step, Clock::time_point now) {
  if (now - next_window_start_ >= kRateWindow) {
    window_step_ = std::exchange(next_window_step_, step);
    window_start_ = std::exchange(next_window_start_, now);
  }
  const double seconds = std::chrono::duration<double>(now - window_start_).count();
  rate_ = seconds > 0 ? static_cast<double>(step - window_step_) / seconds : 0;
}

void Progress::update(std::int64_t step, std::span<const Metric> metrics) {
  const Clock::time_point now = Clock::now();
  measure(step, now);
  const bool due =
      now - printed_ >= (terminal_ ? Clock::duration(kTerminalPause) : Clock::duration(kPlainPause));
  if (any_ && !due && step < total_) {
    return;
  }
  any_ = true;
  printed_ = now;
  print(progress_line(what_, step, total_, rate_, metrics));
}

void Progress::print(const std::string& line) {
  if (terminal_) {
    // \033[K clears what an earlier, longer line left.
    std::fputs(fmt::format("\r{}\033[K", line.substr(0, columns_of(stream_) - 1)).c_str(), stream_);
  } else {
    std::fputs(fmt::format("{}\n", line).c_str(), stream_);
  }
  open_line_ = terminal_;
  std::fflush(stream_);
}

void Progress::message(std::string_view text) {
  std::fputs(fmt::format("{}{}\n", open_line_ ? "\r\033[K" : "", text).c_str(), stream_);
  open_line_ = false;
  std::fflush(stream_);
}

}  // namespace voxot
