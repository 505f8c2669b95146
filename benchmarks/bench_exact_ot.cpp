// Seconds of exact transport: one assignment, batches of them, plans between general masses. Every answer is
// checked by its certificate before it is timed; exits non-zero when one is not proved.
//   bench_exact_ot --sizes 64 256 1024 4096 --threads 1
//   bench_exact_ot --cost C.npy --json                          the assignment of given fp32 costs
//   bench_exact_ot --cost C.npy --masses A.npy B.npy --json     the plan
// Costs are uniform random numbers, or squared distances of features as voxels have them: ten clusters that
// both sides share, in 64 dimensions. Caches are as the run before left them, for rivals in a loop have them
// so.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstring>

#include "benchmarks/measure.h"
#include "engine/npy.h"
#include "kernels/features.h"
#include "kernels/philox.h"
#include "kernels/sizes.h"
#include "solvers/exact_ot.h"

namespace {

using namespace voxot;
using namespace voxot::bench;
using Clock = std::chrono::steady_clock;

constexpr double kProved = 1e-8;

struct Options {
  std::vector<std::int64_t> sizes{64, 256, 1024, 4096};
  std::int64_t most_for_plans = 1024;
  std::int64_t batch = 64;
  std::string cost;
  std::vector<std::string> masses;
  int threads = 0;
  double seconds = 0.5;
  bool small = false;
  bool json = false;
  std::string output = "benchmarks/results/bench_exact_ot.json";
};

std::vector<float> uniform_costs(std::int64_t count, std::uint64_t seed) {
  Random random(seed, Purpose::test);
  std::vector<float> costs(to_size(count));
  for (float& c : costs) c = random.uniform();
  return costs;
}

/// Squared distances, half of each point its cluster's, half its own.
std::vector<float> feature_costs(std::int64_t n, std::uint64_t seed) {
  constexpr std::size_t kDimension = 64;
  constexpr std::size_t kClusters = 10;
  Random random(seed, Purpose::test);
  const auto size = to_size(n);
  std::vector<float> centres(kClusters * kDimension);
  std::vector<float> x(size * kDimension);
  std::vector<float> y(size * kDimension);
  for (float& v : centres) v = random.normal();
  for (auto* points : {&x, &y}) {
    for (std::size_t i = 0; i < size; ++i) {
      const float* const centre = centres.data() + random.below(kClusters) * kDimension;
      for (std::size_t d = 0; d < kDimension; ++d)
        (*points)[i * kDimension + d] = centre[d] + random.normal();
    }
  }
  std::vector<float> costs(size * size);
#pragma omp parallel for schedule(static)
  for (std::size_t i = 0; i < size; ++i) {
    for (std::size_t j = 0; j < size; ++j) {
      float sum = 0;
      for (std::size_t d = 0; d < kDimension; ++d) {
        const float difference = x[i * kDimension + d] - y[j * kDimension + d];
        sum += difference * difference;
      }
      costs[i * size + j] = sum;
    }
  }
  return costs;
}

std::vector<double> random_masses(std::int64_t n, std::uint64_t seed) {
  Random random(seed, Purpose::test);
  std::vector<double> masses(to_size(n));
  double sum = 0;
  for (double& m : masses) sum += m = 0.1 + static_cast<double>(random.uniform());
  for (double& m : masses) m /= sum;
  return masses;
}

std::vector<double> read_masses(const std::string& path) {
  const HostArray array = read_npy(path);
  VOXOT_CHECK(array.type == FileType::f64, "{}: masses are f64, got {}", path, array.describe());
  std::vector<double> masses(to_size(array.count()));
  std::memcpy(masses.data(), array.bytes.data(), array.bytes.size());
  return masses;
}

class Bench {
 public:
  explicit Bench(const Options& o) : o_(o) {}

  int run() {
    if (!o_.json) {
      fmt::print("{}\n{:<12}{:<10}{:>12}{:>6}{:>13}{:>24}{:>10}\n", kernels::describe_cpu(), "", "costs",
                 "size", "count", "median ms", "min..max ms", "gap");
    }
    if (!o_.cost.empty()) {
      run_file();
    } else {
      for (const std::int64_t n : o_.sizes) run_size(n);
    }
    nlohmann::ordered_json report = header(Device::cpu);
    report["threads"] = kernels::threads();
    report["rows"] = rows_;
    if (o_.json) {
      fmt::print("{}\n", report.dump());
    } else {
      write_report(o_.output, report);
    }
    return wrong_ ? 1 : 0;
  }

