#include "apps/evaluation.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "apps/diversity.h"
#include "datasets/truth.h"
#include "engine/finite.h"
#include "kernels/sizes.h"
#include "solvers/metrics.h"

namespace voxot {
namespace {

// Volumes mapped at once; small samples come in larger batches, of up to kMapValues values.
constexpr std::int64_t kMapBatch = 32;
constexpr std::int64_t kMapValues = 65536;
constexpr std::int64_t kDiversitySamples = 256;
constexpr std::int64_t kAssignmentSamples = 512;  // the assignment's time grows with the cube

/// The first `count` samples of a batch whose underlying item falls into the given half: disjoint sets of
/// images. The half is a hashed bit, because an item's own parity may be tied to its class. `items_per_image`
/// is the data set's.
Tensor of_half(const LabelledBatch& batch, std::uint64_t half, std::int64_t count,
               std::int64_t items_per_image) {
  const Tensor& all = batch.volumes;
  const std::int64_t each = all.count() / all.extent(0);
  std::vector<std::int64_t> chosen;
  for (std::size_t i = 0; i < batch.labels.size() && std::ssize(chosen) < count; ++i) {
    const auto image = static_cast<std::uint64_t>(batch.labels[i].item / items_per_image);
    if ((image * 0x9E3779B97F4A7C15U) >> 63 == half) chosen.push_back(static_cast<std::int64_t>(i));
  }
  const auto n = std::ssize(chosen);
  Tensor some = Tensor::empty({n, all.extent(1), all.extent(2), all.extent(3), all.extent(4)});
  for (std::int64_t i = 0; i < n; ++i) {
    some.window(i * each, {each}).copy_from(all.window(chosen[to_size(i)] * each, {each}));
  }
  return some;
}

void check_finite(const char* what, const Tensor& volumes) {
  FiniteCheck check;
  check.add(what, volumes);
  check.run("evaluation");
}

Tensor first_rows(const Tensor& t, std::int64_t count) {
  const std::int64_t n = std::min(count, t.extent(0));
  std::vector<std::int64_t> extents(t.shape().extents().begin(), t.shape().extents().end());
  extents[0] = n;
  return t.window(0, Shape(extents));
}

/// What is drawn once for all scores.
struct TestBatches {
  LabelledBatch from;            // sources
  LabelledBatch real;            // twice as many targets
  std::int64_t items_per_image;  // of the targets
};

/// Where the optimal map is known: how far the learned one is from it.
void score_against_truth(Transport& transport, const RunConfig& config, const TestData& data,
                         std::uint64_t seed, std::int64_t samples, Scores& scores) {
  const auto truth = known_truth(config.source, config.target, data.directory,
                                 evaluation_state(seed, EvaluationDraw::truth_source), samples);
  if (!truth) return;
  const auto s = data.source->sample_shape();
  const Shape shape{truth->count, s[0], s[1], s[2], s[3]};
  const Tensor x = Tensor::from(shape, std::span<const float>(truth->source));
  const Tensor image = Tensor::from(shape, std::span<const float>(truth->image));
  const Tensor mapped = map_all(transport, x, seed, EvaluationDraw::truth_noise);
  scores.set("l2_uvp", l2_uvp(mapped, image, truth->target_variance));
  scores.set("cosine", transport_cosine(x, mapped, image));
}

void score_diversity(Transport& transport, const RunConfig& config, const TestBatches& batches,
                     std::uint64_t seed, Scores& scores) {
  LabelledBatch some{first_rows(batches.from.volumes, kDiversitySamples), batches.from.labels};
  some.labels.resize(to_size(some.volumes.extent(0)));
  const auto map = [&](const Tensor& x, std::uint64_t draw) {
    return map_all(transport, x, seed, EvaluationDraw::diversity_noise, draw);
  };
  const Diversity d = measure_diversity(map, some, config.source, count_of(EvaluationDraw::diversity_noise));
  scores.set("diversity/draws", static_cast<double>(d.draws));
  scores.set("diversity/variance", d.variance,
             fmt::format("variance over {} draws of the noise, per value", d.draws));
  for (const auto& [name, value] : d.by_colour) scores.set("diversity/by_colour", name, value);
  for (const auto& [name, value] : d.by_class) scores.set("diversity/by_class", name, value);
  scores.set("diversity/shape", d.shape);
  if (d.hue_kept) scores.set("diversity/colour_kept", *d.hue_kept);
}

/// What the judge says of mapped volumes.
void score_by_judge(Judge& judge, const RunConfig& config, const TestBatches& batches, const Tensor& mapped,
                    std::int64_t samples, Scores& scores) {
  const MapScores found = score_map(judge, config.source, config.target.classes, batches.from, mapped);
  const std::string note =
      fmt::format("the judge's own accuracy on real test volumes is {:.4f}", judge.accuracy());
  if (judge.trusted()) {
    scores.set("target_accuracy", found.target_accuracy, note);
  } else {
    scores.refuse("target_accuracy", "refused", note);
  }
  const ColourScores& colour = found.colour;
  if (!colour.names.empty()) scores.set("colour_kept", colour.kept);
  for (std::size_t i = 0; judge.trusted() && i < colour.names.size(); ++i)
    scores.set("target_accuracy_by_colour", colour.names[i], colour.accuracy[i],
               fmt::format("of {}", colour.count[i]));
  // Both distances are between sets of one size, so that the bias of a finite sample is the same in both.
  const Tensor even = of_half(batches.real, 0, samples / 2, batches.items_per_image);
  const Tensor odd = of_half(batches.real, 1, samples / 2, batches.items_per_image);
  const std::int64_t n = std::min({even.extent(0), odd.extent(0), mapped.extent(0)});
  const Tensor truth = judge(first_rows(even, n)).features;
  scores.set("feature_distance", frechet_distance(judge(first_rows(mapped, n)).features, truth));
  scores.set("feature_distance_real", frechet_distance(judge(first_rows(odd, n)).features, truth));
}

void score_transport(Transport& transport, Judge* judge, const RunConfig& config, const TestData& data,
                     const TestBatches& batches, std::int64_t samples, Scores& scores) {
  const auto seed = static_cast<std::uint64_t>(config.solver.seed);
  const Tensor mapped = map_all(transport, batches.from.volumes, seed, EvaluationDraw::test_noise);
  const Tensor assigned = first_rows(batches.from.volumes, kAssignmentSamples);
  scores.set("transport_cost", paired_cost(assigned, first_rows(mapped, kAssignmentSamples)));
  scores.set("discrete_cost", discrete_cost(assigned, first_rows(batches.real.volumes, assigned.extent(0))));
  if (config.settings->seeks_optimal_map())
    score_against_truth(transport, config, data, seed, samples, scores);
  if (transport.stochastic()) score_diversity(transport, config, batches, seed, scores);
  if (judge != nullptr) score_by_judge(*judge, config, batches, mapped, samples, scores);
}

/// Share of the volumes that the judge calls one of `classes`.
double share_of(Judge& judge, const Tensor& volumes, const std::vector<int>& classes) {
  std::vector<char> hits;
  for (const int found : judge(volumes).classes)
    hits.push_back(std::find(classes.begin(), classes.end(), found) != classes.end() ? 1 : 0);
  return share(hits);
}

void score_pairs(PairSampler& sampler, Judge* judge, const RunConfig& config, std::int64_t samples,
                 Scores& scores) {
  const TensorPair pairs = sample_all(sampler, samples, static_cast<std::uint64_t>(config.solver.seed),
                                      EvaluationDraw::test_pairs);
  scores.set("pair_cost", paired_cost(pairs.x, pairs.y));
  if (judge == nullptr || !judge->trusted()) return;
  scores.set("pair_source_accuracy", share_of(*judge, pairs.x, config.source.classes));
  scores.set("pair_target_accuracy", share_of(*judge, pairs.y, config.target.classes));
}

void score_labels(Labeller& labeller, const LabelledBatch& real, Scores& scores) {
  const std::vector<int> found = labeller.label(real.volumes);
  std::vector<char> hits;
  for (std::size_t i = 0; i < found.size(); ++i) {
    if (real.labels[i].digit >= 0) hits.push_back(found[i] == real.labels[i].digit ? 1 : 0);
  }
  if (!hits.empty()) scores.set("label_accuracy", share(hits));
}

}  // namespace

Tensor map_all(Transport& transport, const Tensor& x, std::uint64_t seed, EvaluationDraw draw,
               std::uint64_t index) {
  Tensor mapped = Tensor::empty(x.shape());
  const std::int64_t each = x.count() / x.extent(0);
  const std::int64_t batch = std::max(kMapBatch, std::min<std::int64_t>(1024, kMapValues / each));
  for (std::int64_t first = 0; first < x.extent(0); first += batch) {
    const std::int64_t n = std::min(batch, x.extent(0) - first);
    const Shape shape{n, x.extent(1), x.extent(2), x.extent(3), x.extent(4)};
    const RandomState state = evaluation_noise(seed, draw, first, index);
    mapped.window(first * each, shape).copy_from(transport.apply(x.window(first * each, shape), state));
  }
  check_finite("the mapped volumes", mapped);
  return mapped;
}

TensorPair sample_all(PairSampler& sampler, std::int64_t count, std::uint64_t seed, EvaluationDraw draw) {
  TensorPair all;
  for (std::int64_t first = 0; first < count; first += kMapBatch) {
    const std::int64_t n = std::min(kMapBatch, count - first);
    const RandomState state = evaluation_noise(seed, draw, first);
    const TensorPair some = sampler.sample(n, state);
    for (const auto& [to, from] : {std::pair(&all.x, &some.x), std::pair(&all.y, &some.y)}) {
      const Shape& s = from->shape();
      if (!to->defined()) *to = Tensor::empty({count, s[1], s[2], s[3], s[4]});
      to->window(first * (from->count() / n), s).copy_from(*from);
    }
  }
  check_finite("the sampled x", all.x);
  check_finite("the sampled y", all.y);
  return all;
}

Scores evaluate(const Capabilities& trained, const RunConfig& config, const TestData& data, Device device,
                std::int64_t samples, bool quiet) {
  const auto seed = static_cast<std::uint64_t>(config.solver.seed);
  const TestBatches batches{
      draw_batch(*data.source, evaluation_state(seed, EvaluationDraw::test_source), samples),
      draw_batch(*data.target, evaluation_state(seed, EvaluationDraw::test_target), 2 * samples),
      data.target->items_per_image()};
  Scores scores;
  scores.set("samples", static_cast<double>(samples));
  std::unique_ptr<Judge> judge;
  if (can_be_judged(config) && (trained.transport != nullptr || trained.pairs != nullptr)) {
    judge =
        std::make_unique<Judge>(config.judge, config.target, data.directory, data.judge_cache, device, quiet);
    scores.set("judge_accuracy", judge->accuracy());
  }
  if (trained.transport != nullptr)
    score_transport(*trained.transport, judge.get(), config, data, batches, samples, scores);
  if (trained.pairs != nullptr) score_pairs(*trained.pairs, judge.get(), config, samples, scores);
  if (trained.labels != nullptr) score_labels(*trained.labels, batches.real, scores);
  return scores;
}

}  // namespace voxot
