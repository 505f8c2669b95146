// Sinkhorn: many small problems from voxels, one large problem, one too large to hold its costs.
//   bench_sinkhorn --case batch --threads 1          256 problems of 64×64 from 12,288-dimensional voxels
//   bench_sinkhorn --case large                      4096×4096 points of the plane, costs given
//   bench_sinkhorn --case streamed                   50,000×50,000 points, D = 64; with peak memory
//   bench_sinkhorn --case solved                     20,000×20,000 of them, streamed, to the tolerance
//   bench_sinkhorn --device cuda                     all on a GPU, of whose memory the peak does not tell
// compare_pot_sinkhorn.py runs POT beside it, on the inputs that --write leaves. Exits non-zero when a
// problem has not converged to the tolerance or its dual value exceeds its primal one.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstring>
#include <fstream>

#include "apps/device.h"
#include "benchmarks/measure.h"
#include "datasets/dataset.h"
#include "engine/npy.h"
#include "engine/ops/pairwise_cost.h"
#include "kernels/features.h"
#include "solvers/sinkhorn.h"

namespace {

using namespace voxot;
using namespace voxot::bench;

struct Options {
  std::string which = "all";
  std::string device = "cpu";
  int threads = 0;
  int runs = 5;
  double tolerance = 1e-4;
  double over_relaxation = 1;
  std::int64_t problems = 256;
  std::int64_t points = 64;
  std::int64_t large = 4096;
  std::int64_t streamed = 50000;
  std::int64_t solved = 20000;
  bool small = false;
  bool processor_time = false;
  bool json = false;
  std::string write;
  std::string output = "benchmarks/results/bench_sinkhorn.json";
};

constexpr std::int64_t kPool = 512;       // volumes of each colour digit
constexpr double kEpsilon = 10.0 / 3072;  // of the published pairing, on ½‖x − y‖²/D
constexpr double kLargeEpsilon = 0.01;    // of the mean cost
constexpr std::int64_t kStreamedFeatures = 64;
constexpr double kStreamedEpsilon = 10;  // costs are 128 in the mean
constexpr std::int64_t kMostStreamedBytes = 200'000'000;

/// Peak resident bytes of this process.
std::int64_t peak_resident() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmHWM:")) return std::stoll(line.substr(6)) * 1024;
  }
  return 0;
}

/// Coloured digits, extruded, as the pairing of voxel runs sees them: kPool×12288.
Tensor digit_volumes(int digit) {
  DatasetConfig config;
  config.dataset = "digits";
  config.classes = {digit};
  const auto source = open_dataset(config, Split::train, {});
  const auto [d, h, w, c] = source->sample_shape();
  Tensor pool = Tensor::empty({kPool, d * h * w * c});
  source->draw({{1, Purpose::test, static_cast<std::uint64_t>(digit)}, kPool}, pool.as<float>());
  return pool;
}

/// Problem k takes rows 37·k … 37·k + points − 1 of the pool, modulo its size.
Tensor gather(const Tensor& pool, std::int64_t problems, std::int64_t points) {
  const std::int64_t width = pool.extent(1);
  Tensor all = Tensor::empty({problems, points, width});
  for (std::int64_t i = 0; i < problems * points; ++i) {
    const std::int64_t from = (i / points * 37 + i % points) % kPool;
    std::copy_n(pool.as<float>() + from * width, width, all.as<float>() + i * width);
  }
  return all;
}

void write(const std::string& folder, const char* name, const Tensor& t) {
  if (folder.empty()) return;
  const auto extents = t.shape().extents();
  std::filesystem::create_directories(folder);
  write_npy(std::filesystem::path(folder) / name,
            HostArray::from_floats({extents.begin(), extents.end()}, t.to_floats()));
}

class Bench {
 public:
  Bench(const Options& o, Device device) : o_(o), device_(device) {}

  int run() {
    if (!o_.json) {
      fmt::print("{}\n", device_ == Device::cpu ? kernels::describe_cpu() : std::string(name_of(device_)));
    }
    const auto wanted = [&](const char* name) { return o_.which == "all" || o_.which == name; };
    // First: its peak of memory is the process's.
    if (wanted("streamed")) streamed();
    // On the CPU it takes a minute, and is run by its name.
    if (o_.which == "solved" || (o_.which == "all" && (device_ == Device::cuda || o_.small))) solved();
    if (wanted("large")) large();
    if (wanted("batch")) batch();
    nlohmann::ordered_json report = header(device_);
    report["threads"] = kernels::threads();
    report["rows"] = rows_;
    write_report(o_.output, report);
    if (o_.json) fmt::print("{}\n", report.dump());
    return wrong_ ? 1 : 0;
  }