 private:
  void run_file() {
    const HostArray array = read_npy(o_.cost);
    VOXOT_CHECK(array.type == FileType::f32 && array.shape.size() == 2, "{}: costs are an f32 matrix, got {}",
                o_.cost, array.describe());
    const std::vector<float> cost = array.to_floats();
    if (o_.masses.empty()) {
      VOXOT_CHECK(array.shape[0] == array.shape[1], "{}: an assignment's costs are square, got {}", o_.cost,
                  array.describe());
      time_assignments("file", cost, 1, array.shape[0]);
    } else {
      time_plan("file", cost, read_masses(o_.masses[0]), read_masses(o_.masses[1]));
    }
  }

  void run_size(std::int64_t n) {
    const auto seed = static_cast<std::uint64_t>(n);
    const std::vector<float> uniform = uniform_costs(n * n, seed);
    const std::vector<float> features = feature_costs(n, seed);
    time_assignments("uniform", uniform, 1, n);
    time_assignments("features", features, 1, n);
    if (n <= 256) {
      std::vector<float> batch;
      for (std::int64_t k = 0; k < o_.batch; ++k) {
        const std::vector<float> one = feature_costs(n, seed + static_cast<std::uint64_t>(k));
        batch.insert(batch.end(), one.begin(), one.end());
      }
      time_assignments("features", batch, o_.batch, n);
    }
    if (n > o_.most_for_plans) return;
    time_plan("uniform", uniform, random_masses(n, 1), random_masses(n, 2));
    time_plan("features", features, random_masses(n, 1), random_masses(n, 2));
  }

  void time_assignments(const char* costs, std::span<const float> cost, std::int64_t count, std::int64_t n) {
    Certificate worst;
    double value = 0;
    for (const Assignment& a : assign_batch(cost, count, n)) {
      if (!(a.certificate.strict_gap() <= worst.strict_gap())) worst = a.certificate;
      value += a.cost;
    }
    record("assignment", costs, n, count, value, worst.strict_gap(), [&] { assign_batch(cost, count, n); });
  }

  void time_plan(const char* costs, std::span<const float> cost, const std::vector<double>& a,
                 const std::vector<double>& b) {
    const Certificate c = exact_plan(cost, a, b).certificate;
    record("plan", costs, std::ssize(a), 1, c.primal, c.strict_gap(), [&] { exact_plan(cost, a, b); });
  }

  void record(const char* what, const char* costs, std::int64_t n, std::int64_t count, double value,
              double gap, const std::function<void()>& work) {
    const bool right = gap <= kProved;
    std::vector<double> seconds;
    double sum = 0;
    while (seconds.size() < (o_.small ? 1U : 3U) || (sum < o_.seconds && seconds.size() < 200 && !o_.small)) {
      const auto begin = Clock::now();
      work();
      seconds.push_back(std::chrono::duration<double>(Clock::now() - begin).count());
      sum += seconds.back();
    }
    const Timing t = summarise(seconds);
    if (!o_.json) {
      fmt::print("{:<12}{:<10}{:>12}{:>6}{:>13.3f}{:>24}{:>10.1e}{}\n", what, costs, n, count, 1e3 * t.median,
                 fmt::format("{:.3f}..{:.3f}", 1e3 * t.least, 1e3 * t.most), gap,
                 right ? "" : "  NOT PROVED");
    }
    rows_.push_back({{"what", what},
                     {"costs", costs},
                     {"size", n},
                     {"count", count},
                     {"median_seconds", t.median},
                     {"least_seconds", t.least},
                     {"most_seconds", t.most},
                     {"runs", t.runs},
                     {"value", value},
                     {"gap", gap},
                     {"right", right}});
    wrong_ = wrong_ || !right;
  }

  Options o_;
  nlohmann::ordered_json rows_ = nlohmann::ordered_json::array();
  bool wrong_ = false;
};

int run_main(int argc, char** argv) {
  Options o;
  CLI::App app("Exact transport on the CPU", "bench_exact_ot");
  app.add_option("--sizes", o.sizes, "points on either side")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--most-for-plans", o.most_for_plans, "largest size with general masses")
      ->capture_default_str();
  app.add_option("--batch", o.batch, "problems in a batch, up to size 256")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--cost", o.cost, "time this .npy of fp32 costs instead");
  app.add_option("--masses", o.masses, "with --cost: .npy of f64 masses of the rows and of the columns")
      ->expected(2);
  app.add_option("--threads", o.threads)->capture_default_str();
  app.add_option("--seconds", o.seconds, "at least three runs, and more within these")->capture_default_str();
  app.add_flag("--small", o.small, "small sizes, once each, for tests");
  app.add_flag("--json", o.json, "one line of JSON in place of text and file");
  app.add_option("--output", o.output)->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  if (o.small) {
    o.sizes = {5, 40};
    o.batch = 3;
  }
  kernels::set_threads(o.threads);
  return Bench(o).run();
}

}  // namespace

int main(int argc, char** argv) {
  return bench::guarded("bench_exact_ot", [&] { return run_main(argc, argv); });
}
