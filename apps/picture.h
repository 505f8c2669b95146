#pragma once
// Pictures of voxel volumes: an isometric view with shaded faces, and grids of such views.
#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace voxot {

using Colour = std::array<std::uint8_t, 3>;

/// 8-bit RGB, rows from top to bottom.
struct Image {
  int width = 0;
  int height = 0;
  std::vector<std::uint8_t> rgb;

  Image() = default;
  /// Filled with one colour. Throws Error unless both sides are positive.
  Image(int width, int height, Colour fill);
  [[nodiscard]] Colour at(int x, int y) const;
};

/// One volume, D×H×W×C, channels last, values in [-1, 1]; C is 1 (grey) or 3 (RGB).
struct VolumeView {
  const float* values = nullptr;
  std::int64_t depth = 0;
  std::int64_t height = 0;
  std::int64_t width = 0;
  std::int64_t channels = 0;
};

/// Voxels from `first` to before `last`, both as (d, h, w).
struct Box {
  std::array<std::int64_t, 3> first;
  std::array<std::int64_t, 3> last;
};

struct RenderOptions {
  int pixels = 160;        // the side of the square picture, 16 to 2048
  float threshold = 0.3F;  // a voxel is shown when its brightest channel, as a part of [0, 1], is above this
  std::optional<Box> frame{};  // what fills the picture; the whole volume where it is not given
};

/// A side of a voxel that the viewer sees.
enum class Side : std::uint8_t { front, top, right };
struct Face {
  std::int64_t d, h, w;
  Side side;
};

/// The sides of shown voxels that no neighbour covers, in the order of painting (far to near). The viewer
/// stands before the volume (d = 0), above it and to its right. Throws Error for a shape that cannot be
/// shown.
std::vector<Face> visible_faces(const VolumeView& volume, float threshold);

/// The view from there on white; for D = 1 the flat image, enlarged. Throws Error for more channels than 1 or
/// 3, for vectors (H = W = 1) and for a side of the picture out of range.
Image render_volume(const VolumeView& volume, const RenderOptions& options = {});

struct PictureRow {
  std::string title;  // ASCII, left of the tiles; may be empty
  std::vector<Image> tiles;
};

/// Rows of tiles, one below the other. Throws Error where there is no tile.
Image grid(const std::vector<PictureRow>& rows);

/// Rows of volumes beside their titles, as samples of a run: "source" above "mapped".
struct VolumeRow {
  std::string title;
  std::vector<VolumeView> volumes;
};
/// At most `columns` volumes beside each other; the others follow in blocks of all rows. All at one scale:
/// unless a frame is given, that of the voxels shown in any of them.
Image render_rows(const std::vector<VolumeRow>& rows, int columns, const RenderOptions& options = {});

/// A whole PNG file.
std::vector<std::byte> encode_png(const Image& image);
/// Replaces the file atomically.
void write_png(const std::filesystem::path& path, const Image& image);

}  // namespace voxot
