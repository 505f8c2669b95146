#include "datasets/voxel_dataset.h"

#include <algorithm>

#include "datasets/colour.h"
#include "kernels/check.h"
#include "kernels/memory.h"
#include "kernels/sizes.h"
#include "kernels/volumes.h"

namespace voxot {
namespace {

// Enough to occupy the threads; their slices stay in the cache.
constexpr std::int64_t kPaintedAtOnce = 64;

}  // namespace

void check_voxel_config(const DatasetConfig& config, bool flat) {
  colour_palette(config.colour);
  if (config.resolution < 4 || config.resolution > 128) {
    fail_usage("resolution: expected 4 to 128, got {}", config.resolution);
  }
  if (config.rotation != "none" && config.rotation != "one_axis" && config.rotation != "in_plane" &&
      config.rotation != "three_axes") {
    fail_usage("rotation: expected none, one_axis, in_plane or three_axes, got \"{}\"", config.rotation);
  }
  if (flat && config.rotation == "three_axes") {
    fail_usage(
        "rotation: a flat image (dataset \"{}\") turns in its plane alone; expected none, one_axis or "
        "in_plane",
        config.dataset);
  }
  if (config.rotate != "after" && config.rotate != "before") {
    fail_usage("rotate: expected after or before, got \"{}\"", config.rotate);
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

VolumeParams volume_params(const DatasetConfig& config, bool flat, int image_side) {
  check_voxel_config(config, flat);
  VolumeParams p;
  p.extent = {flat ? 1 : config.resolution, config.resolution, config.resolution};
  p.extrude = flat ? std::array{0, 1} : config.extrude;
  p.turn = config.rotation == "none"               ? Turn::none
           : config.rotation == "three_axes"       ? Turn::free
           : flat || config.rotation == "in_plane" ? Turn::in_plane
                                                   : Turn::turntable;
  if (config.rotate == "before" && p.turn != Turn::none) p.fine = image_side;
  p.degrees = config.rotation_degrees;
  p.hues = config.colour == "none" ? Hues::none : config.colour == "uniform" ? Hues::uniform : Hues::palette;
  for (const NamedHue& named : colour_palette(config.colour)) p.palette[p.palette_size++] = named.hue;
  p.validate();
  return p;
}

SampleLabel label_of(const ImageSource::Item& item, const VolumeSample& sample, const VolumeParams& params,
                     const std::vector<NamedHue>& palette) {
  const int colour = params.hues == Hues::uniform ? nearest_colour(palette, sample.hue) : sample.colour;
  return {item.digit, colour, sample.hue, item.index};
}

VoxelDataset::VoxelDataset(const DatasetConfig& config, bool flat, std::unique_ptr<ImageSource> source)
    : source_(std::move(source)),
      params_(volume_params(config, flat, source_->side())),
      order_(order_of(config, source_->size() < 0)),
      palette_(colour_palette(config.colour)),
      resizer_(source_->side(), config.resolution),
      samples_(kPaintedAtOnce),
      slices_(to_size(kPaintedAtOnce * params_.image_area())),
      image_(to_size(source_->side()) * source_->side()) {}

std::array<std::int64_t, 4> VoxelDataset::sample_shape() const {
  return {params_.extent[0], params_.extent[1], params_.extent[2], params_.channels()};
}

void VoxelDataset::prepare(std::int64_t index, float* out, ImageResizer& resizer,
                           std::vector<float>& image) const {
  if (params_.fine > 0) return source_->render(index, out);
  source_->render(index, image.data());
  resizer.resize(image.data(), out);
}

void VoxelDataset::draw_part(const BatchPart& part, float* out, SampleLabel* labels) {
  const SampleDraw samples{part, order_};
  const std::int64_t stride = params_.voxels() * params_.channels();
  for (std::int64_t first = 0; first < part.count; first += kPaintedAtOnce) {
    const std::int64_t count = std::min(kPaintedAtOnce, part.count - first);
    for (std::int64_t i = 0; i < count; ++i) {
      Random random = samples.random(first + i);
      ImageSource::Item item{};
      samples_[i] = draw_sample(random, params_, [&](Random& numbers) {
        item = source_->pick(samples, first + i, numbers);
        return i;  // its slice below
      });
      prepare(item.index, &slices_[i * params_.image_area()], resizer_, image_);
      if (labels != nullptr) labels[first + i] = label_of(item, samples_[i], params_, palette_);
    }
    kernels::paint_volumes(kernels::stream_of(Device::cpu), params_, slices_.data(), count, samples_.data(),
                           out + first * stride);
  }
}

std::optional<DeviceSamples> VoxelDataset::on_device(Device device) const {
  const auto items = source_->items();
  const auto count = std::ssize(items);
  const std::int64_t area = params_.image_area();
  if (count == 0 || count * area * static_cast<std::int64_t>(sizeof(float)) > kMostTableBytes) {
    return std::nullopt;
  }
  const Tensor table = Tensor::empty({count, params_.image_height(), params_.image_width()});
  ImageResizer resizer(source_->side(), params_.extent[1]);
  std::vector<float> image(image_.size());
  for (std::int64_t i = 0; i < count; ++i) {
    prepare(items[i].index, table.as<float>() + i * area, resizer, image);
  }
  std::vector<std::int32_t> digits;
  for (const ImageSource::Item& item : items) digits.push_back(item.digit);
  return DeviceSamples(params_, table.to(device), order_, digits);
}

}  // namespace voxot
