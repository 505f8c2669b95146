// Drawing samples: purity, shape, colours, rotation, configs, and MNIST and its splits.
#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "datasets/dataset.h"
#include "datasets/mnist.h"
#include "datasets/voxelise.h"
#include "kernels/check.h"
#include "tests/dataset_helpers.h"
#include "tests/temp_directory.h"

using namespace voxot;
using namespace voxot::test;
namespace fs = std::filesystem;

namespace {

bool same_labels(const std::vector<SampleLabel>& a, const std::vector<SampleLabel>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const SampleLabel& x, const SampleLabel& y) {
    return x.digit == y.digit && x.colour == y.colour && x.hue == y.hue && x.item == y.item;
  });
}

}  // namespace

TEST_CASE("a draw is a pure function of the state and of the sample's place", "[datasets]") {
  DatasetConfig config = digits_config();
  config.rotation = GENERATE(as<std::string>(), "none", "one_axis", "in_plane", "three_axes");
  config.colour = "uniform";
  const auto dataset = open_dataset(config, Split::train, {});
  const std::int64_t stride = values_in(*dataset);
  // Double parentheses keep Catch from printing whole volumes.
  const Drawn eight = draw(*dataset, 8, 5);
  draw(*dataset, 3, 6);  // must leave no trace
  const Drawn again = draw(*dataset, 8, 5);
  CHECK((eight.values == again.values));
  CHECK(same_labels(eight.labels, again.labels));
  const Drawn three = draw(*open_dataset(config, Split::train, {}), 3, 5);
  CHECK(std::equal(three.values.begin(), three.values.end(), eight.values.begin()));
  CHECK(same_labels(three.labels, {eight.labels.begin(), eight.labels.begin() + 3}));
  CHECK((eight.values != draw(*dataset, 8, 6).values));
  CHECK((eight.values != draw(*dataset, 8, 5, 2).values));
  CHECK((eight.values != draw(*dataset, 8, 5, 1, Purpose::target_samples).values));
  CHECK(!std::equal(eight.values.begin(), eight.values.begin() + stride, eight.values.begin() + stride));
  std::vector<float> unlabelled(8 * stride);
  dataset->draw({{1, Purpose::source_samples, 5}, 8}, unlabelled.data());
  CHECK((unlabelled == eight.values));
}

TEST_CASE("the contract's counter: sample i of a step is sample 0 of nothing else", "[datasets]") {
  // Random(seed, purpose, step·2^20 + i): the first words of sample 3 choose its item.
  DatasetConfig config = digits_config();
  config.classes = {4, 7};
  const Drawn drawn = draw(*open_dataset(config, Split::train, {}), 4, 9, 77);
  Random random(77, Purpose::source_samples, (std::uint64_t{9} << 20) + 3);
  const int digit = config.classes[random.below(2)];
  CHECK(drawn.labels[3].digit == digit);
  CHECK(drawn.labels[3].item == static_cast<std::int64_t>(random.below(214748364)) * 10 + digit);
  CHECK(drawn.labels[3].colour == static_cast<int>(random.below(4)));
}

TEST_CASE("volumes are extruded, upright, coloured and within [-1, 1]", "[datasets]") {
  DatasetConfig config = digits_config();
  config.colour = GENERATE(as<std::string>(), "four", "six", "uniform");
  config.extrude = {2, 7};
  const auto dataset = open_dataset(config, Split::train, {});
  CHECK(dataset->sample_shape() == std::array<std::int64_t, 4>{16, 16, 16, 3});
  const std::int64_t n = 40;
  const Drawn drawn = draw(*dataset, n);
  const auto [low, high] = std::minmax_element(drawn.values.begin(), drawn.values.end());
  CHECK(*low == -1.0F);
  CHECK(*high <= 1.0F);
  CHECK(*high > 0.8F);
  for (std::int64_t i = 0; i < n; ++i) {
    const float* sample = drawn.values.data() + i * 12288;
    for (int d = 0; d < 16; ++d) {
      const float* slice = sample + d * 768;
      const bool empty = std::all_of(slice, slice + 768, [](float v) { return v == -1.0F; });
      CHECK(empty == (d < 2 || d >= 7));
      CHECK((d <= 2 || d >= 7 || std::equal(slice, slice + 768, slice - 768)));
    }
    const SampleLabel& label = drawn.labels[i];
    CHECK(hue_distance(dominant_hue(sample, 4096), label.hue) < 0.5F);
    CHECK(nearest_colour(colour_palette(config.colour), label.hue) == label.colour);
    CHECK((label.digit >= 0 && label.digit <= 9));
    CHECK(label.item >= 0);
  }
}

