// Outer iterations of strong neural OT per second: UNet3D(base) and ResNet3D(nf) on 3×16³ volumes.
//   bench_step --base 8 --nf 16 --batch 16 --inner 10 --device auto --precision fp32 --iterations 5 [--json]
//   [--profile]
// Exits non-zero when a loss is not finite.
#include <fmt/format.h>
#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <map>
#include <nlohmann/json.hpp>

#include "apps/device.h"
#include "engine/allocator.h"
#include "kernels/features.h"
#include "models/resnet3d.h"
#include "models/unet3d.h"
#include "solvers/neural_ot.h"

namespace {

using namespace voxot;
using Clock = std::chrono::steady_clock;

struct Line {
  double seconds = 0;
  std::int64_t calls = 0;
};
std::map<std::string, Line>& lines() {
  static std::map<std::string, Line> all;
  return all;
}

struct Options {
  std::int64_t base = 8, nf = 16, batch = 16, inner = 10, iterations = 5;
  int threads = 0;
  std::string device = "auto";
  std::string precision = "fp32";
  bool json = false, profile = false;
};

std::vector<double> measure(const Options& o, Device device) {
  const DType compute = compute_dtype(o.precision);
  UNet3DOptions u;
  u.base = o.base;
  u.residual = true;
  u.compute = compute;
  ResNet3DOptions r;
  r.nf = o.nf;
  r.compute = compute;
  UNet3D map(u);
  ResNet3D f(r);
  Initialiser first(Initialisation::pytorch_default, 1, 0);
  Initialiser second(Initialisation::pytorch_default, 1, 1);
  map.initialise(first);
  f.initialise(second);
  Parameters map_parameters(map, DType::f32, device);
  Parameters f_parameters(f, DType::f32, device);
  const QuadraticCost cost;
  NeuralOtOptions options;
  options.inner_steps = o.inner;
  options.batch_size = o.batch;
  OptimizerOptions adam;
  adam.learning_rate = 1e-4;
  adam.params.beta1 = 0.5;
  adam.params.weight_decay = 1e-10;
  const auto sampler = [device](Purpose purpose) {
    return [purpose, device](std::uint64_t draw, std::int64_t count) {
      return Tensor::normal({count, 16, 16, 16, 3}, {1, purpose, draw}, 0, 0.5, DType::f32, device);
    };
  };
  NeuralOt solver(options, map_parameters, f_parameters, map, f, cost, adam, adam,
                  sampler(Purpose::source_samples), sampler(Purpose::target_samples));
  for (int i = 0; i < 2; ++i) solver.step();  // a GPU warms up, and then records
  if (o.profile) {
    kernels::profile_hook = [](const char* name, double seconds) {
      lines()[name].seconds += seconds;
      ++lines()[name].calls;
    };
  }
  const auto before = allocator_statistics(device).system_allocations;
  std::vector<double> seconds;
  for (std::int64_t i = 0; i < o.iterations; ++i) {
    const auto start = Clock::now();
    solver.step();
    seconds.push_back(std::chrono::duration<double>(Clock::now() - start).count());
  }
  const auto after = allocator_statistics(device).system_allocations;
  if (after != before)
    throw Error(fmt::format("bench_step: {} allocations in the steady state", after - before));
  return seconds;
}

void print_profile(double total) {
  std::vector<std::pair<std::string, Line>> sorted(lines().begin(), lines().end());
  std::sort(sorted.begin(), sorted.end(),
            [](auto& a, auto& b) { return a.second.seconds > b.second.seconds; });
  double sum = 0;
  for (const auto& [name, line] : sorted) {
    sum += line.seconds;
    fmt::print("{:<30}{:>9.1f} ms {:>6.1f} % {:>7} calls\n", name, 1e3 * line.seconds,
               100 * line.seconds / total, line.calls);
  }
  fmt::print("{:<30}{:>9.1f} ms {:>6.1f} %\n", "outside kernels", 1e3 * (total - sum),
             100 * (total - sum) / total);
}

int bench(Options o) {
  kernels::set_threads(o.threads);
  const Device device = choose_device(o.device);
  o.precision = choose_precision(o.precision, device);
  const std::vector<double> seconds = measure(o, device);
  std::vector<double> sorted = seconds;
  std::sort(sorted.begin(), sorted.end());
  const double median = sorted[sorted.size() / 2];
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const std::int64_t peak = std::int64_t{1024} * usage.ru_maxrss;
  if (o.json) {
    const nlohmann::ordered_json json{{"iterations_per_second", 1 / median},
                                      {"seconds", seconds},
                                      {"peak_resident_bytes", peak},
                                      {"precision", o.precision},
                                      {"base", o.base},
                                      {"nf", o.nf},
                                      {"batch", o.batch},
                                      {"inner_steps", o.inner},
                                      {"device", describe(device)},
                                      {"libraries", kernels::describe_libraries()}};
    fmt::print("{}\n", json.dump());
    return 0;
  }
  fmt::print(
      "base {} nf {} batch {} inner {} {}: median {:.4f} s (min {:.4f}, max {:.4f}), {:.4f} it/s, peak {} "
      "MiB\n",
      o.base, o.nf, o.batch, o.inner, o.precision, median, sorted.front(), sorted.back(), 1 / median,
      peak >> 20);
  double total = 0;
  for (const double s : seconds) total += s;
  if (o.profile) print_profile(total);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  Options o;
  CLI::App app("Outer iterations of strong neural OT per second", "bench_step");
  app.add_option("--base", o.base)->capture_default_str();
  app.add_option("--nf", o.nf)->capture_default_str();
  app.add_option("--batch", o.batch)->capture_default_str();
  app.add_option("--inner", o.inner, "transport steps in an outer iteration")->capture_default_str();
  app.add_option("--iterations", o.iterations)->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--threads", o.threads)->capture_default_str();
  add_device_option(app, o.device);
  add_precision_option(app, o.precision);
  app.add_flag("--json", o.json);
  app.add_flag("--profile", o.profile, "time of each kernel");
  CLI11_PARSE(app, argc, argv);
  try {
    return bench(o);
  } catch (const std::exception& e) {
    fmt::print(stderr, "bench_step: {}\n", e.what());
    return 1;
  }
}
