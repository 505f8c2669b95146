#include "apps/diversity.h"

#include <algorithm>
#include <map>

#include "apps/judge.h"
#include "kernels/sizes.h"
#include "solvers/metrics.h"

namespace voxot {
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
  std::vector<RunningVariance> values(to_size(n), RunningVariance(each));
  std::vector<RunningVariance> shapes(to_size(n), RunningVariance(voxels));
  std::vector<float> density(to_size(voxels));
  std::vector<char> kept;
  for (std::int64_t draw = 0; draw < draws; ++draw) {
    const Tensor mapped = map(x, static_cast<std::uint64_t>(draw));
    for (std::int64_t i = 0; i < n; ++i) {
      const float* const volume = mapped.as<float>() + i * each;
      const auto at = to_size(i);
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
    if (coloured) colours[palette[to_size(nearest_colour(palette, label.hue))].name].push_back(variance);
    if (label.digit >= 0) classes[std::to_string(label.digit)].push_back(variance);
  }
  if (coloured) d.hue_kept = share(kept);
  d.by_colour = means(colours);
  d.by_class = means(classes);
  return d;
}

}  // namespace voxot
