// Outer iterations of strong neural OT per second: UNet3D(base) and ResNet3D(nf) on 3×16³ volumes.
//   bench_step --device cuda --base 32 --nf 64 --batch 64 --inner 10 --precision bf16 --graph [--json]
//   [--profile]
// Exits non-zero when a loss is not finite.
#include <fmt/format.h>
#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>

#include "apps/device.h"
#include "benchmarks/measure.h"
#include "benchmarks/network_shapes.h"
#include "benchmarks/profile.h"
#include "engine/allocator.h"
#include "kernels/features.h"
#include "models/resnet3d.h"
#include "models/unet3d.h"
#include "solvers/neural_ot.h"

namespace {

using namespace voxot;
using Clock = std::chrono::steady_clock;

struct Options {
  std::int64_t base = 8, nf = 16, batch = 16, inner = 10, iterations = 5;
  int threads = 0;
  std::string device = "cpu", precision = "fp32", output;
  bool graph = true, residual = true, json = false, profile = false, small = false;
};

struct Measured {
  std::vector<double> seconds;
  std::size_t device_bytes = 0;  // in use by every program, once all is warm
};

Measured measure(const Options& o, Device device) {
  const DType compute = compute_dtype(choose_precision(o.precision, device));
  UNet3DOptions u;
  u.base = o.base;
  u.residual = o.residual;
  u.compute = compute;
  const std::int64_t extent = o.small ? 8 : 16;
  ResNet3DOptions r;
  r.extent = {extent, extent, extent};
  r.nf = o.nf;
  r.compute = compute;
  const auto map = std::make_shared<UNet3D>(u);
  const auto f = std::make_shared<ResNet3D>(r);
  Initialiser first(Initialisation::pytorch_default, 1, 0);
  Initialiser second(Initialisation::pytorch_default, 1, 1);
  map->initialise(first);
  f->initialise(second);
  NeuralOtOptions options;
  options.inner_steps = o.inner;
  options.batch_size = o.batch;
  options.graph = o.graph;
  OptimizerOptions adam;
  adam.learning_rate = 1e-4;
  adam.params.beta1 = 0.5;
  adam.params.weight_decay = 1e-10;
  const auto sampler = [=](Purpose purpose) {
    return [=](std::uint64_t draw, std::int64_t count) {
      return Tensor::normal({count, extent, extent, extent, 3}, {1, purpose, draw}, 0, 0.5, DType::f32,
                            device);
    };
  };
  NeuralOt solver(options, {Trainable<UNet3D>(map, device), Trainable<ResNet3D>(f, device),
                            std::make_shared<QuadraticCost>(), adam, adam, sampler(Purpose::source_samples),
                            sampler(Purpose::target_samples)});
  // The first iteration allocates and chooses kernels, the second records the graph, the third launches it.
  for (int i = 0; i < (device == Device::cpu ? 1 : 3); ++i) solver.step();
  std::optional<bench::Profile> profile;
  if (o.profile) profile.emplace(device);
  const auto before = allocator_statistics(device).system_allocations;
  Measured measured;
  for (std::int64_t i = 0; i < o.iterations; ++i) {
    const auto start = Clock::now();
    solver.step();
    measured.seconds.push_back(std::chrono::duration<double>(Clock::now() - start).count());
  }
  if (profile && !o.json)
    profile->print(std::accumulate(measured.seconds.begin(), measured.seconds.end(), 0.0));
  const auto after = allocator_statistics(device).system_allocations;
  if (after != before)
    throw Error(fmt::format("bench_step: {} allocations in the steady state", after - before));
  if (device == Device::cuda) kernels::memory_in_use(kernels::stream_of(device), &measured.device_bytes);
  return measured;
}

int run(const Options& o) {
  kernels::set_threads(o.threads);
  const Device device = choose_device(o.device);
  const Measured measured = measure(o, device);
  const bench::Timing t = bench::summarise(measured.seconds);
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const std::int64_t peak = std::int64_t{1024} * usage.ru_maxrss;
  const double rate =
      bench::outer_iteration_flop(o.base, o.nf, o.batch, o.small ? 8 : 16, o.inner) / t.median;
  std::optional<double> ceiling;
  if (device == Device::cuda && !o.json && !o.small && kernels::cuda_build() == "on") {
    bench::Stopwatch watch(device, false);
    ceiling = bench::product_ceiling(watch, choose_precision(o.precision, device));
  }
  nlohmann::ordered_json report = bench::header(device);
  report.update({{"iterations_per_second", 1 / t.median},
                 {"seconds", measured.seconds},
                 {"peak_resident_bytes", peak},
                 {"peak_device_bytes", measured.device_bytes},
                 {"flop_per_second", rate},
                 {"ceiling_flop_per_second", ceiling ? nlohmann::ordered_json(*ceiling) : nullptr},
                 {"precision", o.precision},
                 {"graph", device == Device::cuda && o.graph},
                 {"base", o.base},
                 {"nf", o.nf},
                 {"batch", o.batch},
                 {"inner_steps", o.inner},
                 {"residual", o.residual}});
  if (!o.output.empty()) bench::write_report(o.output, report);
  if (o.json) {
    fmt::print("{}\n", report.dump());
    return 0;
  }
  fmt::print(
      "base {} nf {} batch {} inner {} {} {}{}: median {:.4f} s (min {:.4f}, max {:.4f}), {:.4f} it/s, peak "
      "{} MiB",
      o.base, o.nf, o.batch, o.inner, name_of(device), o.precision,
      device == Device::cuda && o.graph ? " graph" : "", t.median, t.least, t.most, 1 / t.median, peak >> 20);
  if (device == Device::cuda) fmt::print(", {} MiB of the device", measured.device_bytes >> 20);
  fmt::print(", {:.2f} TFLOP/s in its convolutions", rate / 1e12);
  if (ceiling) {
    fmt::print(", {} of the {:.1f} of {} matrix products", bench::share(rate, ceiling), *ceiling / 1e12,
               bench::describe_cublas());
  }
  fmt::print("\n");
  return 0;
}

int run_main(int argc, char** argv) {
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
  app.add_flag("--graph,!--no-graph", o.graph, "on cuda: record the iteration once, then launch it");
  app.add_flag("--residual,!--no-residual", o.residual, "T(x) = x + U(x), or the bare U-Net as published");
  app.add_flag("--json", o.json, "one line of JSON in place of text");
  app.add_option("--output", o.output, "also write the JSON here");
  app.add_flag("--small", o.small, "tiny networks, for tests");
  app.add_flag("--profile", o.profile, "time of each kernel; on cuda by events, and without the graph");
  CLI11_PARSE(app, argc, argv);
  if (o.profile) o.graph = false;  // a graph's kernels are launched as one
  if (o.small) {
    o.base = o.nf = 4;
    o.batch = 2;  // batch normalisation of one voxel needs two
    o.inner = o.iterations = 1;
    o.precision = "bf16";  // the fewest blocks to emulate
    if (kernels::cuda_devices() > 0) o.device = "cuda";
  }
  return run(o);
}

}  // namespace

int main(int argc, char** argv) {
  return bench::guarded("bench_step", [&] { return run_main(argc, argv); });
}
