// voxot pair: partners between two files of samples, through a transport plan that certifies itself.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "apps/commands.h"
#include "apps/device.h"
#include "apps/volumes.h"
#include "engine/npy.h"
#include "engine/progress.h"
#include "kernels/features.h"
#include "solvers/pairing.h"

namespace voxot {
namespace {

struct Options {
  std::string source;
  std::string target;
  std::string output;
  std::string picture;
  std::string source_features;
  std::string target_features;
  std::string within;
  std::string method = "sinkhorn";
  std::string cost = "half_mean_square";
  std::string rule = "sample";
  std::string precision = "fp32";
  std::string device = "auto";
  double epsilon = 0.05;
  bool relative = false;
  double tolerance = 1e-4;
  double scaling = 0;
  std::int64_t max_iterations = 10000;
  std::int64_t batch = 0;
  std::uint64_t seed = 0;
  int threads = 0;
  bool json = false;
};

/// CLI11's own says the largest double in full.
const CLI::Validator kAboveZero(
    [](const std::string& text) -> std::string {
      double value = 0;
      const bool number = CLI::detail::lexical_cast(text, value);
      return number && value > 0 ? "" : fmt::format("expected a number above 0, got {}", text);
    },
    "POSITIVE");

constexpr std::int64_t kPicturePairs = 10;
/// Plans of more elements than this are not written: 4 GiB.
constexpr std::int64_t kPlanLimit = std::int64_t{1} << 30;

using Arrays = std::map<std::string, HostArray>;

/// The arrays of a file; that of a .npy file is called data.
Arrays read_arrays(const std::string& file) {
  const std::string extension = std::filesystem::path(file).extension().string();
  if (extension == ".npz") return read_npz(file);
  if (extension != ".npy") fail_usage("pair: expected a .npy or .npz file, got {}", file);
  Arrays arrays;
  arrays["data"] = read_npy(file);
  return arrays;
}

const HostArray& member(const Arrays& arrays, const std::string& name, const std::string& file) {
  const auto found = arrays.find(name);
  VOXOT_CHECK(found != arrays.end(), "{}: has no array {}", file, name);
  return found->second;
}

/// N×D in the type that is asked for.
Tensor features_of(const HostArray& array, const std::string& file, const std::string& precision) {
  VOXOT_CHECK(!array.shape.empty() && array.count() > 0, "{}: expected N samples, got {}", file,
              array.describe());
  const Shape shape{array.shape[0], array.count() / array.shape[0]};
  if (precision == "fp32") return Tensor::from(shape, array.to_floats());
  std::vector<double> values(static_cast<std::size_t>(array.count()));
  if (array.type == FileType::f64) {
    std::memcpy(values.data(), array.bytes.data(), array.bytes.size());
  } else {
    const std::vector<float> narrow = array.to_floats();
    std::copy(narrow.begin(), narrow.end(), values.begin());
  }
  return Tensor::from(shape, values);
}

std::vector<std::int64_t> labels_of(const Arrays& arrays, const std::string& name, const std::string& file,
                                    std::int64_t count) {
  const HostArray& array = member(arrays, name, file);
  VOXOT_CHECK(array.shape.size() == 1 && array.shape[0] == count,
              "{}: {}: expected one label for each of {} samples, got {}", file, name, count,
              array.describe());
  std::vector<std::int64_t> labels;
  for (const float value : array.to_floats()) {
    VOXOT_CHECK(value == std::round(value), "{}: {}: expected whole numbers as labels, got {}", file, name,
                value);
    labels.push_back(static_cast<std::int64_t>(value));
  }
  return labels;
}

/// What was read of both files.
struct Inputs {
  Arrays source_arrays, target_arrays;
  Tensor source, target;  // features
  std::vector<std::int64_t> source_labels, target_labels;
  std::int64_t batch = 0;
  Device device = Device::cpu;  // where batches are paired

