// Pictures of volumes: hidden faces, order of painting, colours, sizes, PNG files.
#include "apps/picture.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <fstream>
#include <iterator>
#include <limits>
#include <string>
#include <tuple>
#include <vector>

#include "kernels/check.h"
#include "kernels/sizes.h"
#include "tests/temp_directory.h"

using namespace voxot;

namespace {

/// A volume of its own values, all empty (-1) at first.
struct Volume {
  std::int64_t d, h, w, c;
  std::vector<float> values;

  Volume(std::int64_t d_, std::int64_t h_, std::int64_t w_, std::int64_t c_)
      : d(d_), h(h_), w(w_), c(c_), values(to_size(d_ * h_ * w_ * c_), -1.0F) {}
  void set(std::int64_t z, std::int64_t y, std::int64_t x, std::vector<float> colour) {
    std::copy(colour.begin(), colour.end(), values.begin() + ((z * h + y) * w + x) * c);
  }
  [[nodiscard]] VolumeView view() const { return {values.data(), d, h, w, c}; }
};

std::int64_t count_of(const std::vector<Face>& faces, Side side) {
  return std::count_if(faces.begin(), faces.end(), [side](const Face& face) { return face.side == side; });
}

bool is_white(const Colour& colour) { return colour == Colour{255, 255, 255}; }

std::int64_t painted(const Image& image) {
  std::int64_t count = 0;
  for (int y = 0; y < image.height; ++y) {
    for (int x = 0; x < image.width; ++x) {
      count += is_white(image.at(x, y)) ? 0 : 1;
    }
  }
  return count;
}

// Mean row (y) or column (x) of what is painted.
double centre(const Image& image, bool rows) {
  double sum = 0;
  for (int y = 0; y < image.height; ++y) {
    for (int x = 0; x < image.width; ++x) {
      sum += is_white(image.at(x, y)) ? 0 : rows ? y : x;
    }
  }
  return sum / static_cast<double>(painted(image));
}

const std::vector<float> kRed{1, -1, -1};
const std::vector<float> kBlue{-1, -1, 1};

}  // namespace

TEST_CASE("picture: a voxel shows three faces, a solid cube only its outside", "[picture]") {
  Volume one(3, 3, 3, 3);
  one.set(1, 1, 1, kRed);
  CHECK(visible_faces(one.view(), 0.3F).size() == 3);

  Volume cube(4, 5, 6, 1);
  std::fill(cube.values.begin(), cube.values.end(), 1.0F);
  const std::vector<Face> faces = visible_faces(cube.view(), 0.3F);
  CHECK(count_of(faces, Side::front) == 5 * 6);
  CHECK(count_of(faces, Side::top) == 4 * 6);
  CHECK(count_of(faces, Side::right) == 4 * 5);
  for (const Face& face : faces) {
    CHECK((face.side != Side::front || face.d == 0));
    CHECK((face.side != Side::top || face.h == 0));
    CHECK((face.side != Side::right || face.w == 5));
  }
}

TEST_CASE("picture: faces are painted from far to near", "[picture]") {
  Volume all(3, 3, 3, 1);
  for (std::size_t i = 0; i < all.values.size(); i += 2) {
    all.values[i] = 1;
  }
  const std::vector<Face> faces = visible_faces(all.view(), 0.3F);
  for (std::size_t i = 1; i < faces.size(); ++i) {
    const Face& a = faces[i - 1];
    const Face& b = faces[i];
    CHECK(std::tuple(-a.d, -a.h, a.w) <= std::tuple(-b.d, -b.h, b.w));
  }
}

TEST_CASE("picture: what stands behind is hidden", "[picture]") {
  Volume volume(8, 8, 8, 3);
  for (std::int64_t h = 0; h < 8; ++h) {
    for (std::int64_t w = 0; w < 8; ++w) {
      volume.set(0, h, w, kRed);
    }
  }
  const Image wall = render_volume(volume.view());
  volume.set(4, 6, 3, kBlue);
  CHECK(render_volume(volume.view()).rgb == wall.rgb);
  volume.set(0, 6, 3, kBlue);
  CHECK(render_volume(volume.view()).rgb != wall.rgb);
}

TEST_CASE("picture: the threshold, values out of range and NaN", "[picture]") {
  Volume volume(2, 2, 2, 1);
  volume.set(0, 0, 0, {-0.5F});  // a quarter of full brightness
  CHECK(visible_faces(volume.view(), 0.3F).empty());
  CHECK(visible_faces(volume.view(), 0.2F).size() == 3);
  volume.set(0, 0, 0, {std::nanf("")});
  CHECK(visible_faces(volume.view(), 0).empty());
  volume.set(0, 0, 0, {std::numeric_limits<float>::infinity()});
  CHECK(visible_faces(volume.view(), 0.99F).size() == 3);
  CHECK(painted(render_volume(volume.view())) > 0);
  volume.set(0, 0, 0, {-std::numeric_limits<float>::infinity()});
  CHECK(painted(render_volume(volume.view())) == 0);
}

TEST_CASE("picture: rows go down, columns to the right, slices away", "[picture]") {
  const auto at = [](std::int64_t d, std::int64_t h, std::int64_t w) {
    Volume volume(8, 8, 8, 3);
    volume.set(d, h, w, kRed);
    return render_volume(volume.view());
  };
  CHECK(centre(at(4, 1, 4), true) < centre(at(4, 6, 4), true) - 30);
  CHECK(centre(at(4, 4, 1), false) < centre(at(4, 4, 6), false) - 30);
  CHECK(centre(at(1, 4, 4), true) > centre(at(6, 4, 4), true));  // seen from above, what is far is higher
}

