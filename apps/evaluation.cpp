#include "apps/evaluation.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "datasets/truth.h"
#include "engine/finite.h"
#include "solvers/metrics.h"

namespace voxot {
namespace {

// Volumes mapped at once; of small samples as many as make a batch of that size worth its while.
constexpr std::int64_t kMapBatch = 32;
constexpr std::int64_t kMapValues = 65536;
constexpr std::int64_t kDiversitySamples = 256;
constexpr std::int64_t kDiversityDraws = 8;
constexpr std::uint64_t kDiversityDraw = 32;      // the number of the first of them
constexpr std::int64_t kAssignmentSamples = 512;  // the assignment's time grows with the cube

/// The first `count` samples of a batch whose underlying item falls into the given half: disjoint sets of
/// images. The half is a hashed bit, because an item's own parity may be tied to its class. `rows_per_image`
/// neighbouring items show one image.
Tensor of_half(const LabelledBatch& batch, std::uint64_t half, std::int64_t count,
               std::int64_t rows_per_image) {
  const Tensor& all = batch.volumes;
  const std::int64_t each = all.count() / all.extent(0);
  std::vector<std::int64_t> chosen;
  for (std::size_t i = 0; i < batch.labels.size() && static_cast<std::int64_t>(chosen.size()) < count; ++i) {
    const auto image = static_cast<std::uint64_t>(batch.labels[i].item / rows_per_image);
    if ((image * 0x9E3779B97F4A7C15U) >> 63 == half) chosen.push_back(static_cast<std::int64_t>(i));
  }
  const auto n = static_cast<std::int64_t>(chosen.size());
  Tensor some = Tensor::empty({n, all.extent(1), all.extent(2), all.extent(3), all.extent(4)});
  for (std::int64_t i = 0; i < n; ++i) {
    some.window(i * each, {each}).copy_from(all.window(chosen[static_cast<std::size_t>(i)] * each, {each}));
  }
  return some;
}

Tensor first_rows(const Tensor& t, std::int64_t count) {
  const std::int64_t n = std::min(count, t.extent(0));
  std::vector<std::int64_t> extents(t.shape().extents().begin(), t.shape().extents().end());
  extents[0] = n;
  return t.window(0, Shape(extents));
}

/// Where the optimal map is known: how far the learned one is from it.
void score_against_truth(Transport& transport, const SampleShape& s, const KnownTruth& truth,
                         std::uint64_t seed, Evaluation& e) {
  const Shape shape{truth.count, s[0], s[1], s[2], s[3]};
  const Tensor x = Tensor::from(shape, std::span<const float>(truth.source));
  const Tensor image = Tensor::from(shape, std::span<const float>(truth.image));
  const Tensor mapped = map_all(transport, x, seed, 5);
  e.l2_uvp = l2_uvp(mapped, image, truth.target_variance);
  e.cosine = transport_cosine(x, mapped, image);
}

}  // namespace

namespace {

/// Largest channel of each voxel, from [−1, 1] to [0, 1].
void density_of(const float* volume, std::int64_t voxels, std::int64_t channels, float* density) {
  for (std::int64_t v = 0; v < voxels; ++v) {
    const float* const value = volume + v * channels;
    density[v] = 0.5F * (*std::max_element(value, value + channels) + 1.0F);
  }
}

/// Mean and sum of squared differences from it, element by element, over volumes that come one by one
/// (Welford).
class RunningVariance {
 public:
  explicit RunningVariance(std::int64_t count) : mean_(count), squares_(count) {}
  void add(const float* values) {
    ++n_;
    for (std::size_t i = 0; i < mean_.size(); ++i) {
      const double d = values[i] - mean_[i];
      mean_[i] += d / n_;
      squares_[i] += d * (values[i] - mean_[i]);
    }
  }
  /// Unbiased, mean over the elements.
  [[nodiscard]] double variance() const {
    double sum = 0;
    for (const double s : squares_) sum += s;
    return sum / (n_ - 1) / static_cast<double>(squares_.size());
  }

