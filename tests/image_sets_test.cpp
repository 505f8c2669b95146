// Data sets of flat images besides MNIST: USPS and MNIST-M, their splits, their values and what damaged files
// say.
#include <zlib.h>

#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <set>
#include <string>
#include <vector>

#include "datasets/mnistm.h"
#include "datasets/usps.h"
#include "datasets/voxelise.h"
#include "engine/npy.h"
#include "kernels/check.h"
#include "kernels/volume_sample.h"
#include "tests/dataset_helpers.h"
#include "tests/temp_directory.h"

using namespace voxot;
using namespace voxot::test;
namespace fs = std::filesystem;

namespace {

std::string line_of(int digit, double grey, int greys = 256) {
  std::string line = fmt::format("{}.0000", digit);
  for (int p = 0; p < greys; ++p) line += fmt::format(" {:.4f}", p == digit ? grey : -1.0);
  return line + " \n";
}

/// Files of USPS's size; line `changed` is `with` in its place.
void write_usps(const fs::path& folder, std::int64_t changed, const std::string& with,
                std::int64_t lines = 7291) {
  std::ofstream train(folder / "zip.train");
  for (std::int64_t i = 0; i < lines; ++i)
    train << (i == changed ? with : line_of(static_cast<int>(i % 10), 0.5));
  std::ofstream(folder / "zip.test") << line_of(1, 0.5);
}

std::string refusal(const fs::path& folder, Split split = Split::train) {
  try {
    open_usps(split, {}, folder);
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

/// Crops whose values say which crop they are.
fs::path write_crops(const fs::path& folder, std::int64_t crops) {
  HostArray array;
  array.type = FileType::u8;
  array.shape = {crops, 30, 29, 3};
  for (std::int64_t crop = 0; crop < crops; ++crop) {
    array.bytes.insert(array.bytes.end(), 30 * 29 * 3, static_cast<std::byte>(2 * crop));
  }
  fs::create_directories(folder / "textures");
  write_npy(folder / "textures" / "bsds500_crops_96.npy", array);
  return folder;
}

}  // namespace

TEST_CASE("USPS: splits of their sizes share no image, greys come back as they are", "[datasets][usps]") {
  const fs::path directory = directory_with("USPS", find_usps);
  if (directory.empty()) return;
  std::set<std::vector<float>> images;
  std::int64_t total = 0;
  for (const Split split : {Split::train, Split::validation, Split::test}) {
    const auto source = open_usps(split, {}, directory);
    REQUIRE(source->size() == usps_split_size(split));
    total += source->size();
    std::vector<float> image(256);
    for (const auto& item : source->items()) {
      source->render(item.index, image.data());
      images.insert(image);
    }
  }
  CHECK(total == 7291 + 2007);
  CHECK(std::ssize(images) == total);
  DatasetConfig config;
  config.dataset = "usps";
  config.colour = "none";
  config.classes = {8};
  const auto dataset = open_dataset(config, Split::test, directory);
  CHECK(dataset->size() == 166);  // eights in zip.test
  CHECK(dataset->sample_shape() == std::array<std::int64_t, 4>{1, 16, 16, 1});
  const auto source = open_usps(Split::test, {8}, directory);
  const Drawn drawn = draw(*dataset, 20);
  std::vector<float> image(256);
  for (std::size_t i = 0; i < 20; ++i) {
    CHECK(drawn.labels[i].digit == 8);
    source->render(drawn.labels[i].item, image.data());
    for (std::size_t p = 0; p < 256; ++p) {
      REQUIRE(drawn.values[i * 256 + p] == Approx(2 * image[p] - 1).margin(1e-6));
    }
  }
  const auto there = dataset->on_device(Device::cpu);
  REQUIRE(there);
  CHECK((there->draw({{1, Purpose::source_samples, 0}, 20}).to_floats() == drawn.values));
  config.colour = "four";
  config.rotation = "one_axis";
  config.rotate = GENERATE(as<std::string>(), "after", "before");
  config.resolution = 12;
  CHECK(open_dataset(config, Split::train, directory)->sample_shape() ==
        std::array<std::int64_t, 4>{1, 12, 12, 3});
  CHECK_NOTHROW(draw(config, 3, directory));
}

TEST_CASE("USPS files that are damaged or something else give one line", "[datasets][usps]") {
  const TempDirectory folder;
  const auto refuses = [&](const std::string& expected, Split split = Split::train) {
    const std::string said = refusal(folder.path(), split);
    CHECK_THAT(said, Catch::Contains(expected));
    CHECK(said.find('\n') == std::string::npos);
  };
  refuses("expected zip.train and zip.test");
  write_usps(folder.path(), -1, "");
  CHECK(open_usps(Split::train, {}, folder.path())->size() == 6562);
  refuses("truncated: expected 2007 lines, got 1", Split::test);
  write_usps(folder.path(), 7, line_of(7, 1.5));
  refuses("line 8: grey 7 is 1.5, expected -1 to 1");
  write_usps(folder.path(), 7, "nan" + line_of(7, 0.5).substr(6));
  refuses("line 8: expected a digit, got nan");
  write_usps(folder.path(), 7, "10.0" + line_of(7, 0.5).substr(6));
  refuses("line 8: expected a digit, got 10");
  write_usps(folder.path(), 7, line_of(7, 0.5, 255));
  refuses("line 8: expected a digit and 256 greys");
  write_usps(folder.path(), 7, line_of(7, 0.5, 257));
  refuses("line 8: more than 256 greys");
  write_usps(folder.path(), 7, "3.0 0.5x 0.25\n");
  refuses("line 8: expected a digit and 256 greys, got");
  write_usps(folder.path(), -1, "", 7292);
  refuses("expected 7291 lines, got more");
  fs::remove(folder.path() / "zip.train");
  const std::string text = line_of(3, 0.5);
  const gzFile packed = gzopen((folder.path() / "zip.train.gz").c_str(), "wb");
  for (int i = 0; i < 7291; ++i) gzwrite(packed, text.data(), static_cast<unsigned>(text.size()));
  gzclose(packed);
  CHECK(refusal(folder.path()) == "no error");
  fs::resize_file(folder.path() / "zip.train.gz", fs::file_size(folder.path() / "zip.train.gz") / 2);
  refuses("damaged or truncated gzip data");
}

TEST_CASE("MNIST-M: the distance of digit and photograph, from crops that splits do not share",
          "[datasets][mnistm]") {
  const fs::path directory = mnist_directory();
  if (directory.empty()) return;
  const TempDirectory folder;
  write_crops(folder.path(), 20);
  fs::create_directory_symlink(fs::absolute(find_mnist(directory)), folder.path() / "mnist");
  DatasetConfig config;
  config.dataset = "mnistm";
  config.resolution = 28;
  std::set<int> crops;
  for (const auto& [split, count] :
       {std::pair{Split::train, 16}, std::pair{Split::validation, 2}, std::pair{Split::test, 2}}) {
    const auto dataset = open_dataset(config, split, folder.path());
    CHECK(dataset->sample_shape() == std::array<std::int64_t, 4>{1, 28, 28, 3});
    CHECK(dataset->size() == mnist_split_size(split));
    const auto digits = open_mnist(split, {}, directory);
    const Drawn drawn = draw(*dataset, 300);
    CHECK((draw(*dataset, 300).values == drawn.values));
    std::set<int> seen;
    std::vector<float> digit(28 * 28);
    for (std::size_t i = 0; i < 300; ++i) {
      const float* image = drawn.values.data() + i * 28 * 28 * 3;
      const double level = std::lround(255 * 0.5 * (image[0] + 1.0));  // corners of digits are black
      seen.insert(static_cast<int>(level) / 2);
      digits->render(drawn.labels[i].item, digit.data());
      for (std::size_t p = 0; p < digit.size(); ++p) {
        for (std::size_t c = 0; c < 3; ++c) {
          REQUIRE(0.5 * (image[3 * p + c] + 1.0) == Approx(std::abs(level / 255 - digit[p])).margin(1e-6));
        }
      }
    }
    CHECK(static_cast<int>(seen.size()) == count);
    crops.insert(seen.begin(), seen.end());
  }
  CHECK(crops.size() == 20);
  config.rotation = "one_axis";
  CHECK_THROWS_AS(open_dataset(config, Split::train, folder.path()), UsageError);
  config.rotation = "none";
  write_crops(folder.path(), 9);
  CHECK_THROWS_WITH(open_dataset(config, Split::train, folder.path()), Catch::Contains("at least 10"));
  fs::remove_all(folder.path() / "textures");
  CHECK_THROWS_WITH(open_dataset(config, Split::train, folder.path()),
                    Catch::Contains("bsds500_crops_96.npy"));
}

TEST_CASE("MNIST-M's windows come from everywhere in a crop", "[datasets][mnistm]") {
  const fs::path directory = mnist_directory();
  if (directory.empty()) return;
  const TempDirectory folder;
  HostArray array;  // a value says its row and column
  array.type = FileType::u8;
  array.shape = {10, 30, 29, 3};
  for (int i = 0; i < 10 * 30 * 29; ++i) {
    for (const int value : {i / 29 % 30, i % 29, 0}) array.bytes.push_back(static_cast<std::byte>(value));
  }
  fs::create_directories(folder.path() / "textures");
  write_npy(folder.path() / "textures" / "bsds500_crops_96.npy", array);
  fs::create_directory_symlink(fs::absolute(find_mnist(directory)), folder.path() / "mnist");
  DatasetConfig config;
  config.dataset = "mnistm";
  config.resolution = 28;
  const Drawn drawn = draw(config, 100, folder.path());
  std::set<std::pair<long, long>> corners;
  for (std::size_t i = 0; i < 100; ++i) {
    const float* first = drawn.values.data() + i * 28 * 28 * 3;
    corners.insert({std::lround(127.5 * (first[0] + 1)), std::lround(127.5 * (first[1] + 1))});
  }
  CHECK(corners == std::set<std::pair<long, long>>{{0, 0}, {0, 1}, {1, 0}, {1, 1}, {2, 0}, {2, 1}});
}
