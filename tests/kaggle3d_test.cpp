// Point clouds of digits: their points, rotation, noise and grid; the published HDF5 file, its splits, and
// what damaged or foreign files say.
#include <hdf5.h>

#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <functional>
#include <limits>
#include <numeric>
#include <set>
#include <string>
#include <vector>

#include "datasets/kaggle3d.h"
#include "datasets/mnist.h"
#include "datasets/point_cloud.h"
#include "kernels/check.h"
#include "kernels/sizes.h"
#include "tests/dataset_helpers.h"
#include "tests/temp_directory.h"

using namespace voxot;
using namespace voxot::test;
namespace fs = std::filesystem;

namespace {

constexpr std::int64_t kCells = 4096;
constexpr Rotation kUpright{1, 0, 0, 0, 1, 0, 0, 0, 1};

std::vector<float> image_of(const std::vector<std::array<int, 2>>& lit) {
  std::vector<float> image(28 * 28, 0.0F);
  for (const auto& [row, column] : lit) image[to_size(row * 28 + column)] = 0.1F;
  return image;
}

std::vector<float> voxelised(PointCloud& cloud, const std::vector<float>& image,
                             const Rotation& rotation = kUpright, std::uint64_t seed = 1) {
  Random random(seed, Purpose::test);
  std::vector<float> density(kCells);
  cloud.voxelise(image.data(), rotation, random, density.data());
  return density;
}

/// The same points, counted in double by the definition: five a side, thirty along the depth.
std::vector<double> counted(const std::vector<float>& image, int resolution) {
  std::vector<std::array<double, 3>> points;
  const auto lit = [&](int row, int column) {
    return row >= 0 && row < 28 && column >= 0 && column < 28 && image[to_size(row * 28 + column)] > 0;
  };
  for (int row = 0; row < 28; ++row) {
    for (int column = 0; column < 28; ++column) {
      if (!lit(row, column)) continue;
      for (int i = -2; i <= 2; ++i) {
        for (int j = -2; j <= 2; ++j) {
          for (const double depth : {-3.0, 3.0}) points.push_back({depth, row + i / 4.0, column + j / 4.0});
        }
        for (int k = 0; k < 30; ++k) {
          const double depth = -3.0 + 6.0 * k / 29.0;
          if (!lit(row - 1, column)) points.push_back({depth, row - 0.5, column + i / 4.0});
          if (!lit(row + 1, column)) points.push_back({depth, row + 0.5, column + i / 4.0});
          if (!lit(row, column - 1)) points.push_back({depth, row + i / 4.0, column - 0.5});
          if (!lit(row, column + 1)) points.push_back({depth, row + i / 4.0, column + 0.5});
        }
      }
    }
  }
  std::array<double, 3> low{};
  double side = 0;
  std::array<double, 3> high{};
  for (std::size_t axis = 0; axis < 3; ++axis) {
    const auto by_axis = [axis](const auto& a, const auto& b) { return a[axis] < b[axis]; };
    const auto [least, most] = std::minmax_element(points.begin(), points.end(), by_axis);
    low[axis] = (*least)[axis];
    high[axis] = (*most)[axis];
    side = std::max(side, high[axis] - low[axis]);
  }
  side *= 1.002;
  std::vector<double> counts(to_size(resolution * resolution * resolution));
  for (const auto& point : points) {
    std::size_t cell = 0;
    for (std::size_t axis = 0; axis < 3; ++axis) {
      const double from = (low[axis] + high[axis] - side) / 2;
      const int index = static_cast<int>((point[axis] - from) / side * resolution);
      cell = cell * to_size(resolution) + to_size(index);
    }
    counts[cell] += 1;
  }
  const double most = *std::max_element(counts.begin(), counts.end());
  for (double& count : counts) count /= most;
  return counts;
}

double apart(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += std::abs(double{a[i]} - b[i]);
  return sum / std::accumulate(a.begin(), a.end(), 0.0);
}

std::ptrdiff_t occupied(const std::vector<float>& density) {
  return std::count_if(density.begin(), density.end(), [](float v) { return v > 0; });
}

/// An HDF5 file under construction.
class Writer {
 public:
  explicit Writer(const fs::path& path)
      : file_(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT)) {
    REQUIRE(file_ >= 0);
  }
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;
  ~Writer() { H5Fclose(file_); }

