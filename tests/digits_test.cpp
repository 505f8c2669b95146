// Procedural digits: pure, endless, disjoint, varied, and told apart by their shape.
#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <cmath>
#include <limits>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "datasets/digit_glyphs.h"
#include "datasets/digits.h"
#include "kernels/check.h"
#include "kernels/sizes.h"

using namespace voxot;

namespace {

constexpr int kPixels = kImageSize * kImageSize;
using Image = std::array<float, kPixels>;

Image digit(Split split, std::int64_t index) {
  Image image;
  image.fill(std::nanf(""));
  draw_digit(split, index, image.data());
  return image;
}

float squared_distance(const Image& a, const Image& b) {
  float sum = 0.0F;
  for (int i = 0; i < kPixels; ++i) {
    sum += (a[i] - b[i]) * (a[i] - b[i]);
  }
  return sum;
}

}  // namespace

TEST_CASE("a digit is a pure function of split and index", "[digits]") {
  for (const std::int64_t index : {std::int64_t{0}, std::int64_t{123456789}, kDigitItems - 1}) {
    const Image once = digit(Split::train, index);
    digit(Split::test, index + (index == 0 ? 1 : -1));
    CHECK((once == digit(Split::train, index)));
    CHECK((once != digit(Split::validation, index)));
    CHECK((once != digit(Split::test, index)));
    const auto source = open_digits(Split::train, {});
    Image rendered;
    source->render(index, rendered.data());
    CHECK((rendered == once));
  }
  Image image;
  CHECK_THROWS_AS(draw_digit(Split::train, -1, image.data()), Error);
  CHECK_THROWS_AS(draw_digit(Split::train, kDigitItems, image.data()), Error);
}

TEST_CASE("no two of many digits are alike, within or across splits", "[digits]") {
  std::set<std::string> seen;
  for (const Split split : {Split::train, Split::validation, Split::test}) {
    for (std::int64_t i = 0; i < 700; ++i) {
      const std::int64_t index = i < 350 ? i : kDigitItems - 1 - i;
      const Image image = digit(split, index);
      seen.emplace(reinterpret_cast<const char*>(image.data()), sizeof(image));
    }
  }
  CHECK(seen.size() == 2100);
}

TEST_CASE("ink is in [0, 1], clear of the border, dark enough and of a digit's amount", "[digits]") {
  for (std::int64_t index = 0; index < 3000; ++index) {
    const Image image = digit(Split::train, index);
    const auto [low, high] = std::minmax_element(image.begin(), image.end());
    REQUIRE(*low >= 0.0F);  // fails for a pixel never written, too
    REQUIRE(*high <= 1.0F);
    REQUIRE(*high > 0.7F);
    float ink = 0.0F;
    float border = 0.0F;
    for (int y = 0; y < kImageSize; ++y) {
      for (int x = 0; x < kImageSize; ++x) {
        ink += image[y * kImageSize + x];
        const bool edge = x == 0 || y == 0 || x == kImageSize - 1 || y == kImageSize - 1;
        border += edge ? image[y * kImageSize + x] : 0.0F;
      }
    }
    CAPTURE(index);
    REQUIRE(ink > 20.0F);
    REQUIRE(ink < 260.0F);
    REQUIRE(border < 0.01F * ink);
  }
}

TEST_CASE("a source draws its classes evenly and without end", "[digits]") {
  const auto source = open_digits(Split::test, {3, 5, 3});
  CHECK(source->size() == -1);
  Random random(5, Purpose::test);
  std::set<std::int64_t> indices;
  int threes = 0;
  for (int i = 0; i < 2000; ++i) {
    const ImageSource::Item item = source->pick({}, i, random);
    REQUIRE((item.digit == 3 || item.digit == 5));
    REQUIRE(digit_of_item(item.index) == item.digit);
    REQUIRE((item.index >= 0 && item.index < kDigitItems));
    indices.insert(item.index);
    threes += item.digit == 3 ? 1 : 0;
  }
  CHECK(indices.size() > 1990);
  CHECK(std::abs(threes - 1000) < 110);  // five standard deviations; a doubled class would be off by 333
}

TEST_CASE("classes are distinct: held-out digits lie nearest to their own kind", "[digits]") {
  constexpr int kPerClass = 150;
  std::vector<Image> known;
  for (std::int64_t i = 0; i < 10 * kPerClass; ++i) {
    known.push_back(digit(Split::train, i));
  }
  int right = 0;
  constexpr int kHeldOut = 400;
  for (std::int64_t i = 0; i < kHeldOut; ++i) {
    const Image image = digit(Split::test, i);
    int nearest = -1;
    float least = std::numeric_limits<float>::max();
    for (std::size_t k = 0; k < known.size(); ++k) {
      const float distance = squared_distance(image, known[k]);
      if (distance < least) {
        least = distance;
        nearest = static_cast<int>(k % 10);
      }
    }
    right += nearest == i % 10 ? 1 : 0;
  }
  // A convolutional network reaches 0.99; one nearest neighbour among so few does less.
  CHECK(right >= 0.93 * kHeldOut);
}

TEST_CASE("classes vary: two digits of a class differ, and no glyph is left out", "[digits]") {
  for (int value = 0; value < 10; ++value) {
    float closest = std::numeric_limits<float>::max();
    const Image first = digit(Split::train, value);
    for (std::int64_t i = 1; i < 100; ++i) {
      closest = std::min(closest, squared_distance(first, digit(Split::train, 10 * i + value)));
    }
    CAPTURE(value);
    CHECK(closest > 1.0F);
    float share = 0.0F;
    for (const Glyph& glyph : digit_glyphs()) {
      CHECK(glyph.knots.size() <= to_size(kMaxKnots));
      CHECK(glyph.knots[0].kind == KnotKind::start);
      share += glyph.digit == value ? glyph.share : 0.0F;
    }
    CHECK(share == Approx(1.0F));
  }
}
