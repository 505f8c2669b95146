#include "apps/picture.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <optional>
#include <utility>

#include "apps/png.h"
#include "engine/atomic_file.h"
#include "kernels/check.h"
#include "kernels/sizes.h"

namespace voxot {
namespace {

constexpr int kSupersampling = 3;
constexpr double kYaw = 24 * std::numbers::pi / 180;    // the viewer's turn to the right
constexpr double kPitch = 17 * std::numbers::pi / 180;  // ... and rise
constexpr double kEdge = 0.07;                          // of a voxel's side
constexpr Colour kPaper{255, 255, 255};
constexpr Colour kInk{70, 70, 78};
constexpr int kTextScale = 2;

struct Point {
  double x, y;
};

struct Rgb {
  float r, g, b;
};

Rgb mix(const Rgb& a, const Rgb& b, float part) {
  return {a.r + (b.r - a.r) * part, a.g + (b.g - a.g) * part, a.b + (b.b - a.b) * part};
}

// Values in [-1, 1] as parts of [0, 1]; NaN is 0.
float unit(float value) { return value > -1 ? std::min((value + 1) / 2, 1.0F) : 0.0F; }

void check_shape(const VolumeView& v) {
  VOXOT_CHECK(v.values != nullptr && v.depth >= 1 && v.height >= 1 && v.width >= 1 &&
                  (v.channels == 1 || v.channels == 3),
              "render: expected a volume with 1 or 3 channels, got {} channels of {}×{}×{}", v.channels,
              v.depth, v.height, v.width);
  VOXOT_CHECK(v.height > 1 || v.width > 1, "render: expected volumes or images, got vectors of {} values",
              v.depth * v.channels);
}

const float* voxel(const VolumeView& v, std::int64_t d, std::int64_t h, std::int64_t w) {
  return v.values + ((d * v.height + h) * v.width + w) * v.channels;
}

float brightness(const VolumeView& v, std::int64_t d, std::int64_t h, std::int64_t w) {
  const float* at = voxel(v, d, h, w);
  return v.channels == 1 ? unit(at[0]) : std::max({unit(at[0]), unit(at[1]), unit(at[2])});
}

// The hue at full strength, a little darker where the voxel is dim; grey volumes as slate.
Rgb voxel_colour(const VolumeView& v, const Face& f) {
  const float* at = voxel(v, f.d, f.h, f.w);
  const float bright = brightness(v, f.d, f.h, f.w);
  const float scale = (0.62F + 0.38F * bright) / std::max(bright, 1e-3F);
  if (v.channels == 1) {
    return mix({0.62F, 0.66F, 0.72F}, {0.36F, 0.42F, 0.52F}, bright);
  }
  return mix({unit(at[0]) * scale, unit(at[1]) * scale, unit(at[2]) * scale}, {1, 1, 1}, 0.12F);
}

Rgb shade(const Rgb& colour, Side side) {
  switch (side) {
    case Side::top:
      return mix(colour, {1, 1, 1}, 0.5F);
    case Side::front:
      return colour;
    default:
      return mix(colour, {0, 0, 0}, 0.45F);
  }
}

Box whole(const VolumeView& v) { return {{0, 0, 0}, {v.depth, v.height, v.width}}; }

// What is shown in any of the volumes, so that all are drawn at one scale; nothing where all are empty.
std::optional<Box> shown_box(const std::vector<VolumeRow>& rows, float threshold) {
  constexpr std::int64_t kFar = std::numeric_limits<std::int64_t>::max();
  Box box{{kFar, kFar, kFar}, {0, 0, 0}};
  for (const VolumeRow& row : rows) {
    for (const VolumeView& volume : row.volumes) {
      for (const Face& face : visible_faces(volume, threshold)) {
        const std::array<std::int64_t, 3> at{face.d, face.h, face.w};
        for (std::size_t axis = 0; axis < 3; ++axis) {
          box.first[axis] = std::min(box.first[axis], at[axis]);
          box.last[axis] = std::max(box.last[axis], at[axis] + 1);
        }
      }
    }
  }
  return box.last[0] > 0 ? std::optional(box) : std::nullopt;
}

// Orthographic projection of voxel corners (w, h, d) into a square picture.
class Projection {
 public:
  Projection(const Box& box, double pixels) {
    Point low{1e30, 1e30};
    Point high{-1e30, -1e30};
    for (int corner = 0; corner < 8; ++corner) {
      const Point p = project(static_cast<double>((corner & 1) != 0 ? box.last[2] : box.first[2]),
                              static_cast<double>((corner & 2) != 0 ? box.last[1] : box.first[1]),
                              static_cast<double>((corner & 4) != 0 ? box.last[0] : box.first[0]));
      low = {std::min(low.x, p.x), std::min(low.y, p.y)};
      high = {std::max(high.x, p.x), std::max(high.y, p.y)};
    }
    const double scale = 0.92 * pixels / std::max(high.x - low.x, high.y - low.y);
    const Point shift{pixels / 2 - scale * (low.x + high.x) / 2, pixels / 2 - scale * (low.y + high.y) / 2};
    scale_ = scale;
    shift_ = shift;
  }
  [[nodiscard]] Point project(double w, double h, double d) const {
    return {shift_.x + scale_ * (w * std::cos(kYaw) + d * std::sin(kYaw)),
            shift_.y + scale_ * (w * std::sin(kYaw) * std::sin(kPitch) + h * std::cos(kPitch) -
                                 d * std::cos(kYaw) * std::sin(kPitch))};
  }