TEST_CASE("colours are evenly used and independent of the digit and of the other marginal", "[datasets]") {
  DatasetConfig config = digits_config();
  config.classes = {3, 5};
  config.resolution = 4;
  config.extrude = {0, 4};
  const auto dataset = open_dataset(config, Split::train, {});
  const std::int64_t n = 8000;
  const Drawn source = draw(*dataset, n);
  const Drawn target = draw(*dataset, n, 0, 1, Purpose::target_samples);
  std::map<std::array<int, 2>, int> by_digit;
  std::map<std::array<int, 2>, int> by_pair;
  for (std::int64_t i = 0; i < n; ++i) {
    ++by_digit[{source.labels[i].digit, source.labels[i].colour}];
    ++by_pair[{source.labels[i].colour, target.labels[i].colour}];
  }
  // Chi-square against uniform cells; 7 and 15 degrees of freedom exceed 30 and 45 with probability 1e-4. The
  // seed is fixed, so the test is not random.
  const auto chi_square = [n](const auto& cells) {
    const double expected = static_cast<double>(n) / static_cast<double>(cells.size());
    double sum = 0.0;
    for (const auto& [cell, count] : cells) {
      sum += (count - expected) * (count - expected) / expected;
    }
    return sum;
  };
  REQUIRE(by_digit.size() == 8);
  REQUIRE(by_pair.size() == 16);
  CHECK(chi_square(by_digit) < 30.0);
  CHECK(chi_square(by_pair) < 45.0);
}

TEST_CASE("a uniform hue covers the circle", "[datasets]") {
  DatasetConfig config = digits_config();
  config.colour = "uniform";
  config.resolution = 4;
  config.extrude = {0, 4};
  std::array<int, 12> bins{};
  for (const SampleLabel& label : draw(config, 2400).labels) {
    REQUIRE((label.hue >= 0.0F && label.hue < 360.0F));
    ++bins[static_cast<int>(label.hue / 30.0F)];
  }
  for (const int count : bins) {
    CHECK(count > 140);
    CHECK(count < 260);
  }
}

TEST_CASE("colour none gives one channel and the same shape as colour four", "[datasets]") {
  DatasetConfig config = digits_config();
  const Drawn coloured = draw(config, 4);
  config.colour = "none";
  const auto dataset = open_dataset(config, Split::train, {});
  CHECK(dataset->sample_shape() == std::array<std::int64_t, 4>{16, 16, 16, 1});
  const Drawn grey = draw(*dataset, 4);
  for (std::int64_t i = 0; i < 4; ++i) {
    CHECK(grey.labels[i].item == coloured.labels[i].item);
    CHECK(grey.labels[i].colour == -1);
    CHECK(grey.labels[i].hue == -1.0F);
  }
  double worst = 0.0;
  for (std::size_t v = 0; v < grey.values.size(); ++v) {
    const float* rgb = &coloured.values[3 * v];
    worst = std::max(worst, std::fabs(double{grey.values[v]} - std::max({rgb[0], rgb[1], rgb[2]})));
  }
  CHECK(worst == 0.0);
}