  [[nodiscard]] std::int64_t batches() const { return (source.extent(0) + batch - 1) / batch; }
};

Inputs read_inputs(const Options& options) {
  Inputs in;
  in.device = choose_device(options.device);
  in.source_arrays = read_arrays(options.source);
  in.target_arrays = read_arrays(options.target);
  const auto features = [&](const Arrays& arrays, const std::string& file, const std::string& other) {
    if (other.empty()) return features_of(member(arrays, "data", file), file, options.precision);
    return features_of(member(read_arrays(other), "data", other), other, options.precision);
  };
  in.source = features(in.source_arrays, options.source, options.source_features);
  in.target = features(in.target_arrays, options.target, options.target_features);
  const std::int64_t n = in.source.extent(0);
  const std::int64_t m = in.target.extent(0);
  VOXOT_CHECK(in.source.extent(1) == in.target.extent(1), "pair: {} has {} values a sample, {} has {}",
              options.source, in.source.extent(1), options.target, in.target.extent(1));
  if (!options.within.empty()) {
    in.source_labels = labels_of(in.source_arrays, options.within, options.source, n);
    in.target_labels = labels_of(in.target_arrays, options.within, options.target, m);
  }
  in.batch = options.batch == 0 ? std::max(n, m) : options.batch;
  VOXOT_CHECK(options.batch == 0 || n == m,
              "pair: --batch needs as many source as target samples, got {} and {}", n, m);
  return in;
}

PairingOptions pairing_options(const Options& options) {
  PairingOptions o;
  o.plan = options.method == "exact" ? PairingPlan::exact : PairingPlan::sinkhorn;
  o.rule = options.rule == "sample"    ? PartnerRule::sample
           : options.rule == "maximum" ? PartnerRule::maximum
                                       : PartnerRule::permutation;
  o.cost = options.cost == "half_mean_square" ? GroundCost::half_squared_per_dimension
           : options.cost == "square"         ? GroundCost::squared_euclidean
                                              : GroundCost::cosine;
  o.sinkhorn.epsilon = options.epsilon;
  o.sinkhorn.unit = options.relative ? EpsilonUnit::mean_cost : EpsilonUnit::absolute;
  o.sinkhorn.tolerance = options.tolerance;
  o.sinkhorn.max_iterations = options.max_iterations;
  o.sinkhorn.scaling = options.scaling;
  o.keep_plan = true;
  o.seed = options.seed;
  return o;
}

/// Rows [first, last) of features or labels.
PairingBatch batch_of(const Inputs& in, std::int64_t first) {
  const auto rows = [&](const Tensor& all) {
    const std::int64_t count = std::min(in.batch, all.extent(0) - first);
    return all.window(first * all.extent(1), {count, all.extent(1)}).to(in.device);
  };
  PairingBatch batch{rows(in.source), rows(in.target)};
  if (!in.source_labels.empty()) {
    const auto labels = [&](const std::vector<std::int64_t>& all, const Tensor& samples) {
      const auto count = static_cast<std::size_t>(samples.extent(0));
      return Buffer<std::int64_t>::from(std::span(all).subspan(static_cast<std::size_t>(first), count),
                                        in.device);
    };
    batch.source_labels = labels(in.source_labels, batch.source);
    batch.target_labels = labels(in.target_labels, batch.target);
  }
  return batch;
}

std::vector<Pairing> pair_all(const Inputs& in, const PairingOptions& options) {
  // As many batches side by side as keep the cores busy without holding all costs.
  const std::int64_t side_by_side =
      std::clamp<std::int64_t>((std::int64_t{1} << 24) / (in.batch * in.batch), 1, 64);
  std::vector<Pairing> all;
  std::optional<Progress> progress;
  if (in.batches() > side_by_side) progress.emplace("pair", in.batches());
  for (std::int64_t first = 0; first < in.batches(); first += side_by_side) {
    std::vector<PairingBatch> batches;
    for (std::int64_t b = first; b < std::min(first + side_by_side, in.batches()); ++b)
      batches.push_back(batch_of(in, b * in.batch));
    for (Pairing& pairing : pair(batches, options, static_cast<std::uint64_t>(first)))
      all.push_back(std::move(pairing));
    if (progress) progress->update(static_cast<std::int64_t>(all.size()));
  }
  return all;
}

/// Partners as indices into the whole target file.
std::vector<std::int64_t> partners_of(const Inputs& in, const std::vector<Pairing>& pairings) {
  std::vector<std::int64_t> partners;
  for (std::size_t b = 0; b < pairings.size(); ++b) {
    for (const std::int64_t partner : pairings[b].partner)
      partners.push_back(static_cast<std::int64_t>(b) * in.batch + partner);
  }
  return partners;
}

void write_plan(const Options& options, const Inputs& in, const std::vector<Pairing>& pairings,
                const std::vector<std::int64_t>& partners) {
  const auto count = static_cast<std::int64_t>(pairings.size());
  std::vector<float> cost;
  std::vector<double> f;
  std::vector<double> g;
  std::vector<float> marginal_error;
  std::vector<float> duality_gap;
  std::vector<std::int64_t> converged;
  std::vector<std::int64_t> iterations;
  for (const Pairing& pairing : pairings) {
    cost.insert(cost.end(), pairing.cost.begin(), pairing.cost.end());
    f.insert(f.end(), pairing.f.begin(), pairing.f.end());
    g.insert(g.end(), pairing.g.begin(), pairing.g.end());
    marginal_error.push_back(static_cast<float>(pairing.marginal_error));
    duality_gap.push_back(static_cast<float>(pairing.duality_gap));
    converged.push_back(pairing.converged ? 1 : 0);
    iterations.push_back(pairing.iterations);
  }
  const auto n = static_cast<std::int64_t>(partners.size());
  Arrays arrays;
  arrays["partner"] = HostArray::from_int64({n}, partners);
  arrays["cost"] = HostArray::from_floats({n}, cost);
  arrays["f"] = HostArray::from_doubles({n}, f);
  arrays["g"] = HostArray::from_doubles({in.target.extent(0)}, g);
  arrays["marginal_error"] = HostArray::from_floats({count}, marginal_error);
  arrays["duality_gap"] = HostArray::from_floats({count}, duality_gap);
  arrays["converged"] = HostArray::from_int64({count}, converged);
  arrays["iterations"] = HostArray::from_int64({count}, iterations);
  const std::int64_t rows = std::min(in.batch, in.source.extent(0));
  const std::int64_t columns = std::min(in.batch, in.target.extent(0));
  if (count * rows * columns <= kPlanLimit) {
    // A last batch that is smaller leaves zeros behind it.
    std::vector<float> plans(static_cast<std::size_t>(count * rows * columns));
    for (std::int64_t b = 0; b < count; ++b) {
      const Tensor plan = pairings[static_cast<std::size_t>(b)].plan.to(DType::f32);
      for (std::int64_t i = 0; i < plan.extent(0); ++i) {
        std::copy_n(plan.as<float>() + i * plan.extent(1), plan.extent(1),
                    plans.begin() + (b * rows + i) * columns);
      }
    }
    arrays["plan"] = HostArray::from_floats({count, rows, columns}, plans);
  } else {
    fmt::print(stderr, "voxot: the plan has {} elements, so only the partners are written\n",
               count * rows * columns);
  }
  write_npz(options.output, arrays);
}

/// The first pairs, each source above its partner.
void draw_pairs(const Options& options, const Inputs& in, const std::vector<std::int64_t>& partners) {
  const auto all = [&](const Arrays& arrays, const std::string& file) {
    const HostArray& data = member(arrays, "data", file);
    return to_volumes(data, file, "", data.shape.empty() ? 0 : data.shape[0]);
  };
  const Volumes source = all(in.source_arrays, options.source);
  const Volumes target = all(in.target_arrays, options.target);
  std::vector<VolumeRow> rows{{"source", {}}, {"partner", {}}};
  const auto pairs = std::min<std::int64_t>(kPicturePairs, static_cast<std::int64_t>(partners.size()));
  for (std::int64_t i = 0; i < pairs; ++i) {
    rows[0].volumes.push_back(source.view(i));
    rows[1].volumes.push_back(target.view(partners[static_cast<std::size_t>(i)]));
  }
  write_png(options.picture, render_rows(rows, static_cast<int>(kPicturePairs)));
}

/// The share of pairs with equal colour, where both files say the colours.
std::optional<double> equal_colours(const Options& options, const Inputs& in,
                                    const std::vector<std::int64_t>& partners) {
  if (!in.source_arrays.contains("colours") || !in.target_arrays.contains("colours")) return std::nullopt;
  const auto source = labels_of(in.source_arrays, "colours", options.source, in.source.extent(0));
  const auto target = labels_of(in.target_arrays, "colours", options.target, in.target.extent(0));
  std::int64_t equal = 0;
  for (std::size_t i = 0; i < partners.size(); ++i)
    equal += source[i] == target[static_cast<std::size_t>(partners[i])];
  return static_cast<double>(equal) / static_cast<double>(partners.size());
}

struct Row {
  const char* key;
  const char* text;
  double value;
};

/// Over all batches: means of the diagnostics, the worst of the certificates.
std::vector<Row> summary(const std::vector<Pairing>& pairings, std::optional<double> colours) {
  const auto count = static_cast<double>(pairings.size());
  PairingDiagnostics mean;
  double marginal_error = 0;
  double duality_gap = 0;
  double iterations = 0;
  double converged = 0;
  for (const Pairing& p : pairings) {
    mean.cost += p.diagnostics.cost / count;
    mean.exact_cost += p.diagnostics.exact_cost / count;
    mean.effective_partners += p.diagnostics.effective_partners / count;
    mean.plan_entropy += p.diagnostics.plan_entropy / count;
    mean.reused += p.diagnostics.reused / count;
    mean.most_reused = std::max(mean.most_reused, p.diagnostics.most_reused);
    marginal_error = std::max(marginal_error, p.marginal_error);
    duality_gap = std::max(duality_gap, p.duality_gap);
    iterations = std::max(iterations, static_cast<double>(p.iterations));
    converged += p.converged ? 1 : 0;
  }
  std::vector<Row> rows{{"problems", "batches", count},
                        {"converged", "  of them converged", converged},
                        {"iterations", "iterations, most", iterations},
                        {"marginal_error", "marginal error, worst", marginal_error},
                        {"duality_gap", "duality gap, worst", duality_gap},
                        {"cost", "cost of a pair", mean.cost},
                        {"exact_cost", "  of the exact plan", mean.exact_cost},
                        {"gap", "  gap to it", mean.gap()},
                        {"effective_partners", "effective partners", mean.effective_partners},
                        {"plan_entropy", "plan entropy, nats", mean.plan_entropy},
                        {"reused", "targets used again, share", mean.reused},
                        {"most_reused", "  most uses of one", static_cast<double>(mean.most_reused)}};
  if (colours) rows.push_back({"equal_colours", "pairs of equal colour, share", *colours});
  return rows;
}

void print_summary(const std::vector<Row>& rows, bool json) {
  if (!json) {
    for (const Row& row : rows) fmt::print("{:<30} {:.6g}\n", row.text, row.value);
    return;
  }
  nlohmann::ordered_json object;
  for (const Row& row : rows) object[row.key] = row.value;
  fmt::print("{}\n", object.dump(2));
}

void pair_files(const Options& options) {
  kernels::set_threads(options.threads);
  const Inputs in = read_inputs(options);
  const std::vector<Pairing> pairings = pair_all(in, pairing_options(options));
  const std::vector<std::int64_t> partners = partners_of(in, pairings);
  write_plan(options, in, pairings, partners);
  if (!options.picture.empty()) draw_pairs(options, in, partners);
  print_summary(summary(pairings, equal_colours(options, in, partners)), options.json);
  const auto failed = std::count_if(pairings.begin(), pairings.end(),
                                    [](const Pairing& pairing) { return !pairing.converged; });
  VOXOT_CHECK(failed == 0,
              "pair: {} of {} batches did not reach a marginal error of {} in {} iterations; {} marks them",
              failed, pairings.size(), options.tolerance, options.max_iterations, options.output);
}

}  // namespace

void add_pair(CLI::App& app) {
  auto options = std::make_shared<Options>();
  Options& o = *options;
  CLI::App* command =
      app.add_subcommand("pair",
                         "Gives each source sample a partner among the targets, through a transport plan.\n"
                         "Example: voxot pair --source threes.npz --target fives.npz --method exact --batch "
                         "64 --output pairs.npz");
  command->add_option("--source", o.source, ".npy, or .npz with an array called data")->required();
  command->add_option("--target", o.target, "the same")->required();
  command
      ->add_option(
          "--output", o.output,
          "the .npz file to write: partner and cost of each source; f and g, the plan's potentials of "
          "each source and target (duals with exact); plan, and of each batch marginal_error, "
          "duality_gap, converged, iterations")
      ->required();
  command->add_option("--method", o.method, "the plan")
      ->check(CLI::IsMember({"sinkhorn", "exact"}))
      ->capture_default_str();
  command->add_option("--epsilon", o.epsilon, "sinkhorn: entropic regularisation, in units of the cost")
      ->check(kAboveZero)
      ->capture_default_str();
  command->add_flag("--relative", o.relative, "epsilon is a multiple of the mean cost");
  command->add_option("--cost", o.cost, "half_mean_square: half the squared distance per dimension")
      ->check(CLI::IsMember({"half_mean_square", "square", "cosine"}))
      ->capture_default_str();
  command->add_option("--rule", o.rule, "how a row of the plan becomes a partner")
      ->check(CLI::IsMember({"sample", "maximum", "permutation"}))
      ->capture_default_str();
  command->add_option("--batch", o.batch, "pair batches of so many samples; 0: all at once")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command->add_option("--within", o.within, "pair within equal values of this array of both .npz files");
  auto* source_features = command->add_option("--source-features", o.source_features,
                                              "the cost is between these, not the samples");
  auto* target_features =
      command->add_option("--target-features", o.target_features, "the same for the target");
  source_features->needs(target_features);
  target_features->needs(source_features);
  command->add_option("--tolerance", o.tolerance, "sinkhorn: L1 marginal error to reach")
      ->check(kAboveZero)
      ->capture_default_str();
  command->add_option("--max-iterations", o.max_iterations, "sinkhorn: stop each problem after these")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command->add_option("--scaling", o.scaling, "sinkhorn: lower epsilon by this factor from the largest cost")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  add_device_option(*command, o.device);
  command->add_option("--precision", o.precision, "of the costs")
      ->check(CLI::IsMember({"fp32", "fp64"}))
      ->capture_default_str();
  command->add_option("--picture", o.picture, "a PNG of the first 10 pairs");
  command->add_option("--seed", o.seed, "of the draws of --rule sample")->capture_default_str();
  command->add_option("--threads", o.threads, "threads; 0: all")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  command->add_flag("--json", o.json, "print JSON");
  command->callback([options] { pair_files(*options); });
}

}  // namespace voxot
