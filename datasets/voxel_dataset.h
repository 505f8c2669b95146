#pragma once
// Images as coloured volumes: the data sets mnist3d, mnist, usps and digits.
#include <array>
#include <memory>
#include <vector>

#include "datasets/dataset.h"
#include "datasets/image_source.h"
#include "datasets/voxelise.h"
#include "kernels/volume_sample.h"

namespace voxot {

/// Draws an image, resizes it, extrudes it along D, rotates the density, colours it
/// (kernels/volume_sample.h). D = H = W = resolution, or D = 1 where `flat`; C = 3, or 1 for colour = "none".
/// An image's rows run along H (top row at h = 0), its columns along W.
///
/// rotation = "in_plane" turns the digit about the depth D, as its image in the plane. "one_axis" turns it
/// about the vertical axis H, as on a turntable: it keeps standing, and a six never becomes a nine. A flat
/// image has one axis only and turns in its plane. "three_axes" composes rotations about D, H and W by three
/// independent angles. Angles are uniform in ±rotation_degrees.
///
/// rotate = "after" turns the voxels of the resized image, which blurs a stroke twice; "before" turns the
/// image at its own resolution and voxelises then (FineDensity), so that thin strokes stay whole. Without
/// rotation the two are the same.
class VoxelDataset final : public Dataset {
 public:
  /// Throws UsageError for a config that check_voxel_config() refuses.
  VoxelDataset(const DatasetConfig& config, bool flat, std::unique_ptr<ImageSource> source);

  [[nodiscard]] std::array<std::int64_t, 4> sample_shape() const override;
  [[nodiscard]] std::int64_t size() const override { return source_->size(); }
  /// Its images as they are painted.
  [[nodiscard]] std::optional<DeviceSamples> on_device(Device device) const override;

 private:
  void draw_part(const BatchPart& part, float* out, SampleLabel* labels) override;
  /// The image as it is painted: resized to the volume's rows and columns, or as it is.
  void prepare(std::int64_t index, float* out, ImageResizer& resizer, std::vector<float>& image) const;

  std::unique_ptr<ImageSource> source_;
  VolumeParams params_;
  Order order_;
  const std::vector<NamedHue>& palette_;
  ImageResizer resizer_;
  // Of as many samples as are painted at once.
  std::vector<VolumeSample> samples_;
  std::vector<float> slices_;  // an image each, as it is painted
  std::vector<float> image_;   // of the source
};

/// What the samples of a config are made of, from images of `image_side`² pixels. Throws UsageError as
/// check_voxel_config() does.
VolumeParams volume_params(const DatasetConfig& config, bool flat, int image_side);

/// The label of a sample of this item; its colour is the palette's nearest where the hue is uniform.
SampleLabel label_of(const ImageSource::Item& item, const VolumeSample& sample, const VolumeParams& params,
                     const std::vector<NamedHue>& palette);

/// Throws UsageError unless colour, rotation, angles, resolution (4 to 128) and extrusion range make sense.
void check_voxel_config(const DatasetConfig& config, bool flat);

}  // namespace voxot
