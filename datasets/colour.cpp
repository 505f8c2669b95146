#include "datasets/colour.h"

#include <algorithm>
#include <cmath>

#include "datasets/dataset.h"
#include "kernels/check.h"

namespace voxot {
namespace {

constexpr float kLeastSaturation = 0.05F;
// A voxel counts as occupied above this brightness; networks leave a faint haze in empty space.
constexpr float kOccupied = 0.2F;

float unit(float value) { return std::clamp(0.5F * (value + 1.0F), 0.0F, 1.0F); }

}  // namespace

float hue_of_rgb(const std::array<float, 3>& rgb) {
  const auto [r, g, b] = rgb;
  const float high = std::max({r, g, b});
  const float chroma = high - std::min({r, g, b});
  if (!(high > 0.0F) || chroma <= kLeastSaturation * high) {
    return -1.0F;
  }
  float sixth = 0.0F;
  if (high == r) {
    sixth = (g - b) / chroma;
  } else if (high == g) {
    sixth = (b - r) / chroma + 2.0F;
  } else {
    sixth = (r - g) / chroma + 4.0F;
  }
  const float hue = 60.0F * sixth;
  const float positive = hue < 0.0F ? hue + 360.0F : hue;
  return positive < 360.0F ? positive : 0.0F;  // a tiny negative hue rounds up to 360
}

const std::vector<NamedHue>& colour_palette(const std::string& scheme) {
  static const std::vector<NamedHue> none;
  static const std::vector<NamedHue> four{{"red", 0}, {"green", 120}, {"blue", 240}, {"yellow", 60}};
  static const std::vector<NamedHue> six{{"red", 0},     {"green", 120}, {"blue", 240},
                                         {"yellow", 60}, {"cyan", 180},  {"magenta", 300}};
  if (scheme == "none") {
    return none;
  }
  if (scheme == "four") {
    return four;
  }
  if (scheme == "six" || scheme == "uniform") {
    return six;
  }
  fail_usage("colour: expected none, four, six or uniform, got \"{}\"", scheme);
}

float dominant_hue(const float* sample, std::int64_t voxels) {
  std::array<double, 3> sum{};
  for (std::int64_t v = 0; v < voxels; ++v) {
    const std::array<float, 3> rgb{unit(sample[3 * v]), unit(sample[3 * v + 1]), unit(sample[3 * v + 2])};
    const float brightness = std::max({rgb[0], rgb[1], rgb[2]});
    if (brightness > kOccupied) {
      for (int c = 0; c < 3; ++c) {
        sum[c] += double{brightness} * rgb[c];
      }
    }
  }
  return hue_of_rgb({static_cast<float>(sum[0]), static_cast<float>(sum[1]), static_cast<float>(sum[2])});
}

int nearest_colour(const std::vector<NamedHue>& palette, float hue) {
  if (!(hue >= 0.0F)) {
    return -1;
  }
  int nearest = -1;
  float least = 361.0F;
  for (std::size_t i = 0; i < palette.size(); ++i) {
    const float apart = std::fabs(std::fmod(hue, 360.0F) - palette[i].hue);
    const float distance = std::min(apart, 360.0F - apart);
    if (distance < least) {
      least = distance;
      nearest = static_cast<int>(i);
    }
  }
  return nearest;
}

}  // namespace voxot