TEST_CASE("picture: faces keep their hue; top lighter than front lighter than side", "[picture]") {
  Volume volume(2, 2, 2, 3);
  for (std::size_t i = 0; i < volume.values.size(); i += 3) {
    volume.values[i] = 1;
  }
  const Image image = render_volume(volume.view(), {.pixels = 200});
  int other_hues = 0;
  for (std::size_t i = 0; i < image.rgb.size(); i += 3) {
    other_hues += image.rgb[i] >= image.rgb[i + 1] && image.rgb[i + 1] == image.rgb[i + 2] ? 0 : 1;
  }
  CHECK(other_hues == 0);
  const auto sum = [&image](int x, int y) {
    const Colour colour = image.at(x, y);
    return colour[0] + colour[1] + colour[2];
  };
  // Faces at a quarter of a voxel off the middle, where no edge runs.
  const int top = sum(110, 48);
  const int front = sum(62, 100);
  const int side = sum(165, 110);
  CHECK(top > front);
  CHECK(front > side);
  CHECK(top < 3 * 255);
  CHECK(image.at(0, 0) == Colour{255, 255, 255});
}

TEST_CASE("picture: an image of depth 1 is shown flat and enlarged", "[picture]") {
  Volume flat(1, 2, 4, 3);
  flat.set(0, 0, 0, kRed);
  flat.set(0, 1, 3, {0, 0, 0});
  const Image image = render_volume(flat.view(), {.pixels = 64});
  CHECK(image.width == 64);
  CHECK(image.at(0, 16) == Colour{255, 0, 0});
  CHECK(image.at(15, 31) == Colour{255, 0, 0});
  CHECK(image.at(16, 16) == Colour{0, 0, 0});
  CHECK(image.at(63, 47) == Colour{128, 128, 128});
  CHECK(is_white(image.at(0, 15)));
  CHECK(is_white(image.at(0, 48)));
}

TEST_CASE("picture: shapes that cannot be shown are errors", "[picture]") {
  CHECK_THROWS_WITH(render_volume(Volume(1, 1, 1, 3).view()), Catch::Contains("got vectors of 3 values"));
  CHECK_THROWS_WITH(render_volume(Volume(2, 2, 2, 2).view()), Catch::Contains("got 2 channels"));
  CHECK_THROWS_AS(render_volume(VolumeView{}), Error);
  CHECK_THROWS_WITH(render_volume(Volume(2, 2, 2, 1).view(), {.pixels = 8}),
                    Catch::Contains("16 to 2048 pixels"));
  CHECK_THROWS_AS(grid({}), Error);
  CHECK_THROWS_AS(Image(0, 4, {0, 0, 0}), Error);
  CHECK_THROWS_AS(Image(4, 4, {0, 0, 0}).at(4, 0), Error);
}

TEST_CASE("picture: a grid holds every tile at its place, and titles", "[picture]") {
  const Image red(10, 10, {255, 0, 0});
  const Image blue(10, 10, {0, 0, 255});
  const Image plain = grid({{"", {red, blue}}, {"", {blue}}});
  CHECK(plain.width == 20);
  CHECK(plain.height == 20);
  CHECK(plain.at(5, 5) == Colour{255, 0, 0});
  CHECK(plain.at(15, 5) == Colour{0, 0, 255});
  CHECK(plain.at(5, 15) == Colour{0, 0, 255});
  CHECK(is_white(plain.at(15, 15)));
  const Image titled =
      grid({{"source", {Image(60, 60, {0, 255, 0})}}, {"m\xc3\xa4p\n", {Image(60, 60, {0, 255, 0})}}});
  CHECK(titled.width > 100);
  CHECK(titled.height == 120);
  std::int64_t ink = 0;
  for (int y = 0; y < titled.height; ++y) {
    for (int x = 0; x < titled.width - 60; ++x) {
      ink += is_white(titled.at(x, y)) ? 0 : 1;
    }
  }
  CHECK(ink > 200);
}

TEST_CASE("picture: rows wrap in blocks at one scale", "[picture]") {
  Volume small(8, 8, 8, 3);
  small.set(4, 4, 4, kRed);
  const VolumeView view = small.view();
  const RenderOptions options{.pixels = 32};
  const Image image = render_rows({{"", {view, view, view}}, {"", {view}}}, 2, options);
  CHECK(image.width == 64);
  CHECK(image.height == 128);
  const Image close = render_rows({{"", {view}}}, 1, options);
  CHECK(painted(close) > 4 * painted(render_volume(view, options)));
  const Volume empty(8, 8, 8, 3);
  CHECK(painted(render_rows({{"", {empty.view()}}}, 1, options)) == 0);
}

TEST_CASE("picture: a PNG file of the right size", "[picture]") {
  const test::TempDirectory folder;
  const auto path = folder / "picture.png";
  write_png(path, Image(300, 7, {10, 20, 30}));
  std::ifstream file(path, std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  REQUIRE(bytes.size() > 40);
  CHECK(bytes.substr(0, 8) == "\x89PNG\r\n\x1a\n");
  CHECK(bytes.substr(12, 12) == std::string("IHDR\0\0\x01\x2c\0\0\0\x07", 12));
  CHECK(bytes.substr(bytes.size() - 8, 4) == "IEND");
  CHECK_THROWS_AS(write_png("/nonexistent/voxot/picture.png", Image(2, 2, {0, 0, 0})), Error);
}
