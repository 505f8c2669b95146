#include "datasets/truth.h"

#include <utility>

#include "datasets/gaussian.h"
#include "datasets/w2bench.h"

namespace voxot {

std::optional<KnownTruth> known_truth(const DatasetConfig& source, const DatasetConfig& target,
                                      const std::filesystem::path& data_directory, const RandomState& state,
                                      std::int64_t count) {
  if (source.dataset == "w2bench" && target.dataset == "w2bench" &&
      w2bench_file(source, data_directory) == w2bench_file(target, data_directory) &&
      source.role == "source" && target.role == "target") {
    W2BenchTruth file = w2bench_truth(source, data_directory);
    return KnownTruth{file.count, std::move(file.source), std::move(file.image), file.target_variance};
  }
  if (source.dataset != "gaussian" || target.dataset != "gaussian") return std::nullopt;
  const std::unique_ptr<Dataset> data = open_dataset(source, Split::test, data_directory);
  const auto s = data->sample_shape();
  KnownTruth truth;
  truth.count = count;
  truth.source.resize(static_cast<std::size_t>(count * s[0] * s[1] * s[2] * s[3]));
  data->draw(state, count, truth.source.data(), nullptr);
  truth.image = optimal_gaussian_map(source, target, truth.source, count, &truth.target_variance);
  return truth;
}

}  // namespace voxot
