// Bytes per second of the kernels that only move memory, at shapes of the networks, beside a measured copy.
//   bench_ops --device cuda --precision fp32 bf16
// Bytes are each input read once, each output written once, also where a sum must be known before a second
// pass, as in the statistics' gradients and spectral normalisation: their share of a copy has its limit
// there. Each kernel is checked first, on a few volumes, against the CPU's in double; exits non-zero when one
// is wrong.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <chrono>

#include "apps/device.h"
#include "benchmarks/measure.h"
#include "benchmarks/memory_ops.h"
#include "kernels/features.h"

namespace {

using namespace voxot;
using namespace voxot::bench;

struct Options {
  std::string device = "auto";
  std::vector<std::string> precisions{"fp32", "bf16"};
  std::int64_t batch = 64;
  int threads = 0;
  double seconds = 60;
  bool small = false;
  std::string output = "benchmarks/results/bench_ops.json";
};

/// Volumes of the networks: N×extent³×channels.
struct Volume {
  std::int64_t extent, channels;
};
constexpr Volume kVolumes[] = {{16, 32}, {16, 64}, {8, 128}, {4, 256}};
constexpr Volume kSmall[] = {{4, 8}};

/// Relative L2 against double: fp32 sums of up to a million values, bf16 one rounding of the result.
double limit(DType dtype) { return dtype == DType::bf16 ? 6e-3 : 1e-4; }

std::string text(const Volume& v, std::int64_t batch) {
  return fmt::format("{}x{}x{}x{}x{}", batch, v.extent, v.extent, v.extent, v.channels);
}

class Bench {
 public:
  Bench(const Options& o, Device device)
      : o_(o),
        device_(device),
        watch_(device, o.small),
        ceiling_(copy_ceiling(watch_, device, o.small)),
        end_(Clock::now() + std::chrono::milliseconds(static_cast<std::int64_t>(1000 * o.seconds))) {}

  int run() {
    fmt::print("{}; a copy moves {:.1f} GB/s\n", describe(device_), ceiling_ / 1e9);
    fmt::print("{:<28}{:<6}{:<20}{:>10}{:>20}{:>9}{:>7}\n", "kernel", "", "volume", "median us",
               "min..max us", "GB/s", "share");
    for (const std::string& precision : o_.precisions) {
      const DType dtype = compute_dtype(precision);
      if (o_.small) {
        for (const Volume& v : kSmall) run_volume(v, dtype);
      } else {
        for (const Volume& v : kVolumes) run_volume(v, dtype);
      }
    }
    if (left_out_ > 0) fmt::print("{} volumes left out: {:.0f} s were over\n", left_out_, o_.seconds);
    nlohmann::ordered_json report = header(device_);
    report["copy_bytes_per_second"] = ceiling_;
    report["left_out"] = left_out_;
    report["rows"] = rows_;
    write_report(o_.output, report);
    return wrong_ ? 1 : 0;
  }

 private:
  using Clock = std::chrono::steady_clock;

  void run_volume(const Volume& v, DType dtype) {
    if (Clock::now() > end_) {
      ++left_out_;
      return;
    }
    for (const MemoryOp& op : value_ops()) run_op(op, v, dtype);
    for (const MemoryOp& op : volume_ops()) run_op(op, v, dtype);
  }

  void run_op(const MemoryOp& op, const Volume& v, DType dtype) {
    if (op.fp32_only && dtype != DType::f32) return;
    const std::int64_t few = std::min<std::int64_t>(2, o_.batch);
    const MemoryOpRun reference = op.prepare({few, v.extent, v.channels}, DType::f64, Device::cpu);
    const MemoryOpRun here = op.prepare({few, v.extent, v.channels}, dtype, device_);
    reference.run();
    here.run();
    const double error = relative_error(to_doubles(here.result), to_doubles(reference.result));
    const bool right = error < limit(dtype);
    const MemoryOpRun full = op.prepare({o_.batch, v.extent, v.channels}, dtype, device_);
    const Timing t = watch_.time(full.run, 0.01);
    const double rate = full.bytes / t.median;
    fmt::print("{:<28}{:<6}{:<20}{:>10.1f}{:>20}{:>9.1f}{:>7}{}\n", op.name, name_of(dtype),
               text(v, o_.batch), 1e6 * t.median, fmt::format("{:.1f}..{:.1f}", 1e6 * t.least, 1e6 * t.most),
               rate / 1e9, share(rate, ceiling_), right ? "" : fmt::format("  WRONG: error {:.1e}", error));
    rows_.push_back({{"kernel", op.name},
                     {"dtype", name_of(dtype)},
                     {"volume", text(v, o_.batch)},
                     {"bytes", full.bytes},
                     {"median_seconds", t.median},
                     {"least_seconds", t.least},
                     {"most_seconds", t.most},
                     {"runs", t.runs},
                     {"bytes_per_second", rate},
                     {"error", error},
                     {"right", right}});
    wrong_ = wrong_ || !right;
  }

  Options o_;
  Device device_;
  Stopwatch watch_;
  double ceiling_;
  Clock::time_point end_;
  nlohmann::ordered_json rows_ = nlohmann::ordered_json::array();
  int left_out_ = 0;
  bool wrong_ = false;
};

int run_main(int argc, char** argv) {
  Options o;
  CLI::App app("Kernels that only move memory", "bench_ops");
  add_device_option(app, o.device);
  app.add_option("--precision", o.precisions)->check(CLI::IsMember({"fp32", "bf16"}))->capture_default_str();
  app.add_option("--batch", o.batch)->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--threads", o.threads)->capture_default_str();
  app.add_option("--seconds", o.seconds, "start no further volume after these")->capture_default_str();
  app.add_flag("--small", o.small, "one tiny volume on every device, the emulated one too, for tests");
  app.add_option("--output", o.output)->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  kernels::set_threads(o.threads);
  Device device = choose_device(o.device);
  if (o.small) {
    o.batch = 1;
    if (kernels::cuda_devices() > 0) device = Device::cuda;
  }
  return Bench(o, device).run();
}

}  // namespace

int main(int argc, char** argv) {
  return bench::guarded("bench_ops", [&] { return run_main(argc, argv); });
}