  template <class T>
  void array(const char* name, hid_t type, const std::vector<hsize_t>& shape, const std::vector<T>& values) {
    const hid_t space = H5Screate_simple(static_cast<int>(shape.size()), shape.data(), nullptr);
    const hid_t set = H5Dcreate2(file_, name, type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    REQUIRE(H5Dwrite(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()) >= 0);
    H5Dclose(set);
    H5Sclose(space);
  }
  /// An array that says it is large and holds nothing.
  void hollow(const char* name, const std::vector<hsize_t>& shape) {
    const hid_t space = H5Screate_simple(static_cast<int>(shape.size()), shape.data(), nullptr);
    const hid_t properties = H5Pcreate(H5P_DATASET_CREATE);
    std::vector<hsize_t> chunk(shape.size(), 1);
    chunk.back() = std::min<hsize_t>(shape.back(), 4096);
    H5Pset_chunk(properties, static_cast<int>(chunk.size()), chunk.data());
    const hid_t set = H5Dcreate2(file_, name, H5T_NATIVE_FLOAT, space, H5P_DEFAULT, properties, H5P_DEFAULT);
    REQUIRE(set >= 0);
    H5Dclose(set);
    H5Pclose(properties);
    H5Sclose(space);
  }

 private:
  hid_t file_;
};

/// What a test changes in an otherwise good file.
struct Contents {
  std::int64_t train = 20;
  std::int64_t test = 4;
  std::vector<double> train_rows;
  std::vector<std::int64_t> train_digits;