TEST_CASE("rotation in a data set: zero range is none, one axis keeps rows, a plane keeps slices",
          "[datasets]") {
  DatasetConfig config = digits_config();
  config.colour = "none";
  const Drawn upright = draw(config, 12);
  config.rotate = "before";
  CHECK((draw(config, 12).values == upright.values));  // nothing turns
  config.rotate = GENERATE(as<std::string>(), "after", "before");
  config.rotation = GENERATE(as<std::string>(), "one_axis", "in_plane", "three_axes");
  config.rotation_degrees = 0;
  const Drawn still = draw(config, 12);
  double worst = 0.0;
  for (std::size_t v = 0; v < still.values.size(); ++v) {
    worst = std::max(worst, std::fabs(double{still.values[v]} - upright.values[v]));
  }
  // Before voxelisation a voxel averages its own pixels, in the resize also its neighbours' with less weight.
  CHECK(worst < (config.rotate == "after" ? 1e-5 : 0.8));
  config.rotation_degrees = 180;
  const Drawn turned = draw(config, 12);
  double row_change = 0.0;
  double slice_change = 0.0;
  for (int i = 0; i < 12; ++i) {
    CHECK(turned.labels[i].item == upright.labels[i].item);
    std::array<double, 16> rows{};
    std::array<double, 16> slices{};
    double before = 0.0;
    double after = 0.0;
    for (int v = 0; v < 4096; ++v) {
      const double old_density = 0.5 * (upright.values[i * 4096 + v] + 1.0);
      const double new_density = 0.5 * (turned.values[i * 4096 + v] + 1.0);
      before += old_density;
      after += new_density;
      rows[v / 16 % 16] += new_density - old_density;
      slices[v / 256] += new_density - old_density;
    }
    // Digits fit the volume's inscribed sphere nearly; interpolation and corners cost a few per cent.
    CHECK(after == Approx(before).epsilon(0.06));
    for (const double change : rows) {
      row_change += std::fabs(change) / before / 12.0;
    }
    for (const double change : slices) slice_change += std::fabs(change) / before / 12.0;
  }
  if (config.rotation == "one_axis") {
    CHECK(row_change < 0.05);
  } else {
    CHECK(row_change > 0.2);
  }
  if (config.rotation == "in_plane") {
    CHECK(slice_change < 0.05);
  } else {
    CHECK(slice_change > 0.2);
  }
}

TEST_CASE("wrong configs are usage errors that name what is allowed", "[datasets]") {
  using Catch::Contains;
  const auto opening = [](const std::function<void(DatasetConfig&)>& change) {
    DatasetConfig config = digits_config();
    change(config);
    open_dataset(config, Split::train, {});
  };
  const auto refuses = [&](const std::function<void(DatasetConfig&)>& change, const std::string& expected) {
    CHECK_THROWS_AS(opening(change), UsageError);
    CHECK_THROWS_WITH(opening(change), Contains(expected));
  };
  refuses([](auto& c) { c.dataset = "mnits3d"; },
          "mnist3d, mnist, digits, kaggle3d, usps, mnistm, npy, gaussian or w2bench, got \"mnits3d\"");
  refuses([](auto& c) { c.colour = "five"; }, "none, four, six or uniform, got \"five\"");
  refuses([](auto& c) { c.rotation = "two"; }, "none, one_axis, in_plane or three_axes");
  refuses([](auto& c) { c.rotate = "during"; }, "expected after or before, got \"during\"");
  refuses([](auto& c) { c.classes = {3, 10}; }, "digits 0 to 9, got 10");
  refuses([](auto& c) { c.classes = {-1}; }, "digits 0 to 9, got -1");
  refuses([](auto& c) { c.resolution = 2; }, "expected 4 to 128");
  refuses([](auto& c) { c.extrude = {7, 7}; }, "got [7, 7)");
  refuses([](auto& c) { c.extrude = {0, 17}; }, "<= 16");
  refuses([](auto& c) { c.extrude = {-1, 5}; }, "got [-1, 5)");
  refuses([](auto& c) { c.rotation_degrees = -1; }, "0 to 180");
  refuses([](auto& c) { c.rotation_degrees = std::nan(""); }, "0 to 180");
  refuses([](auto& c) { c.dataset = "npy"; }, "needs the .npy or .npz file");
  refuses(
      [](auto& c) {
        c.dataset = "mnist";
        c.rotation = "three_axes";
      },
      "turns in its plane alone");
  CHECK_NOTHROW(opening([](auto&) {}));
}

TEST_CASE("missing MNIST says what was looked for, and auto falls back to digits", "[datasets]") {
  const TempDirectory folder;
  DatasetConfig config;
  config.dataset = "mnist3d";
  using Catch::Contains;
  CHECK_THROWS_WITH(open_dataset(config, Split::train, folder.path()),
                    Contains("images-idx3-ubyte") && Contains(folder.path().string()) && Contains("digits"));
  CHECK_THROWS_WITH(open_dataset(config, Split::train, {}), Contains("no data directory"));
  config.dataset = "auto";
  CHECK(open_dataset(config, Split::train, folder.path())->size() == -1);
}