 private:
  double scale_ = 1;
  Point shift_{0, 0};
};

// A picture in floats, larger by kSupersampling.
class Canvas {
 public:
  explicit Canvas(int side) : side_(side), values_(to_size(side) * to_size(side), Rgb{1, 1, 1}) {}

  // The parallelogram origin + u·a + v·b with u, v in [0, 1]; darker along its edges.
  void fill(Point origin, Point a, Point b, const Rgb& colour) {
    const Rgb edge = mix(colour, {0, 0, 0}, 0.22F);
    const double determinant = a.x * b.y - a.y * b.x;
    const double x0 = origin.x + std::min({0.0, a.x, b.x, a.x + b.x});
    const double x1 = origin.x + std::max({0.0, a.x, b.x, a.x + b.x});
    const double y0 = origin.y + std::min({0.0, a.y, b.y, a.y + b.y});
    const double y1 = origin.y + std::max({0.0, a.y, b.y, a.y + b.y});
    const auto clip = [this](double value) { return std::clamp(static_cast<int>(value), 0, side_ - 1); };
    for (int y = clip(y0); y <= clip(y1); ++y) {
      for (int x = clip(x0); x <= clip(x1); ++x) {
        const Point p{x + 0.5 - origin.x, y + 0.5 - origin.y};
        const double u = (p.x * b.y - p.y * b.x) / determinant;
        const double v = (a.x * p.y - a.y * p.x) / determinant;
        const double inside = std::min({u, 1 - u, v, 1 - v});
        if (inside >= -1e-9) {
          values_[to_size(y) * to_size(side_) + to_size(x)] = inside < kEdge ? edge : colour;
        }
      }
    }
  }

  [[nodiscard]] Image shrunk() const {
    const int side = side_ / kSupersampling;
    Image image(side, side, kPaper);
    constexpr float kTo8Bit = 255.0F / (kSupersampling * kSupersampling);
    for (int y = 0; y < side; ++y) {
      for (int x = 0; x < side; ++x) {
        Rgb sum{0, 0, 0};
        for (int i = 0; i < kSupersampling * kSupersampling; ++i) {
          const int row = y * kSupersampling + i / kSupersampling;
          const int column = x * kSupersampling + i % kSupersampling;
          const Rgb& value = values_[to_size(row) * to_size(side_) + to_size(column)];
          sum = {sum.r + value.r, sum.g + value.g, sum.b + value.b};
        }
        const auto byte = [](float value) {
          return static_cast<std::uint8_t>(std::lround(std::min(value, 255.0F)));
        };
        std::uint8_t* out = &image.rgb[(to_size(y) * to_size(side) + to_size(x)) * 3];
        out[0] = byte(sum.r * kTo8Bit);
        out[1] = byte(sum.g * kTo8Bit);
        out[2] = byte(sum.b * kTo8Bit);
      }
    }
    return image;
  }

