#pragma once
// Arrays of files as volumes that can be drawn.
#include <string>
#include <vector>

#include "apps/picture.h"
#include "datasets/array_file.h"

namespace voxot {

/// Volumes of one array, in a network's scale.
struct Volumes : NetworkSamples {
  std::string title;

  [[nodiscard]] VolumeView view(std::int64_t i) const {
    const auto [n, d, h, w, c] = shape;
    return {values.data() + i * d * h * w * c, d, h, w, c};
  }
};

/// Whether the array has the axes of volumes or of images.
bool is_volumes(const HostArray& array);

/// The first `count` of N×C×D×H×W volumes or N×C×H×W images, read as every command reads them
/// (datasets/array_file.h). Throws Error, beginning with `name`, for other arrays and for empty ones.
Volumes to_volumes(HostArray array, const std::string& name, std::string title, std::int64_t count);

}  // namespace voxot