  Contents() : train_rows(to_size(20 * kCells)), train_digits(20) {
    for (std::int64_t row = 0; row < train; ++row) {
      train_rows[to_size(row * kCells + row)] = 1;  // tells the rows apart
      train_rows[to_size(row * kCells + 4000)] = 0.5;
      train_digits[to_size(row)] = row / 2 % 10;  // two copies of each image
    }
  }
  void write(const fs::path& path) const {
    Writer file(path);
    file.array("X_train", H5T_NATIVE_DOUBLE, {static_cast<hsize_t>(train), 4096}, train_rows);
    file.array("y_train", H5T_NATIVE_INT64, {static_cast<hsize_t>(train)}, train_digits);
    // Counts of points in bytes, and labels as floats: other types, the same meaning.
    std::vector<std::uint8_t> counts(to_size(test * kCells), 0);
    std::vector<float> digits;
    for (std::int64_t row = 0; row < test; ++row) {
      counts[to_size(row * kCells + 1 + 16 * (2 + 16 * 3))] = 200;  // x 1, y 2, z 3
      counts[to_size(row * kCells + 4000 + row)] = 50;
      digits.push_back(static_cast<float>(row));
    }
    file.array("X_test", H5T_NATIVE_UINT8, {static_cast<hsize_t>(test), 4096}, counts);
    file.array("y_test", H5T_NATIVE_FLOAT, {static_cast<hsize_t>(test)}, digits);
  }
};

DatasetConfig file_config(const fs::path& path) {
  DatasetConfig config;
  config.dataset = "kaggle3d";
  config.path = path.string();
  config.colour = "none";
  return config;
}

std::string refusal(const DatasetConfig& config, Split split = Split::train) {
  try {
    open_dataset(config, split, {});
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

}  // namespace

TEST_CASE("a cloud has the published points, and the grid their counts", "[kaggle3d]") {
  PointCloud cloud(16, 0.0);
  (void)voxelised(cloud, image_of({{14, 14}}));
  CHECK(cloud.points() == 2 * 25 + 4 * 150);
  const std::vector<float> shape =
      image_of({{5, 4}, {6, 4}, {7, 4}, {7, 5}, {7, 6}, {7, 7}, {7, 8}, {0, 0}, {27, 27}});
  for (const std::vector<float>& image : {image_of({{14, 14}}), image_of({{3, 9}, {3, 10}}), shape}) {
    const std::vector<float> density = voxelised(cloud, image);
    const std::vector<double> expected = counted(image, 16);
    double worst = 0;
    for (std::size_t v = 0; v < density.size(); ++v)
      worst = std::max(worst, std::abs(density[v] - expected[v]));
    CHECK(worst < 1e-6);
  }
  const std::vector<float> nothing = voxelised(cloud, image_of({}));
  CHECK(cloud.points() == 0);
  CHECK(occupied(nothing) == 0);
}

TEST_CASE("a cloud turns before it is counted, and noise blurs it", "[kaggle3d]") {
  // An L of nine by five pixels: no symmetry that a wrong turn could hide behind.
  std::vector<std::array<int, 2>> lit;
  for (int row = 10; row < 19; ++row) lit.push_back({row, 12});
  for (int column = 13; column < 17; ++column) lit.push_back({18, column});
  const std::vector<float> image = image_of(lit);
  PointCloud sharp(16, 0.0);
  const std::vector<float> upright = voxelised(sharp, image);
  // By 90° about D rows become columns: H goes to W, W to −H.
  const std::vector<float> turned = voxelised(sharp, image, rotation_about(0, 90));
  std::vector<float> expected(kCells);
  for (std::size_t d = 0; d < 16; ++d) {
    for (std::size_t h = 0; h < 16; ++h) {
      for (std::size_t w = 0; w < 16; ++w)
        expected[(d * 16 + (15 - w)) * 16 + h] = upright[(d * 16 + h) * 16 + w];
    }
  }
  // Points on a border between two cells may go to the other.
  CHECK(apart(expected, turned) < 0.1);
  CHECK(apart(upright, turned) > 0.5);
  CHECK((voxelised(sharp, image, kUpright, 2) == upright));
  PointCloud noisy(16, 0.25);
  const std::vector<float> blurred = voxelised(noisy, image);
  CHECK(static_cast<double>(occupied(blurred)) > 1.2 * static_cast<double>(occupied(upright)));
  CHECK((voxelised(noisy, image) == blurred));
  CHECK((voxelised(noisy, image, kUpright, 2) != blurred));
}

TEST_CASE("kaggle3d made from MNIST: pure draws, its own images, colours, any resolution", "[kaggle3d]") {
  const fs::path directory = mnist_directory();
  if (directory.empty()) return;
  DatasetConfig config;
  config.dataset = "kaggle3d";
  config.classes = {3, 5};
  config.rotation = "three_axes";
  config.rotation_degrees = 30;
  config.colour = GENERATE(as<std::string>(), "none", "four", "six", "uniform");
  const bool grey = config.colour == "none";
  const auto dataset = open_dataset(config, Split::validation, directory);
  CHECK(dataset->sample_shape() == std::array<std::int64_t, 4>{16, 16, 16, grey ? 1 : 3});
  CHECK(dataset->size() == open_mnist(Split::validation, {3, 5}, directory)->size());
  const Drawn eight = draw(*dataset, 8, 5);
  (void)draw(*dataset, 3, 6);  // must leave no trace
  CHECK((draw(*dataset, 8, 5).values == eight.values));
  const Drawn three = draw(*open_dataset(config, Split::validation, directory), 3, 5);
  CHECK(std::equal(three.values.begin(), three.values.end(), eight.values.begin()));
  CHECK((draw(*dataset, 8, 6).values != eight.values));
  const auto [low, high] = std::minmax_element(eight.values.begin(), eight.values.end());
  CHECK(*low == -1.0F);
  CHECK(*high == 1.0F);  // some cell of each volume holds the most points
  DatasetConfig upright = config;
  upright.dataset = "mnist3d";
  upright.rotation = "none";
  const Drawn images = draw(*open_dataset(upright, Split::validation, directory), 8, 5);
  for (std::size_t i = 0; i < 8; ++i) {
    CHECK(eight.labels[i].item == images.labels[i].item);
    CHECK((eight.labels[i].digit == 3 || eight.labels[i].digit == 5));
    CHECK(eight.labels[i].hue == images.labels[i].hue);
    CHECK(eight.labels[i].colour == images.labels[i].colour);
    if (grey) continue;
    CHECK(hue_distance(dominant_hue(eight.values.data() + i * 3 * kCells, kCells), eight.labels[i].hue) <
          0.5F);
  }
  config.resolution = 8;
  CHECK(open_dataset(config, Split::train, directory)->sample_shape()[1] == 8);
}

TEST_CASE("the published file: splits, digits, orientation, types of numbers", "[kaggle3d]") {
  const TempDirectory folder;
  const fs::path path = folder.path() / "full_dataset_vectors.h5";
  Contents().write(path);
  DatasetConfig config = file_config(path);
  std::set<std::int64_t> seen;
  for (const auto& [split, rows, first] :
       {std::tuple{Split::train, 18, 0}, std::tuple{Split::validation, 2, 18}}) {
    const auto dataset = open_dataset(config, split, {});
    CHECK(dataset->size() == rows);
    const Drawn drawn = draw(*dataset, 200);
    for (std::size_t i = 0; i < 200; ++i) {
      const std::int64_t row = drawn.labels[i].item + first;
      CHECK(drawn.labels[i].digit == row / 2 % 10);
      // Cell `row` of the file is x = row % 16, y = row / 16, z = 0: the lowest row of voxels.
      const std::int64_t voxel = ((row % 16) * 16 + 15) * 16 + row / 16;
      REQUIRE(drawn.values[i * kCells + to_size(voxel)] == 1.0F);
      seen.insert(row);
    }
  }
  CHECK(seen.size() == 20);
  const auto test = open_dataset(config, Split::test, {});
  CHECK(test->size() == 4);
  const Drawn drawn = draw(*test, 1);
  CHECK(drawn.values[(1 * 16 + 12) * 16 + 2] == 1.0F);
  CHECK(std::count(drawn.values.begin(), drawn.values.end(), -0.5F) == 1);  // 50 of 200
  CHECK(std::count(drawn.values.begin(), drawn.values.end(), -1.0F) == kCells - 2);
  config.classes = {2};
  CHECK(open_dataset(config, Split::train, {})->size() == 2);
  config.colour = "four";
  CHECK(open_dataset(config, Split::train, {})->sample_shape()[3] == 3);
  CHECK(kaggle3d_first_validation_row(10000) == 9000);
  CHECK(kaggle3d_first_validation_row(2) == 1);
  CHECK(kaggle3d_first_validation_row(31) == 28);
}

TEST_CASE("files that are damaged or not this data set give one line that says what was expected",
          "[kaggle3d]") {
  const TempDirectory folder;
  const fs::path path = folder.path() / "full_dataset_vectors.h5";
  const auto refuses = [&](const std::string& expected, Split split = Split::train) {
    const std::string said = refusal(file_config(path), split);
    CHECK_THAT(said, Catch::Contains(expected) && Catch::Contains(path.filename().string()));
    CHECK(said.find('\n') == std::string::npos);
  };
  const auto refuses_contents = [&](const std::function<void(Contents&)>& change,
                                    const std::string& expected) {
    Contents contents;
    change(contents);
    contents.write(path);
    refuses(expected);
  };
  refuses("expected a file");
  std::ofstream(path) << "X_train,y_train\n";
  refuses("expected an HDF5 file");
  Contents().write(path);
  const auto size = fs::file_size(path);
  for (const auto part : {size / 2, size - 1, std::uintmax_t{100}, std::uintmax_t{0}}) {
    Contents().write(path);
    fs::resize_file(path, part);
    refuses("expected an HDF5 file");
  }
  { Writer empty(path); }
  refuses("expected an array X_train");
  {
    Writer file(path);
    file.hollow("X_train", {20, 4095});
    file.hollow("y_train", {20});
  }
  refuses("X_train: expected rows of 4096 values, got [20, 4095]");
  {
    Writer file(path);
    file.hollow("X_train", {20, 4096});
    file.hollow("y_train", {19});
  }
  refuses("y_train: expected 20 labels for the rows of X_train, got [19]");
  {
    Writer file(path);
    file.hollow("X_train", {hsize_t{1} << 40, 4096});
    file.hollow("y_train", {hsize_t{1} << 40});
  }
  refuses("expected at most 262144 rows");
  {
    Writer file(path);
    file.hollow("X_train", {20, 4096});
    file.hollow("y_train", {20});
  }
  refuses("y_train: the data of row 0 are not in the file");
  {
    Writer file(path);
    file.array("X_train", H5T_C_S1, {20, 4096}, std::vector<char>(20 * kCells, 'x'));
    file.hollow("y_train", {20});
  }
  refuses("X_train: expected integers or floats");
  refuses("expected an array X_test", Split::test);
  refuses_contents([](Contents& c) { c.train_digits[7] = 10; }, "label 7 is 10, expected a digit");
  refuses_contents([](Contents& c) { c.train_digits[7] = -1; }, "label 7 is -1, expected a digit");
  refuses_contents([](Contents& c) { c.train_rows[5 * kCells + 9] = std::nan(""); },
                   "value 9 of row 5 is nan");
  refuses_contents([](Contents& c) { std::fill_n(c.train_rows.begin() + 3 * kCells, kCells, 0.0); },
                   "row 3 is empty");
  refuses_contents([](Contents& c) { c.train_rows[9] = -0.25; }, "value 9 of row 0 is -0.25");
  refuses_contents([](Contents& c) { c.train_rows[9] = std::numeric_limits<double>::infinity(); },
                   "value 9 of row 0 is inf");
  Contents().write(path);
  DatasetConfig config = file_config(path);
  config.classes = {9};
  CHECK_THAT(refusal(config, Split::test), Catch::Contains("no row of the wanted classes"));
}

TEST_CASE("kaggle3d refuses configs that its volumes cannot have", "[kaggle3d]") {
  const TempDirectory folder;
  Contents().write(folder.path() / "f.h5");
  const auto refuses = [&](const std::function<void(DatasetConfig&)>& change, const std::string& expected) {
    DatasetConfig config = file_config(folder.path() / "f.h5");
    change(config);
    CHECK_THROWS_AS(open_dataset(config, Split::train, {}), UsageError);
    CHECK_THAT(refusal(config), Catch::Contains(expected));
  };
  refuses([](auto& c) { c.rotation = "three_axes"; }, "rotated already");
  refuses([](auto& c) { c.resolution = 32; }, "have 16, got 32");
  refuses([](auto& c) { c.noise = -0.5; }, "noise: expected 0 to 1");
  refuses([](auto& c) { c.noise = std::nan(""); }, "noise: expected 0 to 1");
  refuses([](auto& c) { c.classes = {11}; }, "digits 0 to 9");
  DatasetConfig config = file_config({});
  CHECK_THAT(refusal(config), Catch::Contains("no data directory"));
}