 private:
  int side_;
  std::vector<Rgb> values_;
};

void paint(Canvas& canvas, const Projection& projection, const VolumeView& volume, const Face& face) {
  const auto w = static_cast<double>(face.w);
  const auto h = static_cast<double>(face.h);
  const auto d = static_cast<double>(face.d);
  const bool right = face.side == Side::right;
  const Point origin = projection.project(right ? w + 1 : w, h, d);
  const Point along = right ? projection.project(w + 1, h, d + 1) : projection.project(w + 1, h, d);
  const Point down = face.side == Side::top ? projection.project(w, h, d + 1)
                                            : projection.project(right ? w + 1 : w, h + 1, d);
  canvas.fill(origin, {along.x - origin.x, along.y - origin.y}, {down.x - origin.x, down.y - origin.y},
              shade(voxel_colour(volume, face), face.side));
}

Image render_flat(const VolumeView& v, int pixels) {
  Image image(pixels, pixels, kPaper);
  const std::int64_t longest = std::max(v.height, v.width);
  const std::int64_t left = (longest - v.width) * pixels / (2 * longest);
  const std::int64_t top = (longest - v.height) * pixels / (2 * longest);
  for (std::int64_t y = 0; y < pixels; ++y) {
    for (std::int64_t x = 0; x < pixels; ++x) {
      const std::int64_t h = y < top ? v.height : (y - top) * longest / pixels;
      const std::int64_t w = x < left ? v.width : (x - left) * longest / pixels;
      if (h >= v.height || w >= v.width) {
        continue;
      }
      const float* at = voxel(v, 0, h, w);
      for (std::int64_t c = 0; c < 3; ++c) {
        image.rgb[to_size((y * pixels + x) * 3 + c)] =
            static_cast<std::uint8_t>(std::lround(255 * unit(at[v.channels == 1 ? 0 : c])));
      }
    }
  }
  return image;
}

void paste(Image& onto, const Image& tile, int left, int top) {
  for (int y = 0; y < tile.height; ++y) {
    const auto* row = &tile.rgb[to_size(y) * to_size(tile.width) * 3];
    std::copy_n(row, tile.width * 3, &onto.rgb[(to_size(top + y) * to_size(onto.width) + to_size(left)) * 3]);
  }
}

void fill_box(Image& image, int x0, int y0, int x1, int y1, Colour colour) {
  for (int y = std::max(y0, 0); y < std::min(y1, image.height); ++y) {
    for (int x = std::max(x0, 0); x < std::min(x1, image.width); ++x) {
      std::copy_n(colour.data(), 3, &image.rgb[(to_size(y) * to_size(image.width) + to_size(x)) * 3]);
    }
  }
}

}  // namespace

Image::Image(int width_, int height_, Colour fill) : width(width_), height(height_) {
  VOXOT_CHECK(width > 0 && height > 0, "picture: expected positive sides, got {}x{}", width, height);
  rgb.resize(to_size(width) * to_size(height) * 3);
  for (std::size_t i = 0; i < rgb.size(); ++i) {
    rgb[i] = fill[i % 3];
  }
}

Colour Image::at(int x, int y) const {
  VOXOT_CHECK(x >= 0 && y >= 0 && x < width && y < height, "picture: pixel {},{} is outside {}x{}", x, y,
              width, height);
  const std::size_t first = (to_size(y) * to_size(width) + to_size(x)) * 3;
  return {rgb[first], rgb[first + 1], rgb[first + 2]};
}

std::vector<Face> visible_faces(const VolumeView& volume, float threshold) {
  check_shape(volume);
  const auto shown = [&](std::int64_t d, std::int64_t h, std::int64_t w) {
    return d >= 0 && h >= 0 && w < volume.width && brightness(volume, d, h, w) > threshold;
  };
  std::vector<Face> faces;
  for (std::int64_t d = volume.depth - 1; d >= 0; --d) {
    for (std::int64_t h = volume.height - 1; h >= 0; --h) {
      for (std::int64_t w = 0; w < volume.width; ++w) {
        if (!shown(d, h, w)) {
          continue;
        }
        if (!shown(d, h - 1, w)) {
          faces.push_back({d, h, w, Side::top});
        }
        if (!shown(d, h, w + 1)) {
          faces.push_back({d, h, w, Side::right});
        }
        if (!shown(d - 1, h, w)) {
          faces.push_back({d, h, w, Side::front});
        }
      }
    }
  }
  return faces;
}

Image render_volume(const VolumeView& volume, const RenderOptions& options) {
  check_shape(volume);
  VOXOT_CHECK(options.pixels >= 16 && options.pixels <= 2048, "render: expected 16 to 2048 pixels, got {}",
              options.pixels);
  if (volume.depth == 1) {
    return render_flat(volume, options.pixels);
  }
  Canvas canvas(options.pixels * kSupersampling);
  const Projection projection(options.frame.value_or(whole(volume)), options.pixels * kSupersampling);
  for (const Face& face : visible_faces(volume, options.threshold)) {
    paint(canvas, projection, volume, face);
  }
  return canvas.shrunk();
}

Image grid(const std::vector<PictureRow>& rows) {
  int title_width = 0;
  int cell_width = 0;
  int cell_height = 0;
  std::size_t columns = 0;
  for (const PictureRow& row : rows) {
    for (const TextBox& box : text_boxes(row.title)) {
      title_width = std::max(title_width, (box.x1 + 8) * kTextScale);
    }
    for (const Image& tile : row.tiles) {
      cell_width = std::max(cell_width, tile.width);
      cell_height = std::max(cell_height, tile.height);
    }
    columns = std::max(columns, row.tiles.size());
  }
  VOXOT_CHECK(columns > 0, "picture: expected at least one tile in {} rows", rows.size());
  Image result(title_width + static_cast<int>(columns) * cell_width,
               static_cast<int>(rows.size()) * cell_height, kPaper);
  for (std::size_t r = 0; r < rows.size(); ++r) {
    const int top = static_cast<int>(r) * cell_height;
    const int middle = top + cell_height / 2 - 6 * kTextScale;
    for (const TextBox& box : text_boxes(rows[r].title)) {
      fill_box(result, (box.x0 + 4) * kTextScale, middle + box.y0 * kTextScale, (box.x1 + 4) * kTextScale,
               middle + box.y1 * kTextScale, kInk);
    }
    for (std::size_t c = 0; c < rows[r].tiles.size(); ++c) {
      paste(result, rows[r].tiles[c], title_width + static_cast<int>(c) * cell_width, top);
    }
  }
  return result;
}

Image render_rows(const std::vector<VolumeRow>& rows, int columns, const RenderOptions& options) {
  VOXOT_CHECK(columns >= 1, "render: expected at least 1 column, got {}", columns);
  std::size_t longest = 0;
  for (const VolumeRow& row : rows) {
    longest = std::max(longest, row.volumes.size());
  }
  const auto block = to_size(columns);
  RenderOptions framed = options;
  if (!framed.frame) {
    framed.frame = shown_box(rows, options.threshold);
  }
  std::vector<PictureRow> pictures;
  for (std::size_t first = 0; first < longest; first += block) {
    for (const VolumeRow& row : rows) {
      PictureRow picture{row.title, {}};
      for (std::size_t i = first; i < std::min(first + block, row.volumes.size()); ++i) {
        picture.tiles.push_back(render_volume(row.volumes[i], framed));
      }
      pictures.push_back(std::move(picture));
    }
  }
  return grid(pictures);
}

std::vector<std::byte> encode_png(const Image& image) {
  return png_bytes(image.rgb.data(), image.width, image.height);
}

void write_png(const std::filesystem::path& path, const Image& image) {
  write_file_atomically(path, encode_png(image));
}

}  // namespace voxot
