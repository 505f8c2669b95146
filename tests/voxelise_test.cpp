// From image to coloured volume: resize, rotation, hues.
#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <cmath>
#include <numeric>
#include <string>
#include <vector>

#include "datasets/colour.h"
#include "datasets/dataset.h"
#include "datasets/voxelise.h"
#include "kernels/check.h"
#include "kernels/volume_sample.h"
#include "tests/dataset_helpers.h"

using namespace voxot;
using namespace voxot::test;

namespace {

double mass(const std::vector<float>& density) {
  return std::accumulate(density.begin(), density.end(), 0.0);
}

/// A smooth blob off the centre of an n³ volume, zero near the faces.
std::vector<float> blob(int n) {
  std::vector<float> volume(n * n * n);
  for (int d = 0; d < n; ++d) {
    for (int h = 0; h < n; ++h) {
      for (int w = 0; w < n; ++w) {
        const double squared =
            std::pow(d - 0.40 * n, 2) + std::pow(h - 0.55 * n, 2) * 2 + std::pow(w - 0.50 * n, 2);
        volume[(d * n + h) * n + w] = static_cast<float>(std::exp(-squared / (0.015 * n * n)));
      }
    }
  }
  return volume;
}

/// An n³ volume rotated.
std::vector<float> rotated(const std::vector<float>& volume, int n, const Rotation& rotation) {
  const Density density{volume.data(), std::int64_t{n} * n, {n, n, n}, 0, n};
  std::vector<float> out;
  for (int i = 0; i < n * n * n; ++i) {
    out.push_back(density.rotated(rotation, i / (n * n), i / n % n, i % n));
  }
  return out;
}

}  // namespace

TEST_CASE("resize agrees with Pillow's antialiased bilinear filter", "[datasets]") {
  std::array<float, 49> image{};
  for (int i = 0; i < 7; ++i) {
    for (int j = 0; j < 7; ++j) {
      image[i * 7 + j] = static_cast<float>((7 * i + 3 * j) % 10) / 10.0F;
    }
  }
  // Image.fromarray(image, mode="F").resize((n, n), Image.BILINEAR), Pillow 13.0.0.
  const std::array<float, 16> smaller{
      0.26984128F, 0.47638097F, 0.55600000F, 0.52879816F, 0.41314286F, 0.30560002F, 0.51200002F, 0.55600000F,
      0.44400001F, 0.40959999F, 0.30560002F, 0.47638094F, 0.47120184F, 0.44400001F, 0.41314283F, 0.26984126F};
  std::array<float, 16> out{};
  ImageResizer(7, 4).resize(image.data(), out.data());
  for (int i = 0; i < 16; ++i) {
    CAPTURE(i);
    CHECK(out[i] == Approx(smaller[i]).margin(1e-6));  // fp32 rounding of a few sums
  }
  const std::array<float, 9> second_row{0.46666667F, 0.22222222F, 0.23333333F, 0.46666667F, 0.69999999F,
                                        0.67407405F, 0.46296296F, 0.40000001F, 0.60000002F};
  std::array<float, 81> larger{};
  ImageResizer(7, 9).resize(image.data(), larger.data());
  for (int i = 0; i < 9; ++i) {
    CAPTURE(i);
    CHECK(larger[9 + i] == Approx(second_row[i]).margin(1e-6));
  }
  std::array<float, 49> same{};
  ImageResizer(7, 7).resize(image.data(), same.data());
  CHECK(same == image);
}

TEST_CASE("resize keeps a constant image constant at every size", "[datasets]") {
  const std::vector<float> constant(28 * 28, 0.625F);
  for (const int size : {1, 5, 16, 27, 28, 32, 57}) {
    std::vector<float> out(size * size);
    ImageResizer(28, size).resize(constant.data(), out.data());
    const auto [low, high] = std::minmax_element(out.begin(), out.end());
    CAPTURE(size);
    CHECK(*low == Approx(0.625).margin(1e-5));
    CHECK(*high == Approx(0.625).margin(1e-5));
  }
  CHECK_THROWS_AS(ImageResizer(28, 0), UsageError);
}

