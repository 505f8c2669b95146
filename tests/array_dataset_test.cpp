// The data set npy: anyone's own arrays.
#include <array>
#include <catch2/catch.hpp>
#include <cmath>
#include <filesystem>
#include <map>
#include <numeric>
#include <set>
#include <string>
#include <vector>

#include "datasets/array_dataset.h"
#include "datasets/dataset.h"
#include "engine/host_array.h"
#include "engine/npy.h"
#include "kernels/check.h"
#include "kernels/sizes.h"
#include "tests/dataset_helpers.h"
#include "tests/temp_directory.h"

using namespace voxot;
using namespace voxot::test;
namespace fs = std::filesystem;

TEST_CASE("arrays of any rank come back channels last, split by index", "[datasets]") {
  const TempDirectory folder;
  const std::int64_t items = 200;
  std::vector<float> values(items * 2 * 3 * 2 * 2);
  std::iota(values.begin(), values.end(), 0.0F);
  std::vector<std::int64_t> classes(items);
  for (std::int64_t i = 0; i < items; ++i) {
    classes[i] = 10 + i % 3;
  }
  std::map<std::string, HostArray> arrays;
  arrays["x"] = HostArray::from_floats({items, 2, 3, 2, 2}, values);
  arrays["y"] = HostArray::from_int64({items}, classes);
  write_npz(folder.path() / "volumes.npz", arrays);
  write_npy(folder.path() / "vectors.npy", HostArray::from_floats({items, 24}, values));

  DatasetConfig config;
  config.dataset = "npy";
  config.path = "volumes.npz";  // found below the data directory
  std::set<std::int64_t> seen;
  std::array<std::int64_t, 3> sizes{};
  for (const Split split : {Split::train, Split::validation, Split::test}) {
    const auto dataset = open_dataset(config, split, folder.path());
    CHECK(dataset->sample_shape() == std::array<std::int64_t, 4>{3, 2, 2, 2});
    sizes[static_cast<int>(split)] = dataset->size();
    const Drawn drawn = draw(*dataset, 1000);
    for (std::int64_t i = 0; i < 1000; ++i) {
      const SampleLabel& label = drawn.labels[i];
      REQUIRE(array_split_of(label.item) == split);
      REQUIRE(label.digit == classes[label.item]);
      seen.insert(label.item);
      for (int c = 0; c < 2; ++c) {
        for (int v = 0; v < 12; ++v) {
          REQUIRE(drawn.values[i * 24 + v * 2 + c] == values[label.item * 24 + c * 12 + v]);
        }
      }
    }
  }
  CHECK(std::accumulate(sizes.begin(), sizes.end(), std::int64_t{0}) == items);
  CHECK(sizes[0] > 140);
  CHECK(sizes[1] > 8);
  CHECK(sizes[2] > 8);
  CHECK(seen.size() > 190);  // all items are reached, but for rare ones of the largest split

  config.classes = {11};
  const auto filtered = open_dataset(config, Split::train, folder.path());
  for (const SampleLabel& label : draw(*filtered, 100).labels) {
    REQUIRE(label.digit == 11);
  }
  config.classes = {7};
  CHECK_THROWS_AS(open_dataset(config, Split::train, folder.path()), UsageError);
  config.path = (folder.path() / "vectors.npy").string();
  CHECK_THROWS_AS(open_dataset(config, Split::train, {}), UsageError);  // classes without labels
  config.classes.clear();
  CHECK(open_dataset(config, Split::train, {})->sample_shape() == std::array<std::int64_t, 4>{1, 1, 1, 24});
}

