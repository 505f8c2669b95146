#pragma once
// How every benchmark measures: warm-up, events on a device (a clock on the CPU), the last cache flushed
// before each run, median and spread, a ceiling measured in the same process, results with device and commit
// as JSON.
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "engine/tensor.h"

namespace voxot::bench {

struct Timing {
  double median = 0;  // seconds
  double least = 0;
  double most = 0;
  int runs = 0;
};
Timing summarise(std::vector<double> seconds);

class Stopwatch {
 public:
  /// `small`: one run, no flush, for tests, where times mean nothing. `processor_time`: on the CPU the
  /// seconds that this process's threads worked, all together, whatever else the machine does.
  Stopwatch(Device device, bool small, bool processor_time = false);
  ~Stopwatch();
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;

  /// One run to warm up, then at least `fewest` timed ones, and more while they take less than `seconds`
  /// together.
  Timing time(const std::function<void()>& work, double seconds = 0.02, int fewest = 5);

 private:
  double once(const std::function<void()>& work);

  Device device_;
  bool small_;
  bool processor_time_;
  Tensor flushed_;
  void* start_ = nullptr;
  void* stop_ = nullptr;
};

/// Bytes per second of the faster of two copies: the runtime's, and the element-wise kernel's. Read and
/// written bytes count.
double copy_ceiling(Stopwatch& watch, Device device, bool small);

/// FLOP per second of a large matrix product of random numbers by cuBLAS in "fp32", "tf32" or "bf16"; nothing
/// where cuBLAS is not found or the device is emulated, after a line on stderr that says so.
std::optional<double> product_ceiling(Stopwatch& watch, const std::string& precision);
/// Which cuBLAS was loaded: "cuBLAS 13.1.0", or "".
std::string describe_cublas();
/// The same of cuDNN.
std::string describe_cudnn();

/// ‖value − reference‖ / ‖reference‖; NaN where a value is not finite, so that no limit passes.
double relative_error(const std::vector<double>& value, const std::vector<double>& reference);

/// Every value as double, from any device.
std::vector<double> to_doubles(const Tensor& tensor);

/// `body`, what a program returns. What it throws goes to stderr in one line after the program's name;
/// then 1.
int guarded(const char* name, const std::function<int()>& body) noexcept;

/// Device, commit, date and versions.
nlohmann::ordered_json header(Device device);
/// Writes the file in a folder that it makes.
void write_report(const std::filesystem::path& path, const nlohmann::ordered_json& report);

/// "57 %", or "-" where the ceiling was not measured.
std::string share(double value, std::optional<double> ceiling);

}  // namespace voxot::bench