TEST_CASE("rotation by 0, 90 and 360 degrees matches index arithmetic", "[datasets]") {
  const int n = GENERATE(7, 8);
  std::vector<float> volume(n * n * n);
  Random random(3, Purpose::test);
  std::generate(volume.begin(), volume.end(), [&] { return random.uniform(); });
  const auto at = [n](const std::vector<float>& v, int d, int h, int w) { return v[(d * n + h) * n + w]; };
  const double tolerance = 1e-5;  // positions are rounded to fp32 around n
  for (int axis = 0; axis < 3; ++axis) {
    for (const double turns : {0.0, 360.0}) {
      const std::vector<float> out = rotated(volume, n, rotation_about(axis, turns));
      double worst = 0.0;
      for (std::size_t i = 0; i < out.size(); ++i) {
        worst = std::max(worst, std::fabs(double{out[i]} - volume[i]));
      }
      CHECK(worst < tolerance);
    }
    const std::vector<float> out = rotated(volume, n, rotation_about(axis, 90.0));
    double worst = 0.0;
    for (int d = 0; d < n; ++d) {
      for (int h = 0; h < n; ++h) {
        for (int w = 0; w < n; ++w) {
          // About D, for one: H turns towards W, so (h, w) comes from (w, n − 1 − h).
          const float from = axis == 0   ? at(volume, d, w, n - 1 - h)
                             : axis == 1 ? at(volume, n - 1 - w, h, d)
                                         : at(volume, h, n - 1 - d, w);
          worst = std::max(worst, std::fabs(double{at(out, d, h, w)} - from));
        }
      }
    }
    CAPTURE(axis);
    CHECK(worst < tolerance);
  }
}

TEST_CASE("rotation keeps mass and moves the centre of mass where it should", "[datasets]") {
  constexpr int n = 16;
  const std::vector<float> volume = blob(n);
  const auto centre = [](const std::vector<float>& v) {
    std::array<double, 3> sum{};
    for (int i = 0; i < n * n * n; ++i) {
      sum[0] += v[i] * (i / (n * n) - 7.5);
      sum[1] += v[i] * (i / n % n - 7.5);
      sum[2] += v[i] * (i % n - 7.5);
    }
    const double total = mass(v);
    return std::array{sum[0] / total, sum[1] / total, sum[2] / total};
  };
  const std::array<double, 3> before = centre(volume);
  const Rotation rotation =
      compose(rotation_about(2, 73.0), compose(rotation_about(1, -31.0), rotation_about(0, 12.0)));
  const std::vector<float> out = rotated(volume, n, rotation);
  CHECK(mass(out) == Approx(mass(volume)).epsilon(0.02));  // trilinear sums of a smooth blob
  const std::array<double, 3> after = centre(out);
  for (int i = 0; i < 3; ++i) {
    const double expected =
        rotation[3 * i] * before[0] + rotation[3 * i + 1] * before[1] + rotation[3 * i + 2] * before[2];
    CHECK(after[i] == Approx(expected).margin(0.05));
  }
  CHECK(std::fabs(after[0] - before[0]) > 0.2);  // it did move
}

TEST_CASE("hues become colours and come back", "[datasets]") {
  CHECK(rgb_of_hue(0) == std::array<float, 3>{1, 0, 0});
  CHECK(rgb_of_hue(60) == std::array<float, 3>{1, 1, 0});
  CHECK(rgb_of_hue(120) == std::array<float, 3>{0, 1, 0});
  CHECK(rgb_of_hue(180) == std::array<float, 3>{0, 1, 1});
  CHECK(rgb_of_hue(240) == std::array<float, 3>{0, 0, 1});
  CHECK(rgb_of_hue(300) == std::array<float, 3>{1, 0, 1});
  for (float hue = 0.0F; hue < 360.0F; hue += 7.3F) {
    CHECK(hue_distance(hue_of_rgb(rgb_of_hue(hue)), hue) < 1e-3F);
  }
  CHECK(hue_of_rgb({0.5F, 0.5F, 0.5F}) == -1.0F);
  CHECK(hue_of_rgb({0, 0, 0}) == -1.0F);
  const std::vector<NamedHue>& four = colour_palette("four");
  REQUIRE(four.size() == 4);
  CHECK(std::string(four[nearest_colour(four, 350)].name) == "red");
  CHECK(std::string(four[nearest_colour(four, 75)].name) == "yellow");
  CHECK(std::string(four[nearest_colour(four, 130)].name) == "green");
  CHECK(nearest_colour(four, -1) == -1);
  CHECK(nearest_colour(colour_palette("none"), 10) == -1);
  CHECK(colour_palette("six").size() == 6);
}

TEST_CASE("an empty, a grey and a hazy volume have the hue they should", "[datasets]") {
  std::vector<float> sample(3 * 100, -1.0F);
  CHECK(dominant_hue(sample.data(), 100) == -1.0F);
  std::fill(sample.begin(), sample.begin() + 30, 0.7F);
  CHECK(dominant_hue(sample.data(), 100) == -1.0F);
  std::fill(sample.begin(), sample.end(), -1.0F);
  for (int v = 0; v < 100; ++v) {
    sample[3 * v + 2] = v < 10 ? 1.0F : -1.0F;  // ten bright blue voxels
    sample[3 * v] = v < 10 ? -1.0F : -0.7F;     // a faint red haze around them
  }
  CHECK(hue_distance(dominant_hue(sample.data(), 100), 240.0F) < 1.0F);
}
