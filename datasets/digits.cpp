// A digit is drawn in four steps: jitter the knots of a glyph and bend them to a hand (warp, aspect, slant,
// turn); flatten the curves to short segments; fit them to MNIST's 20×20 box; stamp each segment as a capsule
// whose radius varies along the stroke, then soften and roughen the ink.
#include "datasets/digits.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <span>
#include <utility>

#include "datasets/digit_glyphs.h"
#include "engine/streams.h"
#include "kernels/check.h"

namespace voxot {
namespace {

constexpr int kSubdivisions = 6;  // segments per span between two knots
constexpr int kMaxPoints = kMaxKnots * kSubdivisions + 1;
constexpr float kBox = 20.0F;
constexpr float kTwoPi = 6.2831853F;

struct Point {
  float x;
  float y;
};

/// Flattened strokes: `joined[i]` tells whether a segment runs from point i − 1 to point i.
struct Path {
  int count = 0;
  std::array<Point, kMaxPoints> points;
  std::array<bool, kMaxPoints> joined;

  void add(Point p, bool join) {
    points[count] = p;
    joined[count++] = join;
  }
};

/// A normal number cut off at ± two standard deviations: a hand has habits, not outliers.
float habit(Random& random, float deviation) { return deviation * std::clamp(random.normal(), -2.0F, 2.0F); }

const Glyph& choose_glyph(int digit, Random& random) {
  float left = random.uniform();
  std::size_t chosen = 0;
  const std::span<const Glyph> glyphs = digit_glyphs();
  for (std::size_t i = 0; i < glyphs.size() && left >= 0.0F; ++i) {
    if (glyphs[i].digit == digit) {
      chosen = i;
      left -= glyphs[i].share;
    }
  }
  return glyphs[chosen];
}

/// The glyph's knots as this hand would place them.
std::array<Point, kMaxKnots> place_knots(const Glyph& glyph, Random& random) {
  const float care = random.uniform(0.012F, 0.032F);
  const float aspect = random.uniform(0.78F, 1.25F);
  const float slant = habit(random, 0.16F) + 0.06F;
  const float turn = habit(random, 0.07F);
  const float cosine = std::cos(turn);
  const float sine = std::sin(turn);
  const float bend_x = habit(random, 0.03F);
  const float bend_y = habit(random, 0.03F);
  const float phase_x = random.uniform(0.0F, kTwoPi);
  const float phase_y = random.uniform(0.0F, kTwoPi);
  // Where a digit's waist sits: y → y + waist·y·(1 − y) keeps both ends in place.
  const float waist = habit(random, 0.12F);

  std::array<Point, kMaxKnots> placed;
  for (std::size_t i = 0; i < glyph.knots.size(); ++i) {
    const float u = glyph.knots[i].x + habit(random, care);
    const float v = glyph.knots[i].y + habit(random, care);
    const float x = aspect * (u - 0.33F + bend_x * std::sin(4.5F * v + phase_x));
    const float y = v - 0.5F + waist * v * (1.0F - v) + bend_y * std::sin(4.5F * u + phase_y);
    const float leaning = x - slant * y;
    placed[i] = {cosine * leaning - sine * y, sine * leaning + cosine * y};
  }
  return placed;
}

/// Catmull-Rom curves through the knots, tangents broken at starts and corners.
void flatten(const Glyph& glyph, const std::array<Point, kMaxKnots>& knots, Path& path) {
  const int count = static_cast<int>(glyph.knots.size());
  const auto smooth = [&](int i) {
    return i > 0 && i + 1 < count && glyph.knots[i].kind == KnotKind::smooth &&
           glyph.knots[i + 1].kind != KnotKind::start;
  };
  for (int i = 0; i < count; ++i) {
    if (glyph.knots[i].kind == KnotKind::start) {
      path.add(knots[i], false);
      continue;
    }
    const Point a = knots[i - 1];
    const Point b = knots[i];
    const Point before = smooth(i - 1) ? knots[i - 2] : a;
    const Point after = smooth(i) ? knots[i + 1] : b;
    const auto curve = [](float p, float q, float r, float s, float t) {
      return q + 0.5F * t * (r - p + t * (2.0F * p - 5.0F * q + 4.0F * r - s + t * (3.0F * (q - r) + s - p)));
    };
    for (int k = 1; k <= kSubdivisions; ++k) {
      const float t = static_cast<float>(k) / kSubdivisions;
      path.add({curve(before.x, a.x, b.x, after.x, t), curve(before.y, a.y, b.y, after.y, t)}, true);
    }
  }
}

/// Scales the path so that the ink fits the box and puts its centre of mass near the image's centre.
void fit(Path& path, float radius, Random& random) {
  Point low{std::numeric_limits<float>::max(), std::numeric_limits<float>::max()};
  Point high{std::numeric_limits<float>::lowest(), std::numeric_limits<float>::lowest()};
  Point mass{0.0F, 0.0F};
  float total = 0.0F;
  for (int i = 0; i < path.count; ++i) {
    const Point p = path.points[i];
    low = {std::min(low.x, p.x), std::min(low.y, p.y)};
    high = {std::max(high.x, p.x), std::max(high.y, p.y)};
    if (path.joined[i]) {
      const Point q = path.points[i - 1];
      const float length = std::hypot(p.x - q.x, p.y - q.y);
      mass.x += length * 0.5F * (p.x + q.x);
      mass.y += length * 0.5F * (p.y + q.y);
      total += length;
    }
  }
  const float extent = std::max(high.x - low.x, high.y - low.y);
  const float scale = random.uniform(0.86F, 1.04F) * (kBox - 2.0F * radius) / extent;
  const float margin = radius + 1.0F;
  const auto origin = [&](float centre, float least, float most) {
    const float wanted = 0.5F * (kImageSize - 1) + habit(random, 0.6F) - scale * centre;
    return std::clamp(wanted, margin - scale * least, kImageSize - 1.0F - margin - scale * most);
  };
  const float x0 = origin(mass.x / total, low.x, high.x);
  const float y0 = origin(mass.y / total, low.y, high.y);
  for (int i = 0; i < path.count; ++i) {
    path.points[i] = {x0 + scale * path.points[i].x, y0 + scale * path.points[i].y};
  }
}

/// Adds one capsule by maximum: full ink inside `radius`, none beyond half a softness outside it.
void stamp(Point a, Point b, float radius, float softness, float* image) {
  const float reach = radius + 0.5F * softness;
  const int left = std::max(0, static_cast<int>(std::ceil(std::min(a.x, b.x) - reach)));
  const int right = std::min(kImageSize - 1, static_cast<int>(std::max(a.x, b.x) + reach));
  const int top = std::max(0, static_cast<int>(std::ceil(std::min(a.y, b.y) - reach)));
  const int bottom = std::min(kImageSize - 1, static_cast<int>(std::max(a.y, b.y) + reach));
  const float dx = b.x - a.x;
  const float dy = b.y - a.y;
  const float inverse = 1.0F / std::max(dx * dx + dy * dy, 1e-6F);
  for (int y = top; y <= bottom; ++y) {
    for (int x = left; x <= right; ++x) {
      const float px = static_cast<float>(x) - a.x;
      const float py = static_cast<float>(y) - a.y;
      const float t = std::clamp((px * dx + py * dy) * inverse, 0.0F, 1.0F);
      const float ex = px - t * dx;
      const float ey = py - t * dy;
      const float distance = std::sqrt(ex * ex + ey * ey);
      const float ink = std::clamp((reach - distance) / softness, 0.0F, 1.0F);
      float& pixel = image[y * kImageSize + x];
      pixel = std::max(pixel, ink);
    }
  }
}

/// A 3×3 blur mixed in by `blur`, then paper grain on the ink.
void finish(float blur, float grain, Random& random, float* image) {
  std::array<float, kImageSize * kImageSize> sharp;
  std::copy(image, image + sharp.size(), sharp.begin());
  for (int y = 1; y + 1 < kImageSize; ++y) {
    for (int x = 1; x + 1 < kImageSize; ++x) {
      const float* p = &sharp[y * kImageSize + x];
      const float sides = p[-1] + p[1] + p[-kImageSize] + p[kImageSize];
      const float corners = p[-kImageSize - 1] + p[-kImageSize + 1] + p[kImageSize - 1] + p[kImageSize + 1];
      const float smooth = 0.25F * p[0] + 0.125F * sides + 0.0625F * corners;
      float& pixel = image[y * kImageSize + x];
      pixel += blur * (smooth - pixel);
      if (pixel > 0.0F) {
        pixel *= 1.0F - grain * random.uniform();
      }
    }
  }
}

class DigitSource final : public ImageSource {
 public:
  DigitSource(Split split, std::vector<int> classes) : split_(split), classes_(std::move(classes)) {
    if (classes_.empty()) {
      classes_ = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
    }
    std::sort(classes_.begin(), classes_.end());
    classes_.erase(std::unique(classes_.begin(), classes_.end()), classes_.end());
  }
  [[nodiscard]] std::int64_t size() const override { return -1; }
  Item pick(const SampleDraw&, std::int64_t, Random& random) const override {
    const int digit = classes_[random.below(classes_.size())];
    return {static_cast<std::int64_t>(random.below(kDigitItems / 10)) * 10 + digit, digit};
  }
  void render(std::int64_t index, float* image) const override { draw_digit(split_, index, image); }

