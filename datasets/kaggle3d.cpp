#include "datasets/kaggle3d.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "datasets/colour.h"
#include "datasets/hdf5.h"
#include "datasets/image_source.h"
#include "datasets/mnist.h"
#include "datasets/point_cloud.h"
#include "datasets/voxel_dataset.h"
#include "engine/atomic_file.h"
#include "engine/host_array.h"
#include "kernels/check.h"
#include "kernels/sizes.h"

namespace voxot {
namespace {

namespace fs = std::filesystem;

constexpr int kSide = 16;
constexpr std::int64_t kCells = std::int64_t{kSide} * kSide * kSide;
/// Rows that are read at once.
constexpr std::int64_t kBlock = 1024;
/// A file that says more is not this data set, and would fill the memory (16 KiB a row).
constexpr std::int64_t kMostRows = std::int64_t{1} << 18;

/// Densities before they get their colour.
class DensitySource {
 public:
  virtual ~DensitySource() = default;
  [[nodiscard]] virtual std::int64_t size() const = 0;
  [[nodiscard]] virtual std::int64_t items_per_image() const { return 1; }
  virtual ImageSource::Item pick(const SampleDraw& draw, std::int64_t i, Random& random) = 0;
  /// Writes the picked item's density, D×H×W values in [0, 1].
  virtual void write(const ImageSource::Item& item, const Rotation& rotation, Random& random,
                     float* density) = 0;
};

class CloudSource final : public DensitySource {
 public:
  CloudSource(const DatasetConfig& config, std::unique_ptr<ImageSource> images)
      : images_(std::move(images)),
        cloud_(config.resolution, config.noise),
        image_(std::size_t{kImageSize} * kImageSize) {}

  [[nodiscard]] std::int64_t size() const override { return images_->size(); }
  ImageSource::Item pick(const SampleDraw& draw, std::int64_t i, Random& random) override {
    return images_->pick(draw, i, random);
  }
  void write(const ImageSource::Item& item, const Rotation& rotation, Random& random,
             float* density) override {
    images_->render(item.index, image_.data());
    cloud_.voxelise(image_.data(), rotation, random, density);
  }

 private:
  std::unique_ptr<ImageSource> images_;
  PointCloud cloud_;
  std::vector<float> image_;
};

/// Rows of one array of the file and their digits, checked.
class RowReader {
 public:
  RowReader(const fs::path& path, const std::string& part)
      : file_(path), name_(printable(path.string())), x_("X_" + part), y_("y_" + part) {
    const std::vector<std::int64_t> x = file_.shape(x_);
    const std::vector<std::int64_t> y = file_.shape(y_);
    VOXOT_CHECK(x.size() == 2 && x[0] >= 1 && x[1] == kCells, "{}: {}: expected rows of {} values, got {}",
                name_, x_, kCells, describe_shape(x));
    VOXOT_CHECK(y.size() == 1 && y[0] == x[0], "{}: {}: expected {} labels for the rows of {}, got {}", name_,
                y_, x[0], x_, describe_shape(y));
    VOXOT_CHECK(x[0] <= kMostRows, "{}: {}: expected at most {} rows, got {}", name_, x_, kMostRows, x[0]);
    rows_ = x[0];
  }

  [[nodiscard]] std::int64_t rows() const { return rows_; }
  [[nodiscard]] const std::string& name() const { return name_; }

  [[nodiscard]] std::vector<int> digits() const {
    std::vector<float> values(to_size(rows_));
    file_.read_rows(y_, 0, rows_, values);
    std::vector<int> digits;
    digits.reserve(values.size());
    for (std::size_t row = 0; row < values.size(); ++row) {
      const float value = values[row];
      VOXOT_CHECK(value >= 0.0F && value <= 9.0F && value == std::floor(value),
                  "{}: {}: label {} is {}, expected a digit", name_, y_, row, value);
      digits.push_back(static_cast<int>(value));
    }
    return digits;
  }

  /// `n` rows from `first` as densities in [0, 1], each D×H×W.
  void densities(std::int64_t first, std::int64_t n, float* out) {
    block_.resize(to_size(n * kCells));
    file_.read_rows(x_, first, n, block_);
    for (std::int64_t i = 0; i < n; ++i) stand_up(first + i, block_.data() + i * kCells, out + i * kCells);
  }

 private:
  void stand_up(std::int64_t row, const float* grid, float* density) const {
    float largest = 0.0F;
    for (std::int64_t v = 0; v < kCells; ++v) {
      VOXOT_CHECK(std::isfinite(grid[v]) && grid[v] >= 0.0F,
                  "{}: {}: value {} of row {} is {}, expected an occupancy of at least 0", name_, x_, v, row,
                  grid[v]);
      largest = std::max(largest, grid[v]);
    }
    VOXOT_CHECK(largest > 0.0F, "{}: {}: row {} is empty", name_, x_, row);
    for (int d = 0; d < kSide; ++d) {
      for (int h = 0; h < kSide; ++h) {
        for (int w = 0; w < kSide; ++w) {
          const int up = kSide - 1 - h;
          density[(d * kSide + h) * kSide + w] = grid[(up * kSide + w) * kSide + d] / largest;
        }
      }
    }
  }

