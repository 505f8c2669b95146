#pragma once
// Where the time of a program goes, kernel by kernel.
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "kernels/kernel.h"

namespace voxot::bench {

/// While it lives, every kernel of a device is timed: on the CPU by the clock around its call; on cuda by
/// events in its stream, so it is the device's time, gaps between launches included. A kernel that another
/// calls is part of that one. A graph's launches do not pass here, and a kernel
/// that throws ends what can be told. One at a time.
class Profile {
 public:
  explicit Profile(Device device);
  ~Profile();
  Profile(const Profile&) = delete;
  Profile& operator=(const Profile&) = delete;

  /// A line for each kernel, the longest first, and what is left of `total` seconds. Ends the profile.
  void print(double total);

 private:
  struct Line {
    double seconds = 0;
    std::int64_t calls = 0;
  };
  struct Call {
    const char* name;
    void* start;  // events, on cuda
    void* stop;
  };

  static void hook(const char* name, const Stream& stream, kernels::Moment moment);
  void begin(const char* name, const Stream& stream);
  void end(const char* name, const Stream& stream);
  void* mark(const Stream& stream);
  void read_events();

  Device device_;
  int depth_ = 0;
  double start_ = 0;
  std::vector<Call> calls_;  // whose events were not read yet
  std::map<std::string, Line> lines_;
};

}  // namespace voxot::bench
