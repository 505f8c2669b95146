#include "datasets/voxelise.h"

#include <algorithm>
#include <cmath>

#include "kernels/check.h"
#include "kernels/sizes.h"

namespace voxot {

ImageResizer::ImageResizer(int input_size, int output_size) : input_(input_size), output_(output_size) {
  if (input_size < 1 || output_size < 1) {
    fail_usage("resize: sizes must be at least 1, got {} to {}", input_size, output_size);
  }
  const double scale = static_cast<double>(input_) / output_;
  const double support = std::max(1.0, scale);
  taps_ = 2 * static_cast<int>(std::ceil(support)) + 1;
  weights_.assign(to_size(output_) * taps_, 0.0F);
  rows_.resize(to_size(input_) * output_);
  for (int o = 0; o < output_; ++o) {
    const double centre = (o + 0.5) * scale;
    const int first = std::max(0, static_cast<int>(std::floor(centre - support + 0.5)));
    const int last = std::min(input_, static_cast<int>(std::floor(centre + support + 0.5)));
    const auto weight = [&](int i) { return std::max(0.0, 1.0 - std::fabs(i + 0.5 - centre) / support); };
    double sum = 0.0;
    for (int i = first; i < last; ++i) {
      sum += weight(i);
    }
    for (int i = first; i < last; ++i) {
      weights_[to_size(o) * taps_ + (i - first)] = static_cast<float>(weight(i) / sum);
    }
    windows_.push_back({first, last - first});
  }
}

void ImageResizer::resize(const float* image, float* out) {
  for (int row = 0; row < input_; ++row) {
    const float* line = image + to_size(row) * input_;
    for (int o = 0; o < output_; ++o) {
      const auto [first, count] = windows_[o];
      const float* weight = &weights_[to_size(o) * taps_];
      float sum = 0.0F;
      for (int t = 0; t < count; ++t) {
        sum += weight[t] * line[first + t];
      }
      rows_[to_size(row) * output_ + o] = sum;
    }
  }
  std::fill(out, out + to_size(output_) * output_, 0.0F);
  for (int o = 0; o < output_; ++o) {
    const auto [first, count] = windows_[o];
    float* line = out + to_size(o) * output_;
    for (int t = 0; t < count; ++t) {
      const float weight = weights_[to_size(o) * taps_ + t];
      const float* row = &rows_[to_size(first + t) * output_];
      for (int w = 0; w < output_; ++w) {
        line[w] += weight * row[w];
      }
    }
  }
}

}  // namespace voxot
