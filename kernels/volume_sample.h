#pragma once
// One sample made of an image: which random numbers it reads and in what order, and the value of each of its
// voxels. The functions are those of host and device. Products that are added to something say std::fma, so
// that there is one rounding, whatever the compiler makes of a product and a sum: devices agree in every bit
// but where their sine or cosine in double differs by more than fp32 resolves.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>

#include "kernels/permutation.h"
#include "kernels/philox.h"

namespace voxot {

/// A rotation of (d, h, w) column vectors, row-major.
using Rotation = std::array<float, 9>;

/// About which axes a sample turns: none; D, as a flat image in its plane; H, as on a turntable; all three.
enum class Turn : std::uint8_t { none, in_plane, turntable, free };
/// What gives a sample its hue: nothing (one channel), one of a palette, a uniform draw from the circle.
enum class Hues : std::uint8_t { none, palette, uniform };

/// What samples are made of images: arrays are ordered D, H, W.
struct VolumeParams {
  static constexpr int kMostHues = 8;

  std::array<int, 3> extent{1, 1, 1};
  std::array<int, 2> extrude{0, 1};  // slices [first, last) that hold the image
  /// Rows and columns of images that turn at their own resolution and are voxelised after; 0: images have the
  /// volume's, and turn in its voxels.
  int fine = 0;
  Turn turn = Turn::none;
  double degrees = 0;  // angles are uniform in ± this
  Hues hues = Hues::none;
  int palette_size = 0;
  std::array<float, kMostHues> palette{};  // hues in degrees

