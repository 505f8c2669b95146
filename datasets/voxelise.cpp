#include "datasets/voxelise.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/check.h"

namespace voxot {

ImageResizer::ImageResizer(int input_size, int output_size) : input_(input_size), output_(output_size) {
  if (input_size < 1 || output_size < 1) {
    fail_usage("resize: sizes must be at least 1, got {} to {}", input_size, output_size);
  }
  const double scale = static_cast<double>(input_) / output_;
  const double support = std::max(1.0, scale);
  taps_ = 2 * static_cast<int>(std::ceil(support)) + 1;
  weights_.assign(static_cast<std::size_t>(output_) * taps_, 0.0F);
  rows_.resize(static_cast<std::size_t>(input_) * output_);
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
      weights_[static_cast<std::size_t>(o) * taps_ + (i - first)] = static_cast<float>(weight(i) / sum);
    }
    windows_.push_back({first, last - first});
  }
}

void ImageResizer::resize(const float* image, float* out) {
  for (int row = 0; row < input_; ++row) {
    const float* line = image + static_cast<std::size_t>(row) * input_;
    for (int o = 0; o < output_; ++o) {
      const auto [first, count] = windows_[o];
      const float* weight = &weights_[static_cast<std::size_t>(o) * taps_];
      float sum = 0.0F;
      for (int t = 0; t < count; ++t) {
        sum += weight[t] * line[first + t];
      }
      rows_[static_cast<std::size_t>(row) * output_ + o] = sum;
    }
  }
  std::fill(out, out + static_cast<std::size_t>(output_) * output_, 0.0F);
  for (int o = 0; o < output_; ++o) {
    const auto [first, count] = windows_[o];
    float* line = out + static_cast<std::size_t>(o) * output_;
    for (int t = 0; t < count; ++t) {
      const float weight = weights_[static_cast<std::size_t>(o) * taps_ + t];
      const float* row = &rows_[static_cast<std::size_t>(first + t) * output_];
      for (int w = 0; w < output_; ++w) {
        line[w] += weight * row[w];
      }
    }
  }
}

Rotation rotation_about(int axis, double degrees) {
  VOXOT_CHECK(axis >= 0 && axis < 3, "rotation_about: axis must be 0, 1 or 2, got {}", axis);
  const double radians = degrees * (3.14159265358979323846 / 180.0);
  const auto cosine = static_cast<float>(std::cos(radians));
  const auto sine = static_cast<float>(std::sin(radians));
  const int from = (axis + 1) % 3;
  const int to = (axis + 2) % 3;
  Rotation r{};
  r[axis * 3 + axis] = 1.0F;
  r[from * 3 + from] = cosine;
  r[to * 3 + to] = cosine;
  r[from * 3 + to] = -sine;
  r[to * 3 + from] = sine;
  return r;
}

Rotation compose(const Rotation& a, const Rotation& b) {
  Rotation product{};
  for (int i = 0; i < 3; ++i) {
    for (int j = 0; j < 3; ++j) {
      for (int k = 0; k < 3; ++k) {
        product[i * 3 + j] += a[i * 3 + k] * b[k * 3 + j];
      }
    }
  }
  return product;
}

namespace {

/// Trilinear value at a fractional position, zero outside the volume.
float sample_volume(const float* in, std::array<int, 3> extent, float d, float h, float w) {
  const auto [depth, height, width] = extent;
  if (!(d > -1.0F && h > -1.0F && w > -1.0F && d < static_cast<float>(depth) &&
        h < static_cast<float>(height) && w < static_cast<float>(width))) {
    return 0.0F;
  }
  // +1 before truncation makes it a floor, for every position is above -1.
  const int d0 = static_cast<int>(d + 1.0F) - 1;
  const int h0 = static_cast<int>(h + 1.0F) - 1;
  const int w0 = static_cast<int>(w + 1.0F) - 1;
  const std::array<float, 2> wd{1.0F - (d - d0), d - d0};
  const std::array<float, 2> wh{1.0F - (h - h0), h - h0};
  const std::array<float, 2> ww{1.0F - (w - w0), w - w0};
  float sum = 0.0F;
  for (int i = 0; i < 2; ++i) {
    for (int j = 0; j < 2; ++j) {
      for (int k = 0; k < 2; ++k) {
        const bool inside =
            d0 + i >= 0 && d0 + i < depth && h0 + j >= 0 && h0 + j < height && w0 + k >= 0 && w0 + k < width;
        if (inside) {
          const auto offset = (static_cast<std::size_t>(d0 + i) * height + (h0 + j)) * width + (w0 + k);
          sum += wd[i] * wh[j] * ww[k] * in[offset];
        }
      }
    }
  }
  return sum;
}

}  // namespace

void rotate_volume(const float* in, std::array<int, 3> extent, const Rotation& r, float* out) {
  const auto [depth, height, width] = extent;
  const float cd = 0.5F * static_cast<float>(depth - 1);
  const float ch = 0.5F * static_cast<float>(height - 1);
  const float cw = 0.5F * static_cast<float>(width - 1);
  // An output voxel looks up where it came from: the inverse rotation is the transpose.
  for (int d = 0; d < depth; ++d) {
    for (int h = 0; h < height; ++h) {
      const float y = static_cast<float>(d) - cd;
      const float x = static_cast<float>(h) - ch;
      const float base_d = r[0] * y + r[3] * x + cd;
      const float base_h = r[1] * y + r[4] * x + ch;
      const float base_w = r[2] * y + r[5] * x + cw;
      float* line = out + (static_cast<std::size_t>(d) * height + h) * width;
      for (int w = 0; w < width; ++w) {
        const float z = static_cast<float>(w) - cw;
        line[w] = sample_volume(in, extent, base_d + r[6] * z, base_h + r[7] * z, base_w + r[8] * z);
      }
    }
  }
}

void colour_density(const float* density, std::int64_t count, const std::array<float, 3>& rgb, float* out) {
  for (std::int64_t i = 0; i < count; ++i) {
    const float twice = 2.0F * std::clamp(density[i], 0.0F, 1.0F);
    out[3 * i] = twice * rgb[0] - 1.0F;
    out[3 * i + 1] = twice * rgb[1] - 1.0F;
    out[3 * i + 2] = twice * rgb[2] - 1.0F;
  }
}

void scale_density(const float* density, std::int64_t count, float* out) {
  for (std::int64_t i = 0; i < count; ++i) {
    out[i] = 2.0F * std::clamp(density[i], 0.0F, 1.0F) - 1.0F;
  }
}

}  // namespace voxot
