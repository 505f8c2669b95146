#include "datasets/mnistm.h"

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <tuple>
#include <vector>

#include "datasets/image_source.h"
#include "datasets/mnist.h"
#include "datasets/voxel_dataset.h"
#include "datasets/voxelise.h"
#include "engine/atomic_file.h"
#include "engine/host_array.h"
#include "engine/npy.h"
#include "kernels/check.h"
#include "kernels/sizes.h"

namespace voxot {
namespace {

namespace fs = std::filesystem;

constexpr int kChannels = 3;
constexpr std::int64_t kPixels = std::int64_t{kImageSize} * kImageSize;

class MnistM final : public Dataset {
 public:
  MnistM(const DatasetConfig& config, Split split, HostArray crops, std::unique_ptr<ImageSource> images)
      : images_(std::move(images)),
        order_(order_of(config, false)),
        crops_(std::move(crops)),
        resolution_(config.resolution),
        resizer_(kImageSize, config.resolution),
        digit_(kPixels),
        channel_(kPixels),
        small_(to_size(config.resolution) * config.resolution) {
    std::tie(first_, last_) = mnistm_crops(split, crops_.shape[0]);
  }

  [[nodiscard]] std::array<std::int64_t, 4> sample_shape() const override {
    return {1, resolution_, resolution_, kChannels};
  }
  [[nodiscard]] std::int64_t size() const override { return images_->size(); }

  void draw_part(const BatchPart& part, float* out, SampleLabel* labels) override {
    const SampleDraw samples{part, order_};
    const auto area = std::ssize(small_);
    for (std::int64_t i = 0; i < part.count; ++i) {
      Random random = samples.random(i);
      const ImageSource::Item item = images_->pick(samples, i, random);
      images_->render(item.index, digit_.data());
      paint(random, out + i * area * kChannels);
      if (labels != nullptr) labels[i] = {item.digit, -1, -1.0F, item.index};
    }
  }

 private:
  /// Where a window of the digit's size begins.
  std::int64_t begin(Random& random, std::int64_t extent) const {
    return static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(extent - kImageSize + 1)));
  }

  void paint(Random& random, float* out) {
    const std::int64_t height = crops_.shape[1];
    const std::int64_t width = crops_.shape[2];
    const std::int64_t crop = first_ + static_cast<std::int64_t>(random.below(last_ - first_));
    const std::int64_t top = begin(random, height);
    const std::int64_t left = begin(random, width);
    for (int c = 0; c < kChannels; ++c) {
      for (std::int64_t p = 0; p < kPixels; ++p) {
        const std::int64_t row = top + p / kImageSize;
        const std::int64_t column = left + p % kImageSize;
        const std::int64_t at = ((crop * height + row) * width + column) * kChannels + c;
        const auto level = std::to_integer<std::uint8_t>(crops_.bytes[at]);
        channel_[p] = std::fabs(static_cast<float>(level) * (1.0F / 255.0F) - digit_[p]);
      }
      resizer_.resize(channel_.data(), small_.data());
      for (std::size_t p = 0; p < small_.size(); ++p) out[p * kChannels + c] = 2.0F * small_[p] - 1.0F;
    }
  }

  std::unique_ptr<ImageSource> images_;
  Order order_;
  HostArray crops_;
  std::int64_t first_ = 0;  // of the split's crops
  std::int64_t last_ = 0;
  int resolution_;
  ImageResizer resizer_;
  std::vector<float> digit_;
  std::vector<float> channel_;
  std::vector<float> small_;
};

HostArray read_textures(const fs::path& data_directory) {
  const fs::path path = find_textures(data_directory);
  VOXOT_CHECK(!path.empty(), "mnistm: expected {}, found none",
              (data_directory / "textures" / "bsds500_crops_96.npy").string());
  HostArray crops = read_npy(path);
  const std::vector<std::int64_t>& s = crops.shape;
  VOXOT_CHECK(crops.type == FileType::u8 && s.size() == 4 && s[0] >= 10 && s[1] >= kImageSize &&
                  s[2] >= kImageSize && s[3] == kChannels,
              "{}: expected u8 crops×height×width×3, at least 10 of 28×28, got {}", printable(path.string()),
              crops.describe());
  return crops;
}

}  // namespace

std::pair<std::int64_t, std::int64_t> mnistm_crops(Split split, std::int64_t crops) {
  const std::int64_t train = crops * 8 / 10;
  const std::int64_t validation = crops * 9 / 10;
  if (split == Split::train) return {0, train};
  return split == Split::validation ? std::pair{train, validation} : std::pair{validation, crops};
}

fs::path find_textures(const fs::path& data_directory) {
  const fs::path path = data_directory / "textures" / "bsds500_crops_96.npy";
  std::error_code ignored;
  return !data_directory.empty() && fs::is_regular_file(path, ignored) ? path : fs::path{};
}

std::unique_ptr<Dataset> open_mnistm(const DatasetConfig& config, Split split,
                                     const fs::path& data_directory) {
  check_voxel_config(config, true);
  if (config.rotation != "none") {
    fail_usage("rotation: mnistm does not turn; expected none, got \"{}\"", config.rotation);
  }
  auto images = open_mnist(split, config.classes, data_directory);
  return std::make_unique<MnistM>(config, split, read_textures(data_directory), std::move(images));
}

}  // namespace voxot
