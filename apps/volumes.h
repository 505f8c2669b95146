#pragma once
// Arrays of files as volumes that can be drawn.
#include <array>
#include <string>
#include <vector>

#include "apps/picture.h"
#include "engine/host_array.h"

namespace voxot {

/// Volumes of one array, channels last.
struct Volumes {
  std::string title;
  std::vector<float> values;
  std::array<std::int64_t, 5> shape{};  // N, D, H, W, C

  [[nodiscard]] VolumeView view(std::int64_t i) const {
    const auto [n, d, h, w, c] = shape;
    return {values.data() + i * d * h * w * c, d, h, w, c};
  }
};

/// Whether the array has the axes of volumes or of images.
bool is_volumes(const HostArray& array);

/// The first `count` of N×C×D×H×W volumes or N×C×H×W images. Throws Error, beginning with `name`, for other
/// arrays and for empty ones.
Volumes to_volumes(HostArray array, const std::string& name, std::string title, std::int64_t count);

}  // namespace voxot
