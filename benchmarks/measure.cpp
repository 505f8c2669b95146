#include "benchmarks/measure.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <ctime>

#include "engine/atomic_file.h"
#include "kernels/elementwise.h"
#include "kernels/features.h"
#include "kernels/sizes.h"

namespace voxot::bench {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kMostRuns = 200;
constexpr std::size_t kHostCache = std::size_t{64} << 20;  // more than one machine's last cache

std::string commit() {
  if (const char* named = std::getenv("VOXOT_COMMIT"); named != nullptr) return named;
  std::string text;
  if (FILE* pipe = popen("git describe --always --dirty 2>/dev/null", "r"); pipe != nullptr) {
    char line[128];
    while (std::fgets(line, sizeof line, pipe) != nullptr) text += line;
    pclose(pipe);
  }
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text.empty() ? "unknown" : text;
}

}  // namespace

Timing summarise(std::vector<double> seconds) {
  std::sort(seconds.begin(), seconds.end());
  return {seconds[seconds.size() / 2], seconds.front(), seconds.back(), static_cast<int>(seconds.size())};
}

Stopwatch::Stopwatch(Device device, bool small, bool processor_time)
    : device_(device), small_(small), processor_time_(processor_time) {
  const Stream stream = kernels::stream_of(device);
  kernels::create_event(stream, &start_);
  kernels::create_event(stream, &stop_);
  if (small) return;
  std::size_t bytes = kHostCache;
  if (device == Device::cuda) kernels::last_cache_bytes(stream, &bytes);
  flushed_ = Tensor::full({static_cast<std::int64_t>(bytes / 2)}, 0, DType::f32, device);  // twice the cache
}

Stopwatch::~Stopwatch() {
  try {
    const Stream stream = kernels::stream_of(device_);
    kernels::destroy_event(stream, start_);
    kernels::destroy_event(stream, stop_);
  } catch (const Error&) {
    // A device that has failed takes nothing back.
  }
}

double Stopwatch::once(const std::function<void()>& work) {
  const Stream stream = kernels::stream_of(device_);
  if (flushed_.defined()) flushed_.fill(1);
  const std::clock_t worked = std::clock();
  kernels::record_event(stream, start_);
  const auto begin = Clock::now();
  work();
  if (device_ == Device::cpu && processor_time_)
    return static_cast<double>(std::clock() - worked) / CLOCKS_PER_SEC;
  if (device_ == Device::cpu) return std::chrono::duration<double>(Clock::now() - begin).count();
  kernels::record_event(stream, stop_);
  kernels::wait_event(stream, stop_);
  double seconds = 0;
  kernels::event_seconds(stream, start_, stop_, &seconds);
  return seconds;
}

Timing Stopwatch::time(const std::function<void()>& work, double seconds, int fewest) {
  if (small_) return summarise({once(work)});
  once(work);
  std::vector<double> all;
  double sum = 0;
  while (static_cast<int>(all.size()) < fewest ||
         (sum < seconds && static_cast<int>(all.size()) < kMostRuns)) {
    all.push_back(once(work));
    sum += all.back();
  }
  return summarise(all);
}

double copy_ceiling(Stopwatch& watch, Device device, bool small) {
  const std::int64_t count = small                    ? 4096
                             : device == Device::cuda ? std::int64_t{1} << 29
                                                      : std::int64_t{1} << 26;
  const Stream stream = kernels::stream_of(device);
  const Tensor from = Tensor::normal({count}, {1, Purpose::test, 0}, 0, 1, DType::f32, device);
  const Tensor to = Tensor::full({count}, 0, DType::f32, device);
  const Timing runtime =
      watch.time([&] { kernels::copy_bytes(stream, to.data(), from.data(), 4 * to_size(count)); });
  const Timing kernel = watch.time([&] {
    kernels::axpby(stream, DType::f32, {.count = count, .a = 1, .x = from.data(), .b = 0, .y = to.data()});
  });
  return 8 * static_cast<double>(count) / std::min(runtime.median, kernel.median);
}

double relative_error(const std::vector<double>& value, const std::vector<double>& reference) {
  double difference = 0;
  double norm = 0;
  for (std::size_t i = 0; i < value.size(); ++i) {
    difference += (value[i] - reference[i]) * (value[i] - reference[i]);
    norm += reference[i] * reference[i];
  }
  return value.size() == reference.size() ? std::sqrt(difference / norm) : NAN;
}

std::vector<double> to_doubles(const Tensor& tensor) {
  const Tensor wide = tensor.to(Device::cpu).to(DType::f64);
  return {wide.as<double>(), wide.as<double>() + wide.count()};
}

nlohmann::ordered_json header(Device device) {
  char date[32] = {};
  const std::time_t now = std::time(nullptr);
  std::strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", std::gmtime(&now));
  return {{"date", date},
          {"commit", commit()},
          {"device", device == Device::cuda ? kernels::describe_cuda() : kernels::describe_cpu()},
          {"build", kernels::cuda_build()},
          {"libraries", kernels::describe_libraries()},
          {"cublas", describe_cublas()},
          {"cudnn", describe_cudnn()}};
}

void write_report(const std::filesystem::path& path, const nlohmann::ordered_json& report) {
  if (path.has_parent_path()) std::filesystem::create_directories(path.parent_path());
  const std::string text = report.dump(1) + "\n";
  write_file_atomically(path, std::as_bytes(std::span(text)));
  fmt::print("{}\n", path.string());
}

int guarded(const char* name, const std::function<int()>& body) noexcept {
  try {
    return body();
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s: %s\n", name, e.what());
  }
  return 1;
}

std::string share(double value, std::optional<double> ceiling) {
  return ceiling ? fmt::format("{:.0f} %", 100 * value / *ceiling) : "-";
}

}  // namespace voxot::bench
