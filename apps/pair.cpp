// voxot pair: partners between two files of samples, through a transport plan that certifies itself.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "apps/choice.h"
#include "apps/commands.h"
#include "apps/device.h"
#include "apps/pair_inputs.h"
#include "engine/npy.h"
#include "engine/progress.h"
#include "kernels/features.h"
#include "kernels/sizes.h"
#include "solvers/pairing.h"

namespace voxot {
namespace {

constexpr Choice<PairingPlan> kMethods[] = {{"sinkhorn", PairingPlan::sinkhorn},
                                            {"exact", PairingPlan::exact}};
constexpr Choice<GroundCost> kCosts[] = {{"half_mean_square", GroundCost::half_squared_per_dimension},
                                         {"square", GroundCost::squared_euclidean},
                                         {"cosine", GroundCost::cosine}};
constexpr Choice<PartnerRule> kRules[] = {{"sample", PartnerRule::sample},
                                          {"maximum", PartnerRule::maximum},
                                          {"permutation", PartnerRule::permutation}};

/// No unit of any cost is larger.
constexpr Range kAboveZero{0, 1e300, true};

/// Plans of more elements than this are not written: 4 GiB.
constexpr std::int64_t kPlanLimit = std::int64_t{1} << 30;
/// Points above which a problem takes long enough to be announced.
constexpr std::int64_t kLongProblem = 2048;
/// Points up to which the exact plan, O(n³), is solved for comparison alone.
constexpr std::int64_t kMostCompared = 8192;

/// Whether the plan is compared with the exact one; says so where it is left out for its size.
bool compares(const PairCommand& command, const PairInputs& in) {
  if (!command.compare_exact || command.method == PairingPlan::exact) return false;
  if (in.most_points() <= kMostCompared) return true;
  note(fmt::format("{} points are more than {}, so the exact plan is not solved for comparison",
                   in.most_points(), kMostCompared));
  return false;
}

PairingOptions pairing_options(const PairCommand& command, bool compare_exact) {
  PairingOptions o;
  o.plan = command.method;
  o.rule = command.rule;
  o.cost = command.cost;
  o.sinkhorn.epsilon = command.epsilon;
  o.sinkhorn.unit = command.relative ? EpsilonUnit::mean_cost : EpsilonUnit::absolute;
  o.sinkhorn.tolerance = command.tolerance;
  o.sinkhorn.max_iterations = command.max_iterations;
  o.sinkhorn.scaling = command.scaling;
  o.compare_exact = compare_exact;
  o.keep_plan = true;
  o.seed = command.seed;
  return o;
}

/// Rows [first, last) of features or labels.
PairingBatch batch_of(const PairInputs& in, std::int64_t first) {
  const auto rows = [&](const Tensor& all) {
    const std::int64_t count = std::min(in.batch, all.extent(0) - first);
    return all.window(first * all.extent(1), {count, all.extent(1)}).to(in.device);
  };
  PairingBatch batch{rows(in.source), rows(in.target)};
  if (!in.source_labels.empty()) {
    const auto labels = [&](const std::vector<std::int64_t>& all, const Tensor& samples) {
      const auto count = to_size(samples.extent(0));
      return Buffer<std::int64_t>::from(std::span(all).subspan(to_size(first), count), in.device);
    };
    batch.source_labels = labels(in.source_labels, batch.source);
    batch.target_labels = labels(in.target_labels, batch.target);
  }
  return batch;
}

std::vector<Pairing> pair_all(const PairCommand& command, const PairInputs& in) {
  const PairingOptions options = pairing_options(command, compares(command, in));
  // As many batches side by side as keep the cores busy without holding all costs.
  const std::int64_t side_by_side =
      std::clamp<std::int64_t>((std::int64_t{1} << 24) / in.batch / in.batch, 1, 64);
  std::vector<Pairing> all;
  std::optional<Progress> progress;
  if (in.batches() > side_by_side) progress.emplace("pair", in.batches());
  if (in.most_points() > kLongProblem) {
    note(fmt::format(
        "{} of {}×{} by {}{}", in.batches() == 1 ? "a problem" : "problems",
        std::min(in.batch, in.source.extent(0)), std::min(in.batch, in.target.extent(0)),
        word_of(command.method, kMethods),
        options.compare_exact ? ", and exactly for comparison (--no-compare-exact leaves it out)" : ""));
  }
  for (std::int64_t first = 0; first < in.batches(); first += side_by_side) {
    std::vector<PairingBatch> batches;
    for (std::int64_t b = first; b < std::min(first + side_by_side, in.batches()); ++b)
      batches.push_back(batch_of(in, b * in.batch));
    for (Pairing& pairing : pair(batches, options, static_cast<std::uint64_t>(first)))
      all.push_back(std::move(pairing));
    if (progress) progress->update(std::ssize(all));
  }
  return all;
}

/// Partners as indices into the whole target file.
std::vector<std::int64_t> partners_of(const PairInputs& in, const std::vector<Pairing>& pairings) {
  std::vector<std::int64_t> partners;
  for (std::size_t b = 0; b < pairings.size(); ++b) {
    for (const std::int64_t partner : pairings[b].partner)
      partners.push_back(static_cast<std::int64_t>(b) * in.batch + partner);
  }
  return partners;
}

void write_plan(const PairCommand& command, const PairInputs& in, const std::vector<Pairing>& pairings,
                const std::vector<std::int64_t>& partners) {
  const auto count = std::ssize(pairings);
  const auto n = std::ssize(partners);
  // One number for each sample, and one for each problem.
  const auto joined = [&](std::vector<double> Pairing::*part) {
    std::vector<double> values;
    for (const Pairing& p : pairings) values.insert(values.end(), (p.*part).begin(), (p.*part).end());
    return values;
  };
  const auto doubles = [&](double Pairing::*part) {
    std::vector<double> values(pairings.size());
    std::transform(pairings.begin(), pairings.end(), values.begin(),
                   [part](const Pairing& p) { return p.*part; });
    return HostArray::from_doubles({count}, values);
  };
  const auto integers = [&](const auto& part) {
    std::vector<std::int64_t> values(pairings.size());
    std::transform(pairings.begin(), pairings.end(), values.begin(), part);
    return HostArray::from_int64({count}, values);
  };
  const std::vector<double> cost = joined(&Pairing::cost);
  std::map<std::string, HostArray> arrays;
  arrays["partner"] = HostArray::from_int64({n}, partners);
  arrays["cost"] = HostArray::from_doubles({n}, cost);
  arrays["f"] = HostArray::from_doubles({n}, joined(&Pairing::f));
  arrays["g"] = HostArray::from_doubles({in.target.extent(0)}, joined(&Pairing::g));
  arrays["epsilon"] = doubles(&Pairing::epsilon);
  arrays["primal"] = doubles(&Pairing::primal);
  arrays["dual"] = doubles(&Pairing::dual);
  arrays["duality_gap"] = doubles(&Pairing::duality_gap);
  arrays["marginal_error"] = doubles(&Pairing::marginal_error);
  arrays["converged"] = integers([](const Pairing& p) { return p.converged ? 1 : 0; });
  arrays["iterations"] = integers([](const Pairing& p) { return p.iterations; });
  const std::int64_t rows = std::min(in.batch, in.source.extent(0));
  const std::int64_t columns = std::min(in.batch, in.target.extent(0));
  if (count * rows * columns <= kPlanLimit) {
    // A last batch that is smaller leaves zeros behind it.
    std::vector<float> plans(to_size(count * rows * columns));
    for (std::int64_t b = 0; b < count; ++b) {
      const Tensor plan = pairings[to_size(b)].plan.to(DType::f32);
      for (std::int64_t i = 0; i < plan.extent(0); ++i) {
        std::copy_n(plan.as<float>() + i * plan.extent(1), plan.extent(1),
                    plans.begin() + (b * rows + i) * columns);
      }
    }
    arrays["plan"] = HostArray::from_floats({count, rows, columns}, plans);
  } else {
    note(fmt::format("the plan has {} elements, so only the partners are written", count * rows * columns));
  }
  write_npz(command.output, arrays);
}

/// The share of pairs with equal colour, where both files say the colours.
std::optional<double> equal_colours(const PairInputs& in, const std::vector<std::int64_t>& partners) {
  if (!in.source_colours || !in.target_colours) return std::nullopt;
  std::int64_t equal = 0;
  for (std::size_t i = 0; i < partners.size(); ++i)
    equal += (*in.source_colours)[i] == (*in.target_colours)[to_size(partners[i])];
  return static_cast<double>(equal) / static_cast<double>(partners.size());
}

struct Row {
  const char* key;
  const char* text;
  nlohmann::ordered_json value;
};

/// Over all batches: means of the diagnostics and values, the worst of the certificates. What is not known,
/// such as the cost of an exact plan that was not solved, is NaN here and null in JSON.
std::vector<Row> summary(const std::vector<Pairing>& pairings, std::optional<double> colours) {
  const auto count = static_cast<double>(pairings.size());
  PairingDiagnostics mean;
  Pairing worst;
  std::int64_t converged = 0;
  for (const Pairing& p : pairings) {
    mean.cost += p.diagnostics.cost / count;
    mean.exact_cost += p.diagnostics.exact_cost / count;
    mean.effective_partners += p.diagnostics.effective_partners / count;
    mean.plan_entropy += p.diagnostics.plan_entropy / count;
    mean.reused += p.diagnostics.reused / count;
    mean.most_reused = std::max(mean.most_reused, p.diagnostics.most_reused);
    worst.epsilon = std::max(worst.epsilon, p.epsilon);
    worst.marginal_error = worse(worst.marginal_error, p.marginal_error);
    worst.duality_gap = worse(worst.duality_gap, p.duality_gap);
    worst.iterations = std::max(worst.iterations, p.iterations);
    worst.primal += p.primal / count;
    worst.dual += p.dual / count;
    converged += p.converged ? 1 : 0;
  }
  std::vector<Row> rows{{"problems", "batches", pairings.size()},
                        {"converged", "  of them converged", converged},
                        {"iterations", "iterations, most", worst.iterations},
                        {"epsilon", "epsilon, absolute, largest", worst.epsilon},
                        {"marginal_error", "marginal error, worst", worst.marginal_error},
                        {"primal", "primal value, mean", worst.primal},
                        {"dual", "dual value, mean", worst.dual},
                        {"duality_gap", "duality gap, worst", worst.duality_gap},
                        {"cost", "cost of a pair", mean.cost},
                        {"exact_cost", "  of the exact plan", mean.exact_cost},
                        {"gap", "  gap to it", mean.gap()},
                        {"effective_partners", "effective partners", mean.effective_partners},
                        {"plan_entropy", "plan entropy, nats", mean.plan_entropy},
                        {"reused", "targets used again, share", mean.reused},
                        {"most_reused", "  most uses of one", mean.most_reused}};
  if (colours) rows.push_back({"equal_colours", "pairs of equal colour, share", *colours});
  return rows;
}

void print_summary(const std::vector<Row>& rows, bool json) {
  nlohmann::ordered_json object;
  for (const Row& row : rows) {
    if (json) {
      object[row.key] = row.value;
    } else if (row.value.is_number_integer()) {
      fmt::print("{:<30} {}\n", row.text, row.value.get<std::int64_t>());
    } else if (std::isfinite(row.value.get<double>())) {
      fmt::print("{:<30} {:.6g}\n", row.text, row.value.get<double>());
    }
  }
  if (json) fmt::print("{}\n", object.dump(2));
}

void pair_files(const PairCommand& command) {
  kernels::set_threads(command.threads);
  const PairInputs in = read_pair_inputs(command);
  const std::vector<Pairing> pairings = pair_all(command, in);
  const std::vector<std::int64_t> partners = partners_of(in, pairings);
  write_plan(command, in, pairings, partners);
  if (!command.picture.empty()) draw_pairs(command, in, partners);
  print_summary(summary(pairings, equal_colours(in, partners)), command.json);
  const auto failed = std::count_if(pairings.begin(), pairings.end(),
                                    [](const Pairing& pairing) { return !pairing.converged; });
  VOXOT_CHECK(failed == 0 || command.method != PairingPlan::exact,
              "pair: {} of {} plans are not proved to be the best; {} marks them", failed, pairings.size(),
              command.output);
  VOXOT_CHECK(failed == 0,
              "pair: {} of {} batches did not reach a marginal error of {} in {} iterations; {} marks them",
              failed, pairings.size(), command.tolerance, command.max_iterations, command.output);
}

}  // namespace

void add_pair(CLI::App& app) {
  auto options = std::make_shared<PairCommand>();
  PairCommand& o = *options;
  CLI::App* command =
      app.add_subcommand("pair",
                         "Gives each source sample a partner among the targets, through a transport plan.\n"
                         "Example: voxot pair --source threes.npz --target fives.npz --method exact --batch "
                         "64 --output pairs.npz");
  command->add_option("--source", o.source, "a .npy or .npz file of samples")->required();
  command->add_option("--target", o.target, "the same")->required();
  command
      ->add_option(
          "--output", o.output,
          "the .npz file to write: partner and cost of each source; f and g, the plan's potentials of "
          "each source and target (duals with exact); plan, and of each batch epsilon (absolute), primal, "
          "dual, duality_gap, marginal_error, converged, iterations")
      ->required();
  add_choice(*command, "--method", o.method, kMethods, "the plan");
  command->add_option("--epsilon", o.epsilon, "sinkhorn: entropic regularisation, in units of the cost")
      ->check(number_in(kAboveZero))
      ->capture_default_str();
  command->add_flag("--relative", o.relative, "epsilon is a multiple of the mean cost");
  add_choice(*command, "--cost", o.cost, kCosts, "half_mean_square: half the squared distance per dimension");
  add_choice(*command, "--rule", o.rule, kRules, "how a row of the plan becomes a partner");
  command->add_option("--batch", o.batch, "pair batches of so many samples; 0: all at once")
      ->check(integer_in(kWholeNumbers))
      ->capture_default_str();
  command->add_option("--key", o.key, "the samples' array in both .npz files (else data, x or the only one)");
  command->add_option("--within", o.within, "pair within equal values of this array of both .npz files");
  auto* source_features = command->add_option("--source-features", o.source_features,
                                              "the cost is between these, not the samples");
  auto* target_features =
      command->add_option("--target-features", o.target_features, "the same for the target");
  command->add_option("--features-key", o.features_key, "--key of the files of features")
      ->needs(source_features);
  source_features->needs(target_features);
  target_features->needs(source_features);
  command->add_option("--tolerance", o.tolerance, "sinkhorn: L1 marginal error to reach")
      ->check(number_in(kAboveZero))
      ->capture_default_str();
  command->add_option("--max-iterations", o.max_iterations, "sinkhorn: stop each problem after these")
      ->check(integer_in({1, 1e9}))
      ->capture_default_str();
  command->add_option("--scaling", o.scaling, "sinkhorn: lower epsilon by this factor from the largest cost")
      ->check(number_in({0, 1, false, true}))
      ->capture_default_str();
  command->add_flag(
      "!--no-compare-exact", o.compare_exact,
      fmt::format("sinkhorn: do not solve the exact plan too, O(n³), for comparison; it is left "
                  "out above {} points",
                  kMostCompared));
  add_device_option(*command, o.device);
  command
      ->add_option("--precision", o.precision,
                   "of sinkhorn's costs (an exact plan's are fp64); auto: fp32 where it holds the features "
                   "about an origin amid them, and the squares of their differences")
      ->check(CLI::IsMember({"auto", "fp32", "fp64"}))
      ->capture_default_str();
  command->add_option("--picture", o.picture, "a PNG of the first 10 pairs");
  command->add_option("--seed", o.seed, "of the draws of --rule sample")
      ->check(integer_in(kWholeNumbers))
      ->capture_default_str();
  command->add_option("--threads", o.threads, "threads; 0: all")
      ->check(integer_in(kThreads))
      ->capture_default_str();
  command->add_flag("--json", o.json, "print JSON");
  command->callback([options] { pair_files(*options); });
}

}  // namespace voxot
