#include "apps/volumes.h"

#include <algorithm>
#include <utility>

#include "kernels/check.h"
#include "kernels/sizes.h"

namespace voxot {

bool is_volumes(const HostArray& array) { return array.shape.size() == 4 || array.shape.size() == 5; }

Volumes to_volumes(HostArray array, const std::string& name, std::string title, std::int64_t count) {
  VOXOT_CHECK(is_volumes(array), "{}: expected N×C×D×H×W volumes or N×C×H×W images, got {}", name,
              array.describe());
  sample_axes(array, name);  // a message speaks of the whole
  if (array.shape[0] > count) {
    array.bytes.resize(array.bytes.size() / to_size(array.shape[0]) * to_size(count));
    array.shape[0] = count;
  }
  return {network_samples(array, name), std::move(title)};
}

}  // namespace voxot
