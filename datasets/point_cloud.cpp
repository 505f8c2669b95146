#include "datasets/point_cloud.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "datasets/image_source.h"

namespace voxot {
namespace {

constexpr int kAcross = 5;  // points along a side of a pixel
constexpr int kAlong = 30;  // points along the depth
constexpr float kMargin = 0.001F;

// Every pixel's front and back, and every edge between pixels and around them.
constexpr std::size_t kMostPoints = std::size_t{kImageSize} * kImageSize * 2 * kAcross * kAcross +
                                    std::size_t{2} * kImageSize * (kImageSize + 1) * kAcross * kAlong;

/// Point i of n from -extent/2 to extent/2.
float spread(int i, int n, float extent) {
  return extent * (static_cast<float>(i) / static_cast<float>(n - 1) - 0.5F);
}

/// Ten bits of a word, from bit `shift` on, as a uniform number in (-1, 1): finer by far than a cell.
float offset_of(std::uint32_t word, int shift) {
  constexpr std::uint32_t kSteps = 1024;
  return (static_cast<float>(word >> shift & (kSteps - 1)) + 0.5F) * (2.0F / kSteps) - 1.0F;
}

struct Interval {
  float low;
  float high;
};

Interval range_of(const std::vector<float>& values, std::int64_t count) {
  float low = values[0];
  float high = values[0];
#pragma omp simd reduction(min : low) reduction(max : high)
  for (std::int64_t i = 0; i < count; ++i) {
    low = values[i] < low ? values[i] : low;
    high = values[i] > high ? values[i] : high;
  }
  return {low, high};
}

float standard_deviation(const std::vector<float>& values, std::int64_t count) {
  double sum = 0.0;
  double squares = 0.0;
#pragma omp simd reduction(+ : sum, squares)
  for (std::int64_t i = 0; i < count; ++i) {
    const double value = values[i];
    sum += value;
    squares += value * value;
  }
  const double mean = sum / static_cast<double>(count);
  return static_cast<float>(std::sqrt(std::max(squares / static_cast<double>(count) - mean * mean, 0.0)));
}

}  // namespace

PointCloud::PointCloud(int resolution, double noise)
    : resolution_(resolution), noise_(static_cast<float>(noise)) {
  for (std::vector<float>& axis : points_) axis.resize(kMostPoints);
  words_.resize(kMostPoints + 4);
}

void PointCloud::add(float d, float h, float w) {
  points_[0][count_] = d;
  points_[1][count_] = h;
  points_[2][count_] = w;
  ++count_;
}

// About the image's centre: the mean would shift the cloud, and the grid follows it.
void PointCloud::sample_surface(const float* image) {
  constexpr float kCentre = 0.5F * (kImageSize - 1);
  const auto lit = [image](int row, int column) {
    const bool inside = row >= 0 && row < kImageSize && column >= 0 && column < kImageSize;
    return inside && image[row * kImageSize + column] > 0.0F;
  };
  count_ = 0;
  for (int row = 0; row < kImageSize; ++row) {
    for (int column = 0; column < kImageSize; ++column) {
      if (!lit(row, column)) continue;
      const float h = static_cast<float>(row) - kCentre;
      const float w = static_cast<float>(column) - kCentre;
      for (int i = 0; i < kAcross; ++i) {
        for (int j = 0; j < kAcross; ++j) {
          const float dh = spread(i, kAcross, 1.0F);
          const float dw = spread(j, kAcross, 1.0F);
          add(-0.5F * kCloudDepth, h + dh, w + dw);
          add(0.5F * kCloudDepth, h + dh, w + dw);
        }
      }
      for (const auto& [down, right] :
           {std::array{-1, 0}, std::array{1, 0}, std::array{0, -1}, std::array{0, 1}}) {
        if (lit(row + down, column + right)) continue;
        const float dh = 0.5F * static_cast<float>(down);
        const float dw = 0.5F * static_cast<float>(right);
        for (int i = 0; i < kAcross; ++i) {
          const float along = spread(i, kAcross, 1.0F);
          const float side_h = h + (down != 0 ? dh : along);
          const float side_w = w + (right != 0 ? dw : along);
          for (int k = 0; k < kAlong; ++k) add(spread(k, kAlong, kCloudDepth), side_h, side_w);
        }
      }
    }
  }
}

void PointCloud::rotate(const Rotation& r) {
  for (std::int64_t i = 0; i < count_; ++i) {
    const float d = points_[0][i];
    const float h = points_[1][i];
    const float w = points_[2][i];
    points_[0][i] = r[0] * d + r[1] * h + r[2] * w;
    points_[1][i] = r[3] * d + r[4] * h + r[5] * w;
    points_[2][i] = r[6] * d + r[7] * h + r[8] * w;
  }
}

// One word for a point, from a stream of its own, so that the words are made side by side.
void PointCloud::add_noise(Random& random) {
  const PhiloxKey key{random.word(), random.word()};
  const auto blocks = static_cast<std::uint32_t>((count_ + 3) / 4);
#pragma omp simd
  for (std::uint32_t block = 0; block < blocks; ++block) {
    const PhiloxCounter words = philox({block, 0, 0, 0}, key);
    for (std::size_t k = 0; k < 4; ++k) words_[k * blocks + block] = words[k];
  }
  for (int axis = 0; axis < 3; ++axis) {
    std::vector<float>& values = points_[axis];
    const float most = noise_ * standard_deviation(values, count_);
#pragma omp simd
    for (std::int64_t i = 0; i < count_; ++i) values[i] += most * offset_of(words_[i], 10 * axis);
  }
}

void PointCloud::count_points(float* density) const {
  std::array<float, 3> centre{};
  float side = 0.0F;
  for (std::size_t axis = 0; axis < 3; ++axis) {
    const Interval range = range_of(points_[axis], count_);
    centre[axis] = 0.5F * (range.low + range.high);
    side = std::max(side, range.high - range.low);
  }
  side += 2.0F * kMargin * longest_;
  const float scale = static_cast<float>(resolution_) / side;
  const float middle = 0.5F * static_cast<float>(resolution_);
  const auto cell = [&](std::size_t axis, std::int64_t i) {
    const auto index = static_cast<int>((points_[axis][i] - centre[axis]) * scale + middle);
    return std::clamp(index, 0, resolution_ - 1);
  };
  const std::int64_t cells = std::int64_t{resolution_} * resolution_ * resolution_;
  float largest = 0.0F;
  for (std::int64_t i = 0; i < count_; ++i) {
    float& count = density[(cell(0, i) * resolution_ + cell(1, i)) * resolution_ + cell(2, i)];
    count += 1.0F;
    largest = std::max(largest, count);
  }
  for (std::int64_t v = 0; v < cells; ++v) density[v] /= largest;
}

void PointCloud::voxelise(const float* image, const Rotation& rotation, Random& random, float* density) {
  std::fill_n(density, std::int64_t{resolution_} * resolution_ * resolution_, 0.0F);
  sample_surface(image);
  if (count_ == 0) return;
  longest_ = 0.0F;
  for (const std::vector<float>& axis : points_) {
    const Interval range = range_of(axis, count_);
    longest_ = std::max(longest_, range.high - range.low);
  }
  rotate(rotation);
  add_noise(random);
  count_points(density);
}

}  // namespace voxot
