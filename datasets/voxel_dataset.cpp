#include "datasets/voxel_dataset.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "datasets/colour.h"
#include "kernels/check.h"

namespace voxot {
namespace {

constexpr std::int64_t kImagePixels = std::int64_t{kImageSize} * kImageSize;

/// The config itself, so that members can be initialised from a valid one only.
const DatasetConfig& checked(const DatasetConfig& config, bool flat) {
  check_voxel_config(config, flat);
  return config;
}

}  // namespace

void check_voxel_config(const DatasetConfig& config, bool flat) {
  colour_palette(config.colour);
  if (config.resolution < 4 || config.resolution > 128) {
    fail_usage("resolution: expected 4 to 128, got {}", config.resolution);
  }
  if (config.rotation != "none" && config.rotation != "one_axis" && config.rotation != "three_axes") {
    fail_usage("rotation: expected none, one_axis or three_axes, got \"{}\"", config.rotation);
  }
  if (flat && config.rotation == "three_axes") {
    fail_usage("rotation: a flat image (dataset \"{}\") has one axis; expected none or one_axis",
               config.dataset);
  }
  if (!(config.rotation_degrees >= 0.0 && config.rotation_degrees <= 180.0)) {
    fail_usage("rotation_degrees: expected 0 to 180, got {}", config.rotation_degrees);
  }
  const auto [first, last] = config.extrude;
  if (!flat && !(first >= 0 && first < last && last <= config.resolution)) {
    fail_usage(
        "extrude: expected slices [first, last) with 0 <= first < last <= {} (the resolution), got [{}, {})",
        config.resolution, first, last);
  }
}

VoxelDataset::VoxelDataset(const DatasetConfig& config, bool flat, std::unique_ptr<ImageSource> source)
    : source_(std::move(source)),
      resizer_(kImageSize, checked(config, flat).resolution),
      extent_{flat ? 1 : config.resolution, config.resolution, config.resolution},
      extrude_(flat ? std::array{0, 1} : config.extrude),
      turn_(config.rotation == "none"       ? Turn::none
            : config.rotation != "one_axis" ? Turn::free
            : flat                          ? Turn::in_plane
                                            : Turn::turntable),
      degrees_(config.rotation_degrees),
      coloured_(config.colour != "none"),
      uniform_hue_(config.colour == "uniform"),
      palette_(colour_palette(config.colour)),
      image_(kImagePixels),
      slice_(static_cast<std::size_t>(extent_[1]) * extent_[2]) {
  if (turn_ != Turn::none) {
    upright_.resize(slice_.size() * extent_[0]);
    rotated_.resize(upright_.size());
  }
}

std::array<std::int64_t, 4> VoxelDataset::sample_shape() const {
  return {extent_[0], extent_[1], extent_[2], coloured_ ? 3 : 1};
}

void VoxelDataset::draw(const RandomState& state, std::int64_t n, float* out,
                        std::vector<SampleLabel>* labels) {
  VOXOT_CHECK(n >= 0 && n <= (std::int64_t{1} << 20), "draw: expected 0 to 2^20 samples, got {}", n);
  if (labels != nullptr) {
    labels->resize(n);
  }
  const auto [depth, height, width, channels] = sample_shape();
  const std::int64_t stride = depth * height * width * channels;
  for (std::int64_t i = 0; i < n; ++i) {
    Random random(state.seed, state.purpose, (state.step << 20) + static_cast<std::uint64_t>(i));
    const SampleLabel label = draw_one(random, out + i * stride);
    if (labels != nullptr) {
      (*labels)[i] = label;
    }
  }
}

SampleLabel VoxelDataset::draw_one(Random& random, float* out) {
  const ImageSource::Item item = source_->pick(random);
  SampleLabel label{item.digit, -1, -1.0F, item.index};
  if (uniform_hue_) {
    const float hue = 360.0F * random.uniform();
    label.hue = hue < 360.0F ? hue : 0.0F;
    label.colour = nearest_colour(palette_, label.hue);
  } else if (coloured_) {
    label.colour = static_cast<int>(random.below(palette_.size()));
    label.hue = palette_[label.colour].hue;
  }
  source_->render(item.index, image_.data());
  resizer_.resize(image_.data(), slice_.data());

  const auto [first, last] = extrude_;
  const auto area = static_cast<std::int64_t>(slice_.size());
  if (turn_ == Turn::none) {
    const std::int64_t pitch = area * (coloured_ ? 3 : 1);
    std::fill(out, out + extent_[0] * pitch, -1.0F);
    float* painted = out + first * pitch;
    paint(slice_.data(), area, label.hue, painted);
    for (int d = first + 1; d < last; ++d) {
      std::copy(painted, painted + pitch, out + d * pitch);
    }
    return label;
  }
  // upright_ is zero outside [first, last) from the start, and stays so.
  for (int d = first; d < last; ++d) {
    std::copy(slice_.begin(), slice_.end(), upright_.begin() + d * area);
  }
  rotate_volume(upright_.data(), extent_, draw_rotation(random), rotated_.data());
  paint(rotated_.data(), extent_[0] * area, label.hue, out);
  return label;
}

Rotation VoxelDataset::draw_rotation(Random& random) const {
  const auto angle = [&] { return degrees_ * (2.0 * random.uniform() - 1.0); };
  if (turn_ == Turn::in_plane) {
    return rotation_about(0, angle());
  }
  if (turn_ == Turn::turntable) {
    return rotation_about(1, angle());
  }
  const Rotation about_depth = rotation_about(0, angle());
  const Rotation about_height = rotation_about(1, angle());
  const Rotation about_width = rotation_about(2, angle());
  return compose(about_width, compose(about_height, about_depth));
}

void VoxelDataset::paint(const float* density, std::int64_t voxels, float hue, float* out) const {
  if (coloured_) {
    colour_density(density, voxels, rgb_of_hue(hue), out);
  } else {
    scale_density(density, voxels, out);
  }
}

}  // namespace voxot