 private:
  double n_ = 0;
  std::vector<double> mean_, squares_;
};

std::vector<std::pair<std::string, double>> means(const std::map<std::string, std::vector<double>>& groups) {
  std::vector<std::pair<std::string, double>> result;
  for (const auto& [name, values] : groups) {
    double sum = 0;
    for (const double v : values) sum += v;
    result.emplace_back(name, sum / static_cast<double>(values.size()));
  }
  return result;
}

}  // namespace

Diversity measure_diversity(const std::function<Tensor(const Tensor& x, std::uint64_t draw)>& map,
                            const LabelledBatch& sources, const DatasetConfig& source, std::int64_t draws) {
  const Tensor& x = sources.volumes;
  const std::int64_t n = x.extent(0);
  const std::int64_t each = x.count() / n;
  const std::int64_t channels = x.extent(4);
  const std::int64_t voxels = each / channels;
  const bool coloured = has_hues(sources);
  const auto& palette = counted_colours(source);
  std::vector<RunningVariance> values(static_cast<std::size_t>(n), RunningVariance(each));
  std::vector<RunningVariance> shapes(static_cast<std::size_t>(n), RunningVariance(voxels));
  std::vector<float> density(static_cast<std::size_t>(voxels));
  std::vector<char> kept;
  for (std::int64_t draw = 0; draw < draws; ++draw) {
    const Tensor mapped = map(x, static_cast<std::uint64_t>(draw));
    for (std::int64_t i = 0; i < n; ++i) {
      const float* const volume = mapped.as<float>() + i * each;
      const auto at = static_cast<std::size_t>(i);
      values[at].add(volume);
      density_of(volume, voxels, channels, density.data());
      shapes[at].add(density.data());
      if (!coloured) continue;
      kept.push_back(keeps_colour(source, sources.labels[at].hue, dominant_hue(volume, voxels)) ? 1 : 0);
    }
  }
  Diversity d;
  d.draws = draws;
  std::map<std::string, std::vector<double>> colours;
  std::map<std::string, std::vector<double>> classes;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const double variance = values[i].variance();
    d.variance += variance / static_cast<double>(n);
    d.shape += shapes[i].variance() / static_cast<double>(n);
    const SampleLabel& label = sources.labels[i];
    if (coloured)
      colours[palette[static_cast<std::size_t>(nearest_colour(palette, label.hue))].name].push_back(variance);
    if (label.digit >= 0) classes[std::to_string(label.digit)].push_back(variance);
  }
  if (coloured) d.hue_kept = share(kept);
  d.by_colour = means(colours);
  d.by_class = means(classes);
  return d;
}

Tensor map_all(Transport& transport, const Tensor& x, std::uint64_t seed, std::uint64_t draw) {
  Tensor mapped = Tensor::empty(x.shape());
  const std::int64_t each = x.count() / x.extent(0);
  const std::int64_t batch = std::max(kMapBatch, std::min<std::int64_t>(1024, kMapValues / each));
  for (std::int64_t first = 0; first < x.extent(0); first += batch) {
    const std::int64_t n = std::min(batch, x.extent(0) - first);
    const Shape shape{n, x.extent(1), x.extent(2), x.extent(3), x.extent(4)};
    const std::uint64_t step = (draw << 32) | static_cast<std::uint64_t>(first);
    mapped.window(first * each, shape)
        .copy_from(transport.apply(x.window(first * each, shape), {seed, Purpose::evaluation, step}));
  }
  FiniteCheck check;
  check.add("the mapped volumes", mapped);
  check.run("evaluation");
  return mapped;
}