 private:
  /// One line, and whether the answers are right.
  void add(const std::string& name, const Timing& t, std::span<const SinkhornResult> results,
           bool must_converge, const nlohmann::ordered_json& more) {
    double error = 0;
    double largest = 0;
    std::vector<double> values;
    std::int64_t iterations = 0;
    std::int64_t most = 0;
    bool right = true;
    for (const SinkhornResult& r : results) {
      error = std::max(error, r.marginal_error);
      iterations += r.iterations;
      most = std::max(most, r.iterations);
      right = right && r.dual <= r.primal && (r.converged || !must_converge);
      largest = std::max(largest, r.largest_cost);
      values.push_back(r.primal);
    }
    const double mean = static_cast<double>(iterations) / static_cast<double>(results.size());
    if (!o_.json) {
      fmt::print("{:<44}{:>11.4f} s{:>22}  {:.1f} iterations (most {}), error {:.1e}{}\n", name, t.median,
                 fmt::format("({:.4f}..{:.4f})", t.least, t.most), mean, most, error, right ? "" : "  WRONG");
    }
    nlohmann::ordered_json row{{"case", name},
                               {"median_seconds", t.median},
                               {"least_seconds", t.least},
                               {"most_seconds", t.most},
                               {"runs", t.runs},
                               {"mean_iterations", mean},
                               {"most_iterations", most},
                               {"marginal_error", error},
                               {"tolerance", o_.tolerance},
                               {"largest_cost", largest},
                               {"values", values},
                               {"right", right}};
    row.update(more);
    rows_.push_back(row);
    wrong_ = wrong_ || !right;
  }

  Timing time(const std::function<void()>& work) {
    if (o_.small) return stopwatch().time(work);
    return stopwatch().time(work, 0, o_.runs);
  }

  Stopwatch& stopwatch() {
    if (!watch_) watch_.emplace(device_, o_.small, o_.processor_time);
    return *watch_;
  }

  void batch() {
    const Tensor source = digit_volumes(2);
    const Tensor target = digit_volumes(3);
    write(o_.write, "source.npy", source);
    write(o_.write, "target.npy", target);
    const Tensor x = gather(source, o_.problems, o_.points).to(device_);
    const Tensor y = gather(target, o_.problems, o_.points).to(device_);
    SinkhornOptions o;
    o.epsilon = kEpsilon;
    o.tolerance = o_.tolerance;
    o.over_relaxation = o_.over_relaxation;
    Tensor costs;
    Tape tape;
    const Timing cost_time =
        time([&] { costs = ops::pairwise_cost(tape, x, y, GroundCost::half_squared_per_dimension); });
    std::vector<SinkhornResult> results;
    const Timing total = time([&] { results = sinkhorn(x, y, GroundCost::half_squared_per_dimension, o); });
    const double flop = 2.0 * static_cast<double>(o_.problems * o_.points * o_.points * x.extent(2));
    add(fmt::format("{} problems of {}x{}, D = {}", o_.problems, o_.points, o_.points, x.extent(2)), total,
        results, true, {{"cost_seconds", cost_time.median}, {"cost_flop", flop}, {"epsilon", kEpsilon}});
    if (!o_.json)
      fmt::print("  of it costs {:.4f} s, {:.1f} GFLOP/s\n", cost_time.median, flop / cost_time.median / 1e9);
  }

  void large() {
    const Tensor x = Tensor::normal({o_.large, 2}, {1, Purpose::test, 0}, 0, 1);
    const Tensor y = Tensor::normal({o_.large, 2}, {1, Purpose::test, 1}, 1, 0.5);
    write(o_.write, "large_x.npy", x);
    write(o_.write, "large_y.npy", y);
    const Tensor cost = pairwise_cost(x.to(device_), y.to(device_), GroundCost::squared_euclidean);
    SinkhornOptions o;
    o.epsilon = kLargeEpsilon;
    o.unit = EpsilonUnit::mean_cost;
    o.tolerance = o_.tolerance;
    for (const double omega : {1.0, 1.5, 1.8}) {
      o.over_relaxation = omega;
      std::vector<SinkhornResult> results(1);
      const Timing t = time([&] { results[0] = sinkhorn({cost, {}, {}, {}}, o); });
      add(fmt::format("one of {}x{}, over-relaxation {}", o_.large, o_.large, omega), t, results, true,
          {{"epsilon", results[0].epsilon},
           {"over_relaxation", omega},
           {"bytes_of_costs_per_second",
            static_cast<double>(cost.count() * 4 * results[0].iterations) / t.median}});
    }
  }

  [[nodiscard]] Tensor streamed_features(std::int64_t points, std::uint64_t step) const {
    return Tensor::normal({points, kStreamedFeatures}, {2, Purpose::test, step}, 0, 1, DType::f32, device_);
  }