TEST_CASE("arrays: bytes are scaled, and what cannot be a data set is refused", "[datasets]") {
  const TempDirectory folder;
  const fs::path file = folder.path() / "a.npy";
  DatasetConfig config;
  config.dataset = "npy";
  config.path = file.string();
  const auto opening = [&] { return open_dataset(config, Split::train, {}); };
  CHECK_THROWS_WITH(opening(), Catch::Contains(file.string()) && Catch::Contains("digits"));

  HostArray bytes{FileType::u8, {20, 1, 1, 2}, std::vector<std::byte>(40)};
  for (int i = 0; i < 40; i += 2) {
    bytes.bytes[i] = std::byte{255};
  }
  write_npy(file, bytes);
  const Drawn drawn = draw(*opening(), 1);
  CHECK(drawn.values == std::vector<float>{1.0F, -1.0F});

  write_npy(file, HostArray::from_floats({4, 3, 2}, std::vector<float>(24)));
  CHECK_THROWS_WITH(opening(), Catch::Contains("N×C×D×H×W") && Catch::Contains("[4, 3, 2]"));
  write_npy(file, HostArray::from_int64({20, 2}, std::vector<std::int64_t>(40)));
  CHECK_THROWS_WITH(opening(), Catch::Contains("expected floats"));
  std::vector<float> broken(40, 0.0F);
  broken[17] = std::nanf("");
  write_npy(file, HostArray::from_floats({20, 2}, broken));
  CHECK_THROWS_WITH(opening(), Catch::Contains("sample 8, place [1] is nan"));
  std::map<std::string, HostArray> arrays;
  arrays["a"] = HostArray::from_floats({20, 2}, std::vector<float>(40));
  arrays["b"] = arrays["a"];
  config.path = (folder.path() / "a.npz").string();
  write_npz(config.path, arrays);
  CHECK_THROWS_WITH(opening(), Catch::Contains("data or x"));
  arrays.erase("b");
  arrays["labels"] = HostArray::from_int64({3}, {1, 2, 3});
  write_npz(config.path, arrays);
  CHECK_THROWS_WITH(opening(), Catch::Contains("3 labels for 20 items"));
  // Labels that are no whole numbers matter only where classes are asked for.
  for (const HostArray& labels : {HostArray::from_floats({20}, std::vector<float>(20, 0.5F)),
                                  HostArray::from_int64({20, 2}, std::vector<std::int64_t>(40)),
                                  HostArray::from_int64({20}, std::vector<std::int64_t>(20, -1))}) {
    arrays["labels"] = labels;
    write_npz(config.path, arrays);
    CHECK(draw(*opening(), 1).labels[0].digit == -1);
    config.classes = {1};
    CHECK_THROWS_WITH(opening(), Catch::Contains("label"));
    config.classes.clear();
  }
  config.path = "a.csv";
  CHECK_THROWS_AS(open_dataset(config, Split::train, folder.path()), Error);
}

namespace {

/// `items` vectors [begin + i, label] of two values.
HostArray numbered(std::int64_t items, float begin) {
  std::vector<float> values(to_size(2 * items));
  for (std::int64_t i = 0; i < items; ++i) values[2 * i] = begin + static_cast<float>(i);
  return HostArray::from_floats({items, 2}, values);
}

/// The first values of all items of a split, and their labels.
std::map<float, int> items_of(const DatasetConfig& config, Split split) {
  const auto dataset = open_dataset(config, split, {});
  std::map<float, int> items;
  DatasetConfig shuffled = config;
  shuffled.order = "shuffled";
  const auto once = open_dataset(shuffled, split, {});
  const Drawn drawn = draw(*once, once->size());
  for (std::size_t i = 0; i < drawn.labels.size(); ++i) items[drawn.values[2 * i]] = drawn.labels[i].digit;
  CHECK(std::ssize(items) == dataset->size());
  return items;
}

}  // namespace