 private:
  Split split_;
  std::vector<int> classes_;
};

}  // namespace

int digit_of_item(std::int64_t index) { return static_cast<int>(index % 10); }

void draw_digit(Split split, std::int64_t index, float* image) {
  VOXOT_CHECK(index >= 0 && index < kDigitItems, "digits: index must be in [0, {}), got {}", kDigitItems,
              index);
  const std::uint64_t counter = (static_cast<std::uint64_t>(split) << 32) | static_cast<std::uint64_t>(index);
  Random random(kDigitSeed, Purpose::synthesis, counter);
  const Glyph& glyph = choose_glyph(digit_of_item(index), random);
  Path path;
  flatten(glyph, place_knots(glyph, random), path);

  const float radius = random.uniform(0.9F, 1.7F);
  const float softness = random.uniform(1.0F, 1.5F);
  const float swell = random.uniform(0.0F, 0.22F);  // pressure comes and goes along the stroke
  const float phase = random.uniform(0.0F, kTwoPi);
  fit(path, radius, random);
  std::fill(image, image + kImageSize * kImageSize, 0.0F);
  for (int i = 1; i < path.count; ++i) {
    if (path.joined[i]) {
      const float pressure = 1.0F + swell * std::sin(phase + 0.15F * static_cast<float>(i));
      stamp(path.points[i - 1], path.points[i], radius * pressure, softness, image);
    }
  }
  const float blur = random.uniform(0.0F, 0.5F);
  const float grain = random.uniform(0.0F, 0.12F);
  finish(blur, grain, random, image);
}

std::unique_ptr<ImageSource> open_digits(Split split, const std::vector<int>& classes) {
  return std::make_unique<DigitSource>(split, classes);
}

}  // namespace voxot
