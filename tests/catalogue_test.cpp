// voxot data list | make | fetch.
#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <filesystem>
#include <string>
#include <vector>

#include "datasets/catalogue.h"
#include "datasets/dataset.h"
#include "datasets/mnist.h"
#include "engine/host_array.h"
#include "engine/npy.h"
#include "kernels/check.h"
#include "tests/dataset_helpers.h"
#include "tests/temp_directory.h"

using namespace voxot;
using namespace voxot::test;
namespace fs = std::filesystem;

TEST_CASE("make writes what draw gives, in PyTorch's axis order", "[datasets]") {
  const TempDirectory folder;
  const fs::path file = folder.path() / "made.npz";
  DatasetConfig config = digits_config();
  config.classes = {2, 4};
  make_dataset(config, Split::test, {}, 1030, 11, file);
  const auto arrays = read_npz(file);
  const HostArray& data = arrays.at("data");
  CHECK(data.shape == std::vector<std::int64_t>{1030, 3, 16, 16, 16});
  CHECK(arrays.at("labels").shape == std::vector<std::int64_t>{1030});
  const Drawn drawn =
      draw(*open_dataset(config, Split::test, {}), 6, 1, 11, Purpose::evaluation);  // the second block
  const std::vector<float> values = data.to_floats();
  const std::vector<float> labels = arrays.at("labels").to_floats();
  const std::vector<float> colours = arrays.at("colours").to_floats();
  for (int i = 0; i < 6; ++i) {
    CHECK(labels[1024 + i] == static_cast<float>(drawn.labels[i].digit));
    CHECK(colours[1024 + i] == static_cast<float>(drawn.labels[i].colour));
    bool same = true;
    for (int c = 0; c < 3; ++c) {
      for (int v = 0; v < 4096; ++v) {
        same = same && values[((1024 + i) * 3 + c) * 4096 + v] == drawn.values[(i * 4096 + v) * 3 + c];
      }
    }
    CHECK(same);
  }
  CHECK_THROWS_AS(make_dataset(config, Split::test, {}, 0, 11, file), UsageError);
  CHECK_THROWS_AS(make_dataset(config, Split::test, {}, 1, 11, folder.path() / "made.txt"), UsageError);
}

namespace {

CatalogueEntry entry(const std::vector<CatalogueEntry>& list, const std::string& name) {
  const auto found = std::find_if(list.begin(), list.end(), [&](const auto& e) { return e.name == name; });
  REQUIRE(found != list.end());
  return *found;
}

}  // namespace

TEST_CASE("the catalogue tells what is not there, and what needs no files", "[datasets]") {
  const TempDirectory folder;
  const std::vector<CatalogueEntry> bare = list_datasets(folder.path());
  CHECK_FALSE(entry(bare, "mnist3d").found);
  CHECK(entry(bare, "digits").found);
  CHECK(entry(bare, "digits").items == std::array<std::int64_t, 3>{-1, -1, -1});
}

TEST_CASE("the catalogue tells what is there", "[datasets]") {
  const fs::path directory = mnist_directory();
  if (directory.empty()) return;
  const CatalogueEntry mnist = entry(list_datasets(directory), "mnist3d");
  CHECK(mnist.found);
  CHECK(mnist.items == std::array<std::int64_t, 3>{55000, 5000, 10000});
  CHECK(fs::exists(mnist.where));
}

TEST_CASE("fetch leaves nothing where there is nothing to fetch", "[datasets]") {
  const TempDirectory folder;
  CHECK_THROWS_AS(fetch_dataset("imagenet", folder.path()), UsageError);
  const std::string nowhere = "file://" + (folder.path() / "nowhere").string();
  CHECK_THROWS_WITH(fetch_dataset("mnist", folder.path(), {nowhere}),
                    Catch::Contains("cannot download train-images") && Catch::Contains(nowhere));
  CHECK(fs::is_empty(folder.path() / "mnist"));
}

TEST_CASE("fetch keeps good files, replaces damaged ones and never leaves a bad one", "[datasets]") {
  const fs::path directory = mnist_directory();
  if (directory.empty()) return;
  const fs::path original = fs::absolute(find_mnist(directory));
  if (!fs::exists(original / "train-images-idx3-ubyte.gz")) {
    return skip("MNIST is there, but unpacked; the mirror of this test needs the .gz files");
  }
  const TempDirectory folder;
  const std::string nowhere = "file://" + (folder.path() / "nowhere").string();
  const std::string mirror = "file://" + original.string();
  const fs::path fetched = fetch_dataset("mnist", folder.path(), {nowhere, mirror});
  CHECK(find_mnist(folder.path()) == fetched);

  const fs::path victim = fetched / "t10k-labels-idx1-ubyte.gz";
  const fs::path kept = fetched / "t10k-images-idx3-ubyte.gz";
  const auto before = fs::last_write_time(kept);
  fs::resize_file(victim, 1000);
  CHECK_THROWS_AS(fetch_dataset("mnist", folder.path(), {nowhere}), Error);
  CHECK(fs::file_size(victim) == 1000);
  fetch_dataset("mnist", folder.path(), {mirror});
  CHECK(fs::file_size(victim) == fs::file_size(original / victim.filename()));
  CHECK(fs::last_write_time(kept) == before);

  // A mirror that serves other bytes under the right name.
  const fs::path liar = folder.path() / "liar";
  fs::create_directory(liar);
  fs::copy_file(original / "train-labels-idx1-ubyte.gz", liar / victim.filename());
  fs::remove(victim);
  CHECK_THROWS_WITH(fetch_dataset("mnist", folder.path(), {"file://" + liar.string()}),
                    Catch::Contains("MD5"));
  CHECK_FALSE(fs::exists(victim));
}