  Hdf5File file_;
  std::string name_;
  std::string x_;
  std::string y_;
  std::int64_t rows_ = 0;
  std::vector<float> block_;
};

class FileSource final : public DensitySource {
 public:
  FileSource(const fs::path& path, Split split, const std::vector<int>& classes) {
    RowReader reader(path, split == Split::test ? "test" : "train");
    std::int64_t first = 0;
    std::int64_t last = reader.rows();
    if (split == Split::train) last = kaggle3d_first_validation_row(last);
    if (split == Split::validation) first = kaggle3d_first_validation_row(last);
    const std::vector<int> digits = reader.digits();
    const auto wanted = [&](std::int64_t row) {
      return classes.empty() || std::find(classes.begin(), classes.end(), digits[row]) != classes.end();
    };
    std::vector<float> block(to_size(std::min(kBlock, last - first) * kCells));
    for (std::int64_t from = first; from < last; from += kBlock) {
      const std::int64_t n = std::min(kBlock, last - from);
      reader.densities(from, n, block.data());
      for (std::int64_t i = 0; i < n; ++i) {
        if (!wanted(from + i)) continue;
        items_.push_back({from + i - first, digits[from + i]});
        densities_.insert(densities_.end(), block.begin() + i * kCells, block.begin() + (i + 1) * kCells);
      }
    }
    VOXOT_CHECK(!items_.empty(), "{}: no row of the wanted classes among rows {} to {}", reader.name(), first,
                last);
  }

  [[nodiscard]] std::int64_t size() const override { return std::ssize(items_); }
  [[nodiscard]] std::int64_t items_per_image() const override { return 2; }  // upright and turned
  ImageSource::Item pick(const SampleDraw& draw, std::int64_t i, Random& random) override {
    slot_ = draw.item(i, size(), random);
    return items_[slot_];
  }
  void write(const ImageSource::Item&, const Rotation&, Random&, float* density) override {
    std::copy_n(densities_.data() + slot_ * kCells, kCells, density);
  }

 private:
  std::vector<ImageSource::Item> items_;
  std::vector<float> densities_;  // of items_, one after the other
  std::int64_t slot_ = 0;         // of the picked item
};

/// Draws item, hue and angles as every volume does, then what the density needs, and paints it.
class Kaggle3d final : public Dataset {
 public:
  Kaggle3d(const VolumeParams& params, const DatasetConfig& config, std::unique_ptr<DensitySource> source)
      : params_(params),
        order_(order_of(config, false)),
        palette_(colour_palette(config.colour)),
        source_(std::move(source)),
        density_(to_size(params.voxels())) {}

  [[nodiscard]] std::array<std::int64_t, 4> sample_shape() const override {
    return {params_.extent[0], params_.extent[1], params_.extent[2], params_.channels()};
  }
  [[nodiscard]] std::int64_t size() const override { return source_->size(); }
  [[nodiscard]] std::int64_t items_per_image() const override { return source_->items_per_image(); }

  void draw_part(const BatchPart& part, float* out, SampleLabel* labels) override {
    const SampleDraw samples{part, order_};
    const std::int64_t stride = params_.voxels() * params_.channels();
    for (std::int64_t i = 0; i < part.count; ++i) {
      Random random = samples.random(i);
      ImageSource::Item item{};
      const VolumeSample sample = draw_sample(random, params_, [&](Random& numbers) {
        item = source_->pick(samples, i, numbers);
        return item.index;
      });
      source_->write(item, sample.rotation, random, density_.data());
      paint(sample, out + i * stride);
      if (labels != nullptr) labels[i] = label_of(item, sample, params_, palette_);
    }
  }

 private:
  void paint(const VolumeSample& sample, float* out) const {
    const int channels = params_.channels();
    for (std::size_t v = 0; v < density_.size(); ++v) {
      for (int c = 0; c < channels; ++c) *out++ = voxel_value(density_[v], sample.rgb[c]);
    }
  }

  VolumeParams params_;
  Order order_;
  const std::vector<NamedHue>& palette_;
  std::unique_ptr<DensitySource> source_;
  std::vector<float> density_;
};

fs::path published_file(const DatasetConfig& config, const fs::path& data_directory) {
  if (config.resolution != kSide) {
    fail_usage("resolution: the volumes of a kaggle3d file have {}, got {}", kSide, config.resolution);
  }
  if (config.rotation != "none") {
    fail_usage("rotation: the volumes of a kaggle3d file are rotated already; expected none, got \"{}\"",
               config.rotation);
  }
  const fs::path path = config.path;
  const fs::path below = data_directory / path;
  std::error_code ignored;
  for (const fs::path& candidate : {path, below}) {
    if (fs::is_regular_file(candidate, ignored)) return candidate;
  }
  fail("kaggle3d: expected a file {}{}, found none; without path its kind is made from MNIST", path.string(),
       path.is_absolute() || data_directory.empty() ? "" : " or " + below.string());
}

}  // namespace

std::int64_t kaggle3d_first_validation_row(std::int64_t rows) {
  VOXOT_CHECK(rows >= 2, "kaggle3d: expected at least 2 training rows, got {}", rows);
  const std::int64_t first = rows - std::max<std::int64_t>(1, rows / 10);
  return first == 1 ? 1 : first - first % 2;
}

std::unique_ptr<Dataset> open_kaggle3d(const DatasetConfig& config, Split split,
                                       const fs::path& data_directory) {
  DatasetConfig whole = config;
  whole.extrude = {0, config.resolution};  // the cloud has a depth of its own,
  whole.rotate = "after";                  // and its points turn, no image
  const VolumeParams params = volume_params(whole, false, kImageSize);
  if (!(config.noise >= 0.0 && config.noise <= 1.0))
    fail_usage("noise: expected 0 to 1, got {}", config.noise);
  std::unique_ptr<DensitySource> source;
  if (config.path.empty()) {
    source = std::make_unique<CloudSource>(config, open_mnist(split, config.classes, data_directory));
  } else {
    source = std::make_unique<FileSource>(published_file(config, data_directory), split, config.classes);
  }
  return std::make_unique<Kaggle3d>(params, config, std::move(source));
}

}  // namespace voxot
