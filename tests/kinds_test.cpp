// The table of the kinds of data sets: what it says is what they are.
#include "datasets/kinds.h"
#include "datasets/catalogue.h"
#include "engine/npy.h"
#include "kernels/check.h"
#include "tests/dataset_helpers.h"
#include "tests/op_case.h"
#include "tests/temp_directory.h"

using namespace voxot;
using namespace voxot::test;

TEST_CASE("kinds: a config describes the samples that its kind draws", "[datasets]") {
  const std::filesystem::path directory = mnist_directory();
  for (const DatasetKind& kind : dataset_kinds()) {
    CAPTURE(kind.name);
    for (const char* colour : {"none", "four"}) {
      for (const bool field : {false, true}) {
        DatasetConfig config;
        config.dataset = kind.name;
        config.colour = colour;
        config.field = field;
        config.resolution = 8;
        config.extrude = {2, 6};
        CHECK(described_shape(config).has_value() == (kind.form != SampleForm::file));
        if (kind.needs_path || (kind.find != nullptr && !kind.find(directory).found)) continue;
        CHECK(open_dataset(config, Split::test, directory)->sample_shape() == described_shape(config));
      }
    }
  }
}

TEST_CASE("kinds: names are unique, and every kind but auto is listed", "[datasets]") {
  const std::vector<CatalogueEntry> entries = list_datasets({});
  std::size_t listed = 0;
  for (const DatasetKind& kind : dataset_kinds()) {
    CAPTURE(kind.name);
    DatasetConfig config;
    config.dataset = kind.name;
    CHECK(&kind_of(config) == &kind);
    if (kind.find == nullptr) continue;
    REQUIRE(listed < entries.size());
    CHECK(entries[listed++].name == kind.name);
  }
  CHECK(listed == entries.size());
  CHECK(dataset_kinds().front().find == nullptr);
}

TEST_CASE("kinds: a key is read where it has an effect", "[datasets]") {
  DatasetConfig config = digits_config();
  CHECK(reads(config, DatasetKey::rotation));
  CHECK_FALSE(reads(config, DatasetKey::rotation_degrees));
  CHECK_FALSE(reads(config, DatasetKey::noise));
  config.rotation = "one_axis";
  CHECK(reads(config, DatasetKey::rotation_degrees));
  CHECK(reads(config, DatasetKey::rotate));

  config.dataset = "kaggle3d";
  CHECK(reads(config, DatasetKey::rotation_degrees));
  CHECK_FALSE(reads(config, DatasetKey::rotate));
  CHECK_FALSE(reads(config, DatasetKey::extrude));
  CHECK(reads(config, DatasetKey::noise));
  config.path = "full_dataset_vectors.h5";
  for (const DatasetKey key : {DatasetKey::rotation, DatasetKey::rotation_degrees, DatasetKey::noise})
    CHECK_FALSE(reads(config, key));
  CHECK(reads(config, DatasetKey::colour));

  DatasetConfig gaussian;
  gaussian.dataset = "gaussian";
  CHECK(reads(gaussian, DatasetKey::dimension));
  CHECK_FALSE(reads(gaussian, DatasetKey::resolution));
  gaussian.field = true;
  CHECK_FALSE(reads(gaussian, DatasetKey::dimension));
  CHECK(reads(gaussian, DatasetKey::resolution));
}