  [[nodiscard]] VOXOT_HOST_DEVICE std::int64_t area() const { return std::int64_t{extent[1]} * extent[2]; }
  /// Rows, columns and values of an image.
  [[nodiscard]] VOXOT_HOST_DEVICE int image_height() const { return fine > 0 ? fine : extent[1]; }
  [[nodiscard]] VOXOT_HOST_DEVICE int image_width() const { return fine > 0 ? fine : extent[2]; }
  [[nodiscard]] VOXOT_HOST_DEVICE std::int64_t image_area() const {
    return std::int64_t{image_height()} * image_width();
  }
  [[nodiscard]] VOXOT_HOST_DEVICE std::int64_t voxels() const { return extent[0] * area(); }
  [[nodiscard]] VOXOT_HOST_DEVICE int channels() const { return hues == Hues::none ? 1 : 3; }
  /// Throws Error for extents below 1, slices outside the volume, palettes that do not fit, and fine images
  /// of volumes that are not square or do not turn.
  void validate() const;
};

/// What was drawn for one sample.
struct VolumeSample {
  std::int64_t item = 0;
  int colour = -1;                    // index into the palette, -1 where the hue is of none
  float hue = -1;                     // degrees in [0, 360), -1 without colour
  std::array<float, 3> rgb{1, 1, 1};  // the hue's; grey has the first channel only
  Rotation rotation{1, 0, 0, 0, 1, 0, 0, 0, 1};
};

/// Right-handed rotation about one axis (0 = D, 1 = H, 2 = W) by an angle in degrees: with positive angle the
/// axes turn D→H→W→D, that is axis 0 takes H towards W, axis 1 takes W towards D, axis 2 takes D towards H.
VOXOT_HOST_DEVICE inline Rotation rotation_about(int axis, double degrees) {
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

/// a·b: b is applied first.
VOXOT_HOST_DEVICE inline Rotation compose(const Rotation& a, const Rotation& b) {
  Rotation product{};
  for (int i = 0; i < 3; ++i) {
    for (int j = 0; j < 3; ++j) {
      float sum = 0;
      for (int k = 0; k < 3; ++k) sum = std::fma(a[i * 3 + k], b[k * 3 + j], sum);
      product[i * 3 + j] = sum;
    }
  }
  return product;
}

/// Red, green, blue in [0, 1] of a hue in degrees, at full saturation and value (HSV with S = V = 1).
/// Any finite hue is taken modulo 360.
VOXOT_HOST_DEVICE inline std::array<float, 3> rgb_of_hue(float hue) {
  std::array<float, 3> rgb{5.0F, 3.0F, 1.0F};
  for (int c = 0; c < 3; ++c) {
    float sixth = std::fmod(hue / 60.0F + rgb[c], 6.0F);
    if (sixth < 0.0F) sixth += 6.0F;
    const float least = sixth < 4.0F - sixth ? sixth : 4.0F - sixth;
    rgb[c] = 1.0F - (least < 0.0F ? 0.0F : least > 1.0F ? 1.0F : least);
  }
  return rgb;
}

/// The random numbers of sample i of a draw.
VOXOT_HOST_DEVICE inline Random sample_random(const RandomState& state, std::int64_t i) {
  return Random(state.seed, state.purpose, (state.draw() << 20) + static_cast<std::uint64_t>(i));
}

/// In what order items come: any of them each time, or each of them once before one comes again.
enum class Order : std::uint8_t { random, shuffled };

/// Samples [first, first + count) of the batch that draw number state.draw() makes: the same, bit for bit, as
/// in the whole batch.
struct BatchPart {
  RandomState state;
  std::int64_t batch;  // samples of the whole, at most 2^20
  std::int64_t first = 0;
  std::int64_t count = batch;
};

/// A part of a batch whose items come in some order. Shuffled, sample i of draw k has place k·batch + i in a
/// row of permutations, each of all items; so draws of one seed and purpose keep to one size of batch.
struct SampleDraw : BatchPart {
  Order order = Order::random;

  /// The random numbers of sample i.
  [[nodiscard]] VOXOT_HOST_DEVICE Random random(std::int64_t i) const {
    return sample_random(state, first + i);
  }
  /// The item of sample first + i, in [0, items). Two words of its random numbers are read in any order of
  /// items, so the same hue and angles follow.
  [[nodiscard]] VOXOT_HOST_DEVICE std::int64_t item(std::int64_t i, std::int64_t items,
                                                    Random& random) const {
    const auto all = static_cast<std::uint64_t>(items);
    const std::uint64_t any = random.below(all);
    if (order == Order::random) return static_cast<std::int64_t>(any);
    const std::uint64_t place =
        state.draw() * static_cast<std::uint64_t>(batch) + static_cast<std::uint64_t>(first + i);
    return static_cast<std::int64_t>(permuted(place % all, all, state.seed, state.purpose, place / all));
  }
};

/// About one axis, by an angle uniform in ±degrees.
VOXOT_HOST_DEVICE inline Rotation draw_rotation(Random& random, int axis, double degrees) {
  return rotation_about(axis, degrees * (2.0 * random.uniform() - 1.0));
}

/// Draws a sample: the item that pick(random) chooses, then its hue, then its angles about D, H and W; so the
/// same item and hue come with any rotation.
template <class Pick>
VOXOT_HOST_DEVICE VolumeSample draw_sample(Random& random, const VolumeParams& p, const Pick& pick) {
  VolumeSample sample;
  sample.item = pick(random);
  if (p.hues == Hues::uniform) {
    const float hue = 360.0F * random.uniform();
    sample.hue = hue < 360.0F ? hue : 0.0F;
  } else if (p.hues == Hues::palette) {
    sample.colour = static_cast<int>(random.below(static_cast<std::uint64_t>(p.palette_size)));
    sample.hue = p.palette[sample.colour];
  }
  if (p.hues != Hues::none) sample.rgb = rgb_of_hue(sample.hue);
  if (p.turn == Turn::in_plane) sample.rotation = draw_rotation(random, 0, p.degrees);
  if (p.turn == Turn::turntable) sample.rotation = draw_rotation(random, 1, p.degrees);
  if (p.turn == Turn::free) {
    sample.rotation = draw_rotation(random, 0, p.degrees);
    sample.rotation = compose(draw_rotation(random, 1, p.degrees), sample.rotation);
    sample.rotation = compose(draw_rotation(random, 2, p.degrees), sample.rotation);
  }
  return sample;
}

/// A density over D×H×W that is zero outside slices [first, last); slice d begins at values + d·pitch, so
/// that a pitch of 0 extrudes an image.
struct Density {
  const float* values;
  std::int64_t pitch;
  std::array<int, 3> extent;
  int first;
  int last;

  /// The value at a voxel, of which h and w are inside.
  VOXOT_HOST_DEVICE float at(int d, int h, int w) const {
    if (d < first || d >= last) return 0.0F;
    return values[d * pitch + std::int64_t{h} * extent[2] + w];
  }

  /// Trilinear value at a fractional position, zero outside.
  VOXOT_HOST_DEVICE float between(float d, float h, float w) const {
    const int height = extent[1];
    const int width = extent[2];
    if (!(d > static_cast<float>(first - 1) && h > -1.0F && w > -1.0F && d < static_cast<float>(last) &&
          h < static_cast<float>(height) && w < static_cast<float>(width))) {
      return 0.0F;
    }
    // +1 before truncation makes it a floor, for every position is above -1.
    const int d0 = static_cast<int>(d + 1.0F) - 1;
    const int h0 = static_cast<int>(h + 1.0F) - 1;
    const int w0 = static_cast<int>(w + 1.0F) - 1;
    const float wd = d - static_cast<float>(d0);
    const float wh = h - static_cast<float>(h0);
    const float ww = w - static_cast<float>(w0);
    float sum = 0.0F;
    for (int i = 0; i < 2; ++i) {
      for (int j = 0; j < 2; ++j) {
        for (int k = 0; k < 2; ++k) {
          const bool inside = h0 + j >= 0 && h0 + j < height && w0 + k >= 0 && w0 + k < width;
          if (!inside) continue;
          const float weight =
              (i == 0 ? 1.0F - wd : wd) * (j == 0 ? 1.0F - wh : wh) * (k == 0 ? 1.0F - ww : ww);
          sum = std::fma(weight, at(d0 + i, h0 + j, w0 + k), sum);
        }
      }
    }
    return sum;
  }

  /// The value at a voxel of the density rotated about its centre, (extent − 1)/2 on each axis. The voxel
  /// looks up where it came from: the inverse rotation is the transpose.
  VOXOT_HOST_DEVICE float rotated(const Rotation& r, int d, int h, int w) const {
    const float cd = 0.5F * static_cast<float>(extent[0] - 1);
    const float ch = 0.5F * static_cast<float>(extent[1] - 1);
    const float cw = 0.5F * static_cast<float>(extent[2] - 1);
    const float y = static_cast<float>(d) - cd;
    const float x = static_cast<float>(h) - ch;
    const float z = static_cast<float>(w) - cw;
    return between(std::fma(r[6], z, std::fma(r[0], y, r[3] * x) + cd),
                   std::fma(r[7], z, std::fma(r[1], y, r[4] * x) + ch),
                   std::fma(r[8], z, std::fma(r[2], y, r[5] * x) + cw));
  }
};

/// The extruded image of a sample.
VOXOT_HOST_DEVICE inline Density extruded(const VolumeParams& p, const float* image) {
  return {image, 0, p.extent, p.extrude[0], p.extrude[1]};
}

/// An extruded image finer than the volume, which turns at its own resolution: a voxel is the mean of the
/// density over places inside it, so that strokes thinner than a voxel keep their mass and are blurred once,
/// where turning voxels blurs them twice. Lengths are pixels, about the volume's centre.
struct FineDensity {
  const float* image;
  int size;  // rows and columns
  std::array<int, 3> extent;
  float pixels;               // a voxel's side
  std::array<int, 3> places;  // along each side of a voxel: no two are more than a pixel apart
  float first;                // where the depth begins
  float last;                 // and ends

  /// The image at a row and a column, zero outside.
  VOXOT_HOST_DEVICE float at(int h, int w) const {
    return h >= 0 && h < size && w >= 0 && w < size ? image[std::int64_t{h} * size + w] : 0.0F;
  }

  /// Bilinear value at a fractional row and column, zero outside.
  VOXOT_HOST_DEVICE float between(float h, float w) const {
    const auto end = static_cast<float>(size);
    if (!(h > -1.0F && w > -1.0F && h < end && w < end)) return 0.0F;
    // +1 before truncation makes it a floor, for every position is above -1.
    const int h0 = static_cast<int>(h + 1.0F) - 1;
    const int w0 = static_cast<int>(w + 1.0F) - 1;
    const float wh = h - static_cast<float>(h0);
    const float ww = w - static_cast<float>(w0);
    const float above = std::fma(ww, at(h0, w0 + 1), (1.0F - ww) * at(h0, w0));
    const float below = std::fma(ww, at(h0 + 1, w0 + 1), (1.0F - ww) * at(h0 + 1, w0));
    return std::fma(wh, below, (1.0F - wh) * above);
  }

  /// How much of a place at depth d the image fills: a place stands for its share of a voxel.
  VOXOT_HOST_DEVICE float inside(float d) const {
    const float from = d - first;
    const float to = last - d;
    const float share = std::fma(from < to ? from : to, static_cast<float>(places[0]) / pixels, 0.5F);
    return share < 0.0F ? 0.0F : share > 1.0F ? 1.0F : share;
  }

  /// Place i of a voxel along an axis, from the volume's centre.
  VOXOT_HOST_DEVICE float place(int axis, int voxel, int i) const {
    const float within = (static_cast<float>(i) + 0.5F) / static_cast<float>(places[axis]);
    return pixels * (static_cast<float>(voxel) + within - 0.5F * static_cast<float>(extent[axis]));
  }

  /// A voxel of the rotated density: its places look up where they came from.
  VOXOT_HOST_DEVICE float rotated(const Rotation& r, int d, int h, int w) const {
    const float middle = 0.5F * static_cast<float>(size - 1);
    float sum = 0.0F;
    for (int i = 0; i < places[0]; ++i) {
      const float y = place(0, d, i);
      for (int j = 0; j < places[1]; ++j) {
        const float x = place(1, h, j);
        for (int k = 0; k < places[2]; ++k) {
          const float z = place(2, w, k);
          const float share = inside(std::fma(r[6], z, std::fma(r[0], y, r[3] * x)));
          if (share == 0.0F) continue;
          const float value = between(std::fma(r[7], z, std::fma(r[1], y, std::fma(r[4], x, middle))),
                                      std::fma(r[8], z, std::fma(r[2], y, std::fma(r[5], x, middle))));
          sum = std::fma(share, value, sum);
        }
      }
    }
    return sum / static_cast<float>(places[0] * places[1] * places[2]);
  }
};

/// The extruded image of a sample, finer than its volume.
VOXOT_HOST_DEVICE inline FineDensity extruded_fine(const VolumeParams& p, const float* image) {
  const float pixels = static_cast<float>(p.fine) / static_cast<float>(p.extent[1]);
  const float centre = 0.5F * static_cast<float>(p.extent[0]);
  const int places = (p.fine + p.extent[1] - 1) / p.extent[1];
  return {image,
          p.fine,
          p.extent,
          pixels,
          {p.extent[0] == 1 ? 1 : places, places, places},
          pixels * (static_cast<float>(p.extrude[0]) - centre),
          pixels * (static_cast<float>(p.extrude[1]) - centre)};
}

/// A channel's value in [−1, 1]: 2·clamp(density, 0, 1)·colour − 1.
VOXOT_HOST_DEVICE inline float voxel_value(float density, float colour) {
  const float full = density < 0.0F ? 0.0F : density > 1.0F ? 1.0F : density;
  return std::fma(2.0F * full, colour, -1.0F);
}

}  // namespace voxot