  void solved() {
    const Tensor x = streamed_features(o_.solved, 0);
    const Tensor y = streamed_features(o_.solved, 1);
    write(o_.write, "streamed_x.npy", x);
    write(o_.write, "streamed_y.npy", y);
    SinkhornOptions o;
    o.epsilon = kStreamedEpsilon;
    o.tolerance = o_.tolerance;
    o.over_relaxation = o_.over_relaxation;
    std::vector<SinkhornResult> results(1);
    const Timing t = time([&] { results[0] = sinkhorn_streamed(x, y, GroundCost::squared_euclidean, o); });
    add(fmt::format("streamed {}x{}, D = {}, solved", o_.solved, o_.solved, kStreamedFeatures), t, results,
        true, {{"epsilon", kStreamedEpsilon}, {"over_relaxation", o_.over_relaxation}});
  }

  /// Seconds of a streamed call with so many iterations, and its answer.
  double run_streamed(std::int64_t points, int iterations, SinkhornResult* result) {
    const Tensor x = streamed_features(points, 0);
    const Tensor y = streamed_features(points, 1);
    SinkhornOptions o;
    o.epsilon = kStreamedEpsilon;
    o.tolerance = 0;
    o.max_iterations = iterations;
    const auto begin = std::chrono::steady_clock::now();
    *result = sinkhorn_streamed(x, y, GroundCost::squared_euclidean, o);
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  }

  /// The whole size once, an iteration and its certificate; what an iteration alone takes, at a fifth of the
  /// points.
  void streamed() {
    std::vector<SinkhornResult> results(1);
    // A GPU's first call also loads the kernels.
    if (device_ == Device::cuda) run_streamed(std::min<std::int64_t>(o_.streamed, 1000), 1, results.data());
    const double whole = run_streamed(o_.streamed, 1, results.data());
    const std::int64_t peak = peak_resident();
    SinkhornResult fewer;
    const std::int64_t fifth = std::max<std::int64_t>(o_.streamed / 5, 1);
    const double one = run_streamed(fifth, 1, &fewer);
    const double iteration = (run_streamed(fifth, 5, &fewer) - one) / 4;
    const double nanoseconds = 1e9 * iteration / static_cast<double>(fifth * fifth);
    add(fmt::format("streamed {}x{}, D = {}", o_.streamed, o_.streamed, kStreamedFeatures),
        {whole, whole, whole, 1}, results, false,
        {{"peak_resident_bytes", peak}, {"iteration_nanoseconds_a_pair", nanoseconds}});
    if (!o_.json) {
      fmt::print("  peak resident {:.1f} MB; an iteration alone {:.2f} ns a pair of {} points\n",
                 static_cast<double>(peak) / 1e6, nanoseconds, fifth);
    }
    const bool fits = o_.small || device_ == Device::cuda || peak < kMostStreamedBytes;
    if (!fits && !o_.json) fmt::print("  WRONG: over {} MB\n", kMostStreamedBytes / 1'000'000);
    wrong_ = wrong_ || !fits;
  }

  Options o_;
  Device device_;
  std::optional<Stopwatch> watch_;
  nlohmann::ordered_json rows_ = nlohmann::ordered_json::array();
  bool wrong_ = false;
};

int run_main(int argc, char** argv) {
  Options o;
  CLI::App app("Sinkhorn on the CPU or a GPU", "bench_sinkhorn");
  add_device_option(app, o.device);
  app.add_option("--case", o.which)
      ->check(CLI::IsMember({"all", "batch", "large", "streamed", "solved"}))
      ->capture_default_str();
  app.add_option("--threads", o.threads)->capture_default_str();
  app.add_option("--runs", o.runs)->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--tolerance", o.tolerance, "L1 marginal error")->capture_default_str();
  app.add_option("--over-relaxation", o.over_relaxation, "of the batch and of --case solved")
      ->capture_default_str();
  app.add_option("--problems", o.problems)->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--points", o.points)->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--large", o.large)->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--streamed", o.streamed, "points of each side")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--solved", o.solved, "points of each side")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_flag("--small", o.small, "tiny problems, for tests");
  app.add_flag("--processor-time", o.processor_time,
               "of all threads together, for machines that others keep busy; not of --case streamed");
  app.add_flag("--json", o.json, "one line of JSON in place of text");
  app.add_option("--write", o.write, "leave the inputs in this folder, for another program");
  app.add_option("--output", o.output)->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  if (o.small) {
    o.problems = 3;
    o.points = 8;
    o.large = 100;
    o.streamed = o.solved = 150;
  }
  kernels::set_threads(o.threads);
  return Bench(o, choose_device(o.device)).run();
}

}  // namespace

int main(int argc, char** argv) {
  return bench::guarded("bench_sinkhorn", [&] { return run_main(argc, argv); });
}
