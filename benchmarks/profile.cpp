#include "benchmarks/profile.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "kernels/memory.h"

namespace voxot::bench {
namespace {

Profile* current = nullptr;

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

Profile::Profile(Device device) : device_(device) {
  VOXOT_CHECK(current == nullptr, "profile: there is one already");
  current = this;
  kernels::profile_hook = hook;
}

Profile::~Profile() {
  kernels::profile_hook = nullptr;
  current = nullptr;
}

void Profile::hook(const char* name, const Stream& stream, kernels::Moment moment) {
  if (stream.device != current->device_) return;
  kernels::profile_hook = nullptr;  // events are kernels too
  moment == kernels::Moment::begin ? current->begin(name, stream) : current->end(name, stream);
  kernels::profile_hook = hook;
}

void* Profile::mark(const Stream& stream) {
  void* event = nullptr;
  kernels::create_event(stream, &event);
  kernels::record_event(stream, event);
  return event;
}

void Profile::begin(const char* name, const Stream& stream) {
  if (depth_++ > 0) return;
  if (device_ == Device::cpu) {
    start_ = now();
  } else if (stream.handle != nullptr) {  // what has no stream, such as an allocation, is the host's
    calls_.push_back({name, mark(stream), nullptr});
  }
}

void Profile::end(const char* name, const Stream& stream) {
  if (--depth_ > 0) return;
  if (device_ == Device::cpu) {
    lines_[name].seconds += now() - start_;
    ++lines_[name].calls;
  } else if (stream.handle != nullptr) {
    calls_.back().stop = mark(stream);
  }
}

void Profile::read_events() {
  const Stream stream = kernels::stream_of(device_);
  for (Call& c : calls_) {
    double seconds = 0;
    kernels::wait_event(stream, c.stop);
    kernels::event_seconds(stream, c.start, c.stop, &seconds);
    lines_[c.name].seconds += seconds;
    ++lines_[c.name].calls;
    kernels::destroy_event(stream, c.start);
    kernels::destroy_event(stream, c.stop);
  }
  calls_.clear();
}

void Profile::print(double total) {
  kernels::profile_hook = nullptr;
  read_events();
  std::vector<std::pair<std::string, Line>> sorted(lines_.begin(), lines_.end());
  std::sort(sorted.begin(), sorted.end(),
            [](const auto& a, const auto& b) { return a.second.seconds > b.second.seconds; });
  const auto line = [&](const std::string& name, double seconds, const std::string& rest) {
    fmt::print("{:<30}{:>9.1f} ms {:>6.1f} %{}\n", name, 1e3 * seconds, 100 * seconds / total, rest);
  };
  double sum = 0;
  for (const auto& [name, l] : sorted) {
    sum += l.seconds;
    line(name, l.seconds, fmt::format(" {:>7} calls", l.calls));
  }
  line("outside kernels", total - sum, "");
}

}  // namespace voxot::bench