Evaluation evaluate(const Capabilities& trained, const RunConfig& config, TestData& data, Device device,
                    std::int64_t samples, bool quiet) {
  const auto seed = static_cast<std::uint64_t>(config.solver.seed);
  Transport& transport = *trained.transport;
  const LabelledBatch from = draw_batch(*data.source, {seed, Purpose::evaluation, 1}, samples);
  const LabelledBatch real = draw_batch(*data.target, {seed, Purpose::evaluation, 2}, 2 * samples);
  const Tensor mapped = map_all(transport, from.volumes, seed, 3);
  Evaluation e;
  e.samples = samples;
  const Tensor assigned = first_rows(from.volumes, kAssignmentSamples);
  e.transport_cost = paired_cost(assigned, first_rows(mapped, kAssignmentSamples));
  e.discrete_cost = discrete_cost(assigned, first_rows(real.volumes, assigned.extent(0)));
  if (config.settings->seeks_optimal_map()) {
    if (const auto truth = known_truth(config.source, config.target, data.directory,
                                       {seed, Purpose::evaluation, 4}, samples)) {
      score_against_truth(transport, data.source->sample_shape(), *truth, seed, e);
    }
  }
  if (transport.stochastic()) {
    LabelledBatch some{first_rows(from.volumes, kDiversitySamples), from.labels};
    some.labels.resize(static_cast<std::size_t>(some.volumes.extent(0)));
    const auto map = [&](const Tensor& x, std::uint64_t draw) {
      return map_all(transport, x, seed, kDiversityDraw + draw);
    };
    e.diversity = measure_diversity(map, some, config.source, kDiversityDraws);
  }
  if (!can_be_judged(config)) return e;
  Judge judge(config.judge, config.target, data.directory, data.judge_cache, device, quiet);
  e.judge_accuracy = judge.accuracy();
  const MapScores scores = score_map(judge, config.source, config.target.classes, from, mapped);
  if (!scores.colour.names.empty()) e.colour = scores.colour;
  if (judge.trusted()) {
    e.target_accuracy = scores.target_accuracy;
  } else if (e.colour) {
    e.colour->accuracy.clear();
  }
  // Both distances are between sets of one size, so that the bias of a finite sample is the same in both.
  // The published point clouds have two neighbouring rows of each image.
  const std::int64_t rows = config.target.dataset == "kaggle3d" && !config.target.path.empty() ? 2 : 1;
  const Tensor even = of_half(real, 0, samples / 2, rows);
  const Tensor odd = of_half(real, 1, samples / 2, rows);
  const std::int64_t n = std::min({even.extent(0), odd.extent(0), mapped.extent(0)});
  const Tensor truth = judge(first_rows(even, n)).features;
  e.feature_distance = frechet_distance(judge(first_rows(mapped, n)).features, truth);
  e.feature_distance_real = frechet_distance(judge(first_rows(odd, n)).features, truth);
  return e;
}

std::string evaluation_table(const Evaluation& e) {
  std::string text;
  const auto row = [&](const std::string& name, const std::string& value, const std::string& note) {
    text += fmt::format("{:<26}{:>9}   {}\n", name, value, note);
  };
  const auto number = [](const std::optional<double>& v, const char* none) {
    return v ? fmt::format("{:.4f}", *v) : std::string(none);
  };
  row("samples", std::to_string(e.samples), fmt::format("held-out test volumes, map of step {}", e.step));
  const bool refused = e.judge_accuracy && !e.target_accuracy;
  row("target accuracy", number(e.target_accuracy, refused ? "refused" : "n/a"),
      e.judge_accuracy
          ? fmt::format("the judge's own accuracy on real test volumes is {:.4f}", *e.judge_accuracy)
          : "no judge for this data");
  if (e.colour) {
    for (std::size_t i = 0; i < e.colour->accuracy.size(); ++i) {
      row("  " + e.colour->names[i], fmt::format("{:.4f}", e.colour->accuracy[i]),
          fmt::format("of {}", e.colour->count[i]));
    }
    row("colour kept", fmt::format("{:.4f}", e.colour->kept), "share of samples whose colour stays");
  }
  row("transport cost", fmt::format("{:.5f}", e.transport_cost), "mean (x − T(x))² per value");
  row("discrete cost", fmt::format("{:.5f}", e.discrete_cost), "exact assignment of real test batches");
  row("feature distance", number(e.feature_distance, "n/a"), "Fréchet, mapped to real targets");
  row("  between real halves", number(e.feature_distance_real, "n/a"),
      "the same between disjoint real targets");
  if (e.diversity) {
    row("diversity", fmt::format("{:.5f}", e.diversity->variance),
        fmt::format("variance over {} draws of the noise, per value", e.diversity->draws));
    for (const auto& [name, value] : e.diversity->by_colour)
      row("  " + name, fmt::format("{:.5f}", value), "");
    for (const auto& [name, value] : e.diversity->by_class)
      row("  class " + name, fmt::format("{:.5f}", value), "");
    row("  of shape", fmt::format("{:.5f}", e.diversity->shape), "variance of the density, per voxel");
    if (e.diversity->hue_kept) row("  colour kept", number(e.diversity->hue_kept, ""), "share of draws");
  }
  if (e.l2_uvp) {
    row("L2-UVP", fmt::format("{:.4f} %", *e.l2_uvp), "‖T(x) − T*(x)‖² in percent of the target's variance");
    row("cosine", number(e.cosine, "n/a"), "between T(x) − x and T*(x) − x");
  }
  return text;
}

}  // namespace voxot
