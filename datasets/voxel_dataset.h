#pragma once
// Images as coloured volumes: the data sets mnist3d, mnist and digits.
#include <array>
#include <memory>
#include <vector>

#include "datasets/dataset.h"
#include "datasets/image_source.h"
#include "datasets/voxelise.h"

namespace voxot {

/// Draws an image, resizes it, extrudes it along D, rotates the density, colours it. D = H = W = resolution,
/// or D = 1 where `flat`; C = 3, or 1 for colour = "none". Each sample reads its own random numbers in the
/// order item, hue, angles, so the same item and colour come with any rotation.
///
/// rotation = "one_axis" turns the digit about the vertical axis H, as on a turntable: it keeps standing, and
/// a six never becomes a nine. A flat image has one axis only and turns in its plane. "three_axes" composes
/// rotations about D, H and W by three independent angles. Angles are uniform in ±rotation_degrees.
class VoxelDataset final : public Dataset {
 public:
  /// Throws UsageError for a config that check_voxel_config() refuses.
  VoxelDataset(const DatasetConfig& config, bool flat, std::unique_ptr<ImageSource> source);

  [[nodiscard]] std::array<std::int64_t, 4> sample_shape() const override;
  [[nodiscard]] std::int64_t size() const override { return source_->size(); }
  void draw(const RandomState& state, std::int64_t n, float* out, std::vector<SampleLabel>* labels) override;

 private:
  enum class Turn { none, in_plane, turntable, free };

  SampleLabel draw_one(Random& random, float* out);
  Rotation draw_rotation(Random& random) const;
  void paint(const float* density, std::int64_t voxels, float hue, float* out) const;

  std::unique_ptr<ImageSource> source_;
  ImageResizer resizer_;
  std::array<int, 3> extent_;   // D, H, W
  std::array<int, 2> extrude_;  // slices [first, last)
  Turn turn_;
  double degrees_;
  bool coloured_;
  bool uniform_hue_;
  const std::vector<NamedHue>& palette_;
  std::vector<float> image_;    // kImageSize²
  std::vector<float> slice_;    // H·W
  std::vector<float> upright_;  // D·H·W, before rotation
  std::vector<float> rotated_;  // D·H·W
};

/// Throws UsageError unless colour, rotation, angles, resolution (4 to 128) and extrusion range make sense.
void check_voxel_config(const DatasetConfig& config, bool flat);

}  // namespace voxot