TEST_CASE("arrays: a file that is split is used as split", "[datasets]") {
  const TempDirectory folder;
  DatasetConfig config;
  config.dataset = "npy";
  config.path = (folder / "split.npz").string();
  std::map<std::string, HostArray> arrays;
  arrays["train_data"] = numbered(40, 0);
  arrays["val_data"] = numbered(5, 100);
  arrays["test_data"] = numbered(7, 200);
  arrays["train_labels"] = HostArray::from_int64({40, 1}, std::vector<std::int64_t>(40, 4));
  arrays["test_labels"] = HostArray::from_int64({7}, {0, 1, 2, 3, 4, 5, 6});
  const auto write = [&] { write_npz(config.path, arrays); };
  write();
  const auto keys = [&](Split split) {
    std::set<float> values;
    for (const auto& [value, label] : items_of(config, split)) values.insert(value);
    return values;
  };
  const auto train = items_of(config, Split::train);
  CHECK(train.size() == 40);
  CHECK(train.begin()->first == 0);
  CHECK(train.at(3) == 4);
  CHECK(keys(Split::validation) == std::set<float>{100, 101, 102, 103, 104});
  CHECK(items_of(config, Split::validation).at(101) == -1);
  CHECK(items_of(config, Split::test).at(203) == 3);
  config.classes = {4};
  CHECK(keys(Split::test) == std::set<float>{204});
  CHECK_THROWS_WITH(open_dataset(config, Split::validation, {}), Catch::Contains("holds no labels"));
  config.classes.clear();

  SECTION("without val, it is held out of train, and test stays") {
    arrays.erase("val_data");
    write();
    const auto kept = keys(Split::train);
    const auto held_out = keys(Split::validation);
    CHECK(kept.size() + held_out.size() == 40);
    for (const float item : held_out)
      CHECK(array_split_of(static_cast<std::int64_t>(item)) == Split::validation);
    for (const float item : kept) CHECK(!held_out.contains(item));
    CHECK(keys(Split::test).size() == 7);
    CHECK(items_of(config, Split::validation).begin()->second == 4);
  }
  SECTION("with train alone, it is split as any other array") {
    arrays.erase("val_data");
    arrays.erase("test_data");
    write();
    for (const Split split : {Split::train, Split::validation, Split::test}) {
      for (const float item : keys(split)) CHECK(array_split_of(static_cast<std::int64_t>(item)) == split);
    }
  }
  SECTION("without train it is refused") {
    arrays.erase("train_data");
    write();
    CHECK_THROWS_WITH(open_dataset(config, Split::test, {}),
                      Catch::Contains("expected train_data beside the other splits"));
  }
  SECTION("of two contents the key says which") {
    arrays["train_images"] = HostArray::from_floats({40, 3, 3}, std::vector<float>(360));
    write();
    CHECK_THROWS_WITH(open_dataset(config, Split::train, {}),
                      Catch::Contains("splits of images and of data; key says which"));
    config.key = "data";
    CHECK(keys(Split::train).size() == 40);
    config.key = "images";
    CHECK(open_dataset(config, Split::train, {})->sample_shape() == std::array<std::int64_t, 4>{1, 3, 3, 1});
    config.key = "test_data";  // one array: split as any other
    config.order = "shuffled";
    CHECK(open_dataset(config, Split::train, {})->size() < 7);
  }
  SECTION("an array named data or x is taken as before") {
    arrays["x"] = numbered(60, 500);
    write();
    CHECK(*keys(Split::train).begin() >= 500);
  }
}

TEST_CASE("arrays: the names of a split file's arrays say where the channels are", "[datasets]") {
  const TempDirectory folder;
  DatasetConfig config;
  config.dataset = "npy";
  config.path = (folder / "split.npz").string();
  const auto shape_of = [&](const char* name, const std::vector<std::int64_t>& shape) {
    std::vector<float> values(to_size(count_of(FileType::f32, shape)));
    std::iota(values.begin(), values.end(), 0.0F);
    write_npz(config.path, {{name, HostArray::from_floats(shape, values)}});
    return open_dataset(config, Split::train, {})->sample_shape();
  };
  using Extents = std::array<std::int64_t, 4>;  // D, H, W, C
  CHECK(shape_of("train_volumes", {30, 8, 9, 10}) == Extents{8, 9, 10, 1});
  CHECK(shape_of("train_volumes", {30, 2, 8, 9, 10}) == Extents{8, 9, 10, 2});
  CHECK(shape_of("train_images", {30, 8, 9}) == Extents{1, 8, 9, 1});
  CHECK(shape_of("train_images", {30, 3, 8, 9}) == Extents{1, 8, 9, 3});
  CHECK(shape_of("train_images", {30, 8, 9, 3}) == Extents{1, 8, 9, 3});
  const Drawn drawn = draw(*open_dataset(config, Split::train, {}), 3);
  for (std::size_t i = 0; i < 3; ++i) {
    const auto first = static_cast<float>(drawn.labels[i].item * 216);
    for (std::size_t v = 0; v < 216; ++v) REQUIRE(drawn.values[i * 216 + v] == first + static_cast<float>(v));
  }
  CHECK_THROWS_WITH(shape_of("train_images", {30, 8, 9, 10}), Catch::Contains("can be read as"));
  CHECK_THROWS_WITH(shape_of("train_data", {30, 8, 9, 10}), Catch::Contains("can be read as"));
}
