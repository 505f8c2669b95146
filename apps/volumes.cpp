#include "apps/volumes.h"

#include <algorithm>
#include <utility>

#include "kernels/check.h"

namespace voxot {

bool is_volumes(const HostArray& array) { return array.shape.size() == 4 || array.shape.size() == 5; }

Volumes to_volumes(HostArray array, const std::string& name, std::string title, std::int64_t count) {
  if (!is_volumes(array)) {
    fail("{}: expected N×C×D×H×W volumes or N×C×H×W images, got {}", name, array.describe());
  }
  if (std::any_of(array.shape.begin(), array.shape.end(), [](std::int64_t extent) { return extent < 1; })) {
    fail("{}: expected at least one volume, got {}", name, array.describe());
  }
  const std::int64_t bytes_each = static_cast<std::int64_t>(array.bytes.size()) / array.shape[0];
  array.shape[0] = std::min(array.shape[0], count);
  array.bytes.resize(static_cast<std::size_t>(array.shape[0] * bytes_each));
  if (array.shape.size() == 4) {
    array.shape.insert(array.shape.begin() + 2, 1);
  }
  const std::vector<float> from = array.to_floats();
  const std::int64_t channels = array.shape[1];
  const std::int64_t voxels = array.shape[2] * array.shape[3] * array.shape[4];
  Volumes result{std::move(title),
                 std::vector<float>(from.size()),
                 {array.shape[0], array.shape[2], array.shape[3], array.shape[4], channels}};
  for (std::int64_t n = 0; n < array.shape[0]; ++n) {
    for (std::int64_t c = 0; c < channels; ++c) {
      for (std::int64_t i = 0; i < voxels; ++i) {
        result.values[static_cast<std::size_t>((n * voxels + i) * channels + c)] =
            from[static_cast<std::size_t>((n * channels + c) * voxels + i)];
      }
    }
  }
  return result;
}

}  // namespace voxot