TEST_CASE("files that are not MNIST are refused by shape", "[datasets]") {
  const TempDirectory folder;
  const auto write_idx = [&](const std::string& name, const std::vector<unsigned char>& bytes) {
    std::ofstream(folder.path() / name, std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  };
  for (const std::string prefix : {"train", "t10k"}) {
    write_idx(prefix + "-labels-idx1-ubyte", {0, 0, 8, 1, 0, 0, 0, 2, 3, 5});
    write_idx(prefix + "-images-idx3-ubyte", {0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 1, 9, 9});
  }
  CHECK(find_mnist(folder.path()) == folder.path());
  CHECK_THROWS_WITH(open_mnist(Split::test, {}, folder.path()),
                    Catch::Contains("expected MNIST's shape [10000], got [2]"));
}

TEST_CASE("MNIST's splits have their sizes and share no image", "[datasets]") {
  const fs::path directory = mnist_directory();
  if (directory.empty()) {
    return;
  }
  std::array<std::set<std::size_t>, 3> images;
  for (const Split split : {Split::train, Split::validation, Split::test}) {
    const auto source = open_mnist(split, {}, directory);
    REQUIRE(source->size() == mnist_split_size(split));
    std::vector<float> image(28 * 28);
    for (std::int64_t i = 0; i < source->size(); ++i) {
      source->render(i, image.data());
      const std::string_view bytes(reinterpret_cast<const char*>(image.data()), image.size() * sizeof(float));
      images[static_cast<int>(split)].insert(std::hash<std::string_view>{}(bytes));
    }
    CHECK(static_cast<std::int64_t>(images[static_cast<int>(split)].size()) == source->size());
    CHECK_THROWS_AS(source->render(source->size(), image.data()), Error);
  }
  for (const auto& [a, b] : {std::array{0, 1}, std::array{0, 2}, std::array{1, 2}}) {
    const auto shared = std::count_if(images[a].begin(), images[a].end(), [&, other = b](std::size_t hash) {
      return images[other].contains(hash);
    });
    CAPTURE(a, b);
    CHECK(shared == 0);
  }
}

TEST_CASE("mnist3d and mnist draw the chosen classes, item by item", "[datasets]") {
  const fs::path directory = mnist_directory();
  if (directory.empty()) {
    return;
  }
  DatasetConfig config;
  config.dataset = GENERATE(as<std::string>(), "mnist3d", "mnist");
  config.classes = {3};
  config.colour = "none";
  const auto dataset = open_dataset(config, Split::test, directory);
  CHECK(dataset->size() == 1010);  // threes in t10k
  const auto [depth, height, width, channels] = dataset->sample_shape();
  CHECK(depth == (config.dataset == "mnist" ? 1 : 16));
  const Drawn drawn = draw(*dataset, 50);
  const auto source = open_mnist(Split::test, {3}, directory);
  ImageResizer resizer(28, 16);
  std::vector<float> image(28 * 28);
  std::vector<float> small(16 * 16);
  std::set<std::int64_t> items;
  for (int i = 0; i < 50; ++i) {
    const SampleLabel& label = drawn.labels[i];
    CHECK(label.digit == 3);
    items.insert(label.item);
    source->render(label.item, image.data());
    resizer.resize(image.data(), small.data());
    const float* slice = drawn.values.data() + i * values_in(*dataset) + (depth == 1 ? 0 : 8 * 256);
    for (int p = 0; p < 256; ++p) {
      REQUIRE(slice[p] == Approx(2.0F * small[p] - 1.0F).margin(1e-6));
    }
  }
  CHECK(items.size() > 40);  // 50 of 1010 with replacement: about 49 different
}

TEST_CASE("the data directory: the option, then the variable, which decides alone", "[datasets]") {
  const TempDirectory folder;
  CHECK(find_data_directory(folder.path().string()) == folder.path());
  CHECK_THROWS_AS(find_data_directory((folder.path() / "missing").string()), UsageError);
  const char* set = std::getenv("VOXOT_DATA");
  const std::string saved = set == nullptr ? "" : set;
  setenv("VOXOT_DATA", folder.path().c_str(), 1);
  CHECK(find_data_directory("") == folder.path());
  setenv("VOXOT_DATA", (folder.path() / "missing").c_str(), 1);
  CHECK(find_data_directory("").empty());
  if (set == nullptr) {
    unsetenv("VOXOT_DATA");
  } else {
    setenv("VOXOT_DATA", saved.c_str(), 1);
  }
}
