#include "datasets/truth.h"

#include "datasets/kinds.h"

namespace voxot {

std::optional<KnownTruth> known_truth(const DatasetConfig& source, const DatasetConfig& target,
                                      const std::filesystem::path& data_directory, const RandomState& state,
                                      std::int64_t count) {
  const DatasetKind& kind = kind_of(source);
  if (&kind != &kind_of(target) || kind.truth == nullptr) return std::nullopt;
  return kind.truth(source, target, data_directory, state, count);
}

}  // namespace voxot
