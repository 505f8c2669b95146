// A batch that is drawn in parts has the bits that it has whole: every kind of data set, both orders, on host
// and device.
#include <map>

#include "datasets/kinds.h"
#include "engine/npy.h"
#include "kernels/check.h"
#include "kernels/sizes.h"
#include "tests/dataset_helpers.h"
#include "tests/op_case.h"
#include "tests/temp_directory.h"

using namespace voxot;
using namespace voxot::test;

namespace {

constexpr std::int64_t kBatch = 70;  // more than a data set paints at once
constexpr std::array<std::array<std::int64_t, 2>, 4> kParts{
    {{0, 1}, {1, 64}, {65, 0}, {65, 5}}};  // first, count
const RandomState kState{4, Purpose::source_samples, 9};

bool same(const SampleLabel& a, const SampleLabel& b) {
  return a.digit == b.digit && a.colour == b.colour && a.hue == b.hue && a.item == b.item;
}

Drawn draw_part(Dataset& dataset, std::int64_t first, std::int64_t count) {
  Drawn drawn;
  drawn.values.resize(to_size(count * values_in(dataset)));
  drawn.labels.resize(to_size(count));
  dataset.draw({kState, kBatch, first, count}, drawn.values.data(), drawn.labels);
  return drawn;
}

/// The file that a kind needs, with forty items.
std::string file_of(const DatasetKind& kind, const TempDirectory& folder) {
  std::vector<float> values(80);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
  std::map<std::string, HostArray> arrays;
  if (kind.truth == nullptr) {
    arrays["data"] = HostArray::from_floats({40, 2}, values);
    std::vector<std::int64_t> labels(40);
    for (std::size_t i = 0; i < labels.size(); ++i) labels[i] = static_cast<std::int64_t>(i % 3);
    arrays["labels"] = HostArray::from_int64({40}, labels);
  } else {
    for (const char* name : {"source", "target", "test_source", "test_target"})
      arrays[name] = HostArray::from_floats({40, 2}, values);
    arrays["target_var"] = HostArray::from_floats({}, {2.5F});
  }
  const auto file = folder / (std::string(kind.name) + ".npz");
  write_npz(file, arrays);
  return file.string();
}

/// Configs of this kind that draw in different ways.
std::vector<DatasetConfig> configs_of(const DatasetKind& kind, const TempDirectory& folder) {
  DatasetConfig config;
  config.dataset = kind.name;
  config.resolution = 8;
  config.extrude = {2, 6};
  if (kind.keys.has(DatasetKey::dimension)) config.dimension = 19;
  if (kind.needs_path) config.path = file_of(kind, folder);
  std::vector<DatasetConfig> configs{config};
  if (kind.keys.has(DatasetKey::rotation)) {
    configs.push_back(config);
    configs.back().rotation = "one_axis";
    configs.back().colour = "uniform";
  }
  if (kind.keys.has(DatasetKey::field)) {
    configs.push_back(config);
    configs.back().field = true;
  }
  return configs;
}

void check_on_host(Dataset& dataset) {
  const Drawn whole = draw_part(dataset, 0, kBatch);
  for (const auto& [first, count] : kParts) {
    CAPTURE(first, count);
    const Drawn part = draw_part(dataset, first, count);
    const auto begin = whole.values.begin() + first * values_in(dataset);
    CHECK(std::equal(part.values.begin(), part.values.end(), begin));
    CHECK(std::equal(part.labels.begin(), part.labels.end(), whole.labels.begin() + first, same));
  }
  std::vector<float> unlabelled(whole.values.size());
  dataset.draw({kState, kBatch}, unlabelled.data());
  CHECK((unlabelled == whole.values));
}

void check_on_device(Dataset& dataset, Device device) {
  const auto there = dataset.on_device(device);
  if (!there) return;
  const std::vector<float> whole = there->draw({kState, kBatch}).to_floats();
  const std::vector<SampleLabel> labels = draw_part(dataset, 0, kBatch).labels;
  for (const auto& [first, count] : kParts) {
    if (count == 0) continue;
    CAPTURE(name_of(device), first, count);
    const auto chosen = there->choose({kState, kBatch, first, count});
    const std::vector<float> part = there->volumes_of(chosen).to_floats();
    CHECK(std::equal(part.begin(), part.end(), whole.begin() + first * values_in(dataset)));
    const std::vector<std::int32_t> digits = there->digits_of(chosen).to_host();
    CHECK(std::equal(digits.begin(), digits.end(), labels.begin() + first,
                     [](std::int32_t digit, const SampleLabel& label) { return digit == label.digit; }));
  }
}

}  // namespace

TEST_CASE("parts: every kind draws a batch in parts as it draws it whole", "[datasets][device]") {
  const TempDirectory folder;
  const std::filesystem::path directory = mnist_directory();
  for (const DatasetKind& kind : dataset_kinds()) {
    if (kind.find == nullptr || !kind.find(directory).found) continue;
    for (DatasetConfig config : configs_of(kind, folder)) {
      for (const char* order : {"random", "shuffled"}) {
        config.order = order;
        CAPTURE(kind.name, config.rotation, config.field, order);
        config.order = "random";
        if (open_dataset(config, Split::validation, directory)->size() < 0 &&
            order == std::string("shuffled"))
          continue;
        config.order = order;
        const auto dataset = open_dataset(config, Split::validation, directory);
        check_on_host(*dataset);
        for (const Device device : devices()) check_on_device(*dataset, device);
      }
    }
  }
}

TEST_CASE("parts: what is no part of a batch, and labels for other samples, are refused", "[datasets]") {
  const auto dataset = open_dataset(digits_config(), Split::train, {});
  std::vector<float> out(to_size(2 * values_in(*dataset)));
  std::vector<SampleLabel> three(3);
  const auto error = [&](const BatchPart& part, std::span<SampleLabel> labels = {}) {
    return error_of([&] { dataset->draw(part, out.data(), labels); });
  };
  CHECK_THAT(error({kState, 4, 3, 2}), Catch::Contains("got [3, 5) of 4"));
  CHECK_THAT(error({kState, 4, -1, 2}), Catch::Contains("got [-1, 1) of 4"));
  CHECK_THAT(error({kState, (1 << 20) + 1, 0, 1}), Catch::Contains("2^20"));
  CHECK_THAT(error({kState, 2}, three), Catch::Contains("3 labels for 2 samples"));
}
