// The order of a data set's items: permutations as functions of a place, and shuffled draws on host and
// device.
#include <numeric>
#include <set>

#include "datasets/device_samples.h"
#include "engine/npy.h"
#include "kernels/permutation.h"
#include "kernels/sizes.h"
#include "tests/dataset_helpers.h"
#include "tests/op_case.h"
#include "tests/temp_directory.h"

using namespace voxot;
using namespace voxot::test;

namespace {

std::vector<std::uint64_t> permutation(std::uint64_t items, std::uint64_t number, std::uint64_t seed = 3,
                                       Purpose purpose = Purpose::source_samples) {
  std::vector<std::uint64_t> places(items);
  for (std::uint64_t i = 0; i < items; ++i) places[i] = permuted(i, items, seed, purpose, number);
  return places;
}

/// How far the counts of equally likely cells are from even, in deviations of χ².
double excess(const std::vector<std::int64_t>& counts) {
  const double cells = static_cast<double>(counts.size());
  const double expected =
      static_cast<double>(std::accumulate(counts.begin(), counts.end(), std::int64_t{0})) / cells;
  double sum = 0;
  for (const std::int64_t c : counts)
    sum += (static_cast<double>(c) - expected) * (static_cast<double>(c) - expected) / expected;
  return (sum - (cells - 1)) / std::sqrt(2 * (cells - 1));
}

/// Sixty vectors of one value, their own number: its training split has some fifty.
DatasetConfig numbers(const TempDirectory& folder) {
  std::vector<float> values(60);
  std::iota(values.begin(), values.end(), 0.0F);
  write_npy(folder.path() / "numbers.npy", HostArray::from_floats({60, 1}, values));
  DatasetConfig config;
  config.dataset = "npy";
  config.path = "numbers.npy";
  config.order = "shuffled";
  return config;
}

}  // namespace

TEST_CASE("permutation: every item once, for any number of items", "[permutation]") {
  std::vector<std::uint64_t> sizes(300);
  std::iota(sizes.begin(), sizes.end(), 1);
  sizes.insert(sizes.end(), {1023, 1024, 1025, 6131, 65537});
  for (const std::uint64_t items : sizes) {
    CAPTURE(items);
    std::vector<std::uint64_t> places = permutation(items, items % 7);
    std::sort(places.begin(), places.end());
    std::vector<std::uint64_t> all(items);
    std::iota(all.begin(), all.end(), 0);
    REQUIRE(places == all);
  }
  const std::uint64_t many = (std::uint64_t{1} << 40) + 12345;
  std::set<std::uint64_t> seen;
  for (std::uint64_t i = 0; i < 1000; ++i) seen.insert(permuted(many - 1 - i, many, 1, Purpose::test, 0));
  CHECK(seen.size() == 1000);
  CHECK(*seen.rbegin() < many);
  CHECK(*seen.begin() < many / 4);
}

TEST_CASE("permutation: number, seed and purpose each make another", "[permutation]") {
  const auto first = permutation(100, 0);
  CHECK(first == permutation(100, 0));
  CHECK(first != permutation(100, 1));
  CHECK(first != permutation(100, std::uint64_t{1} << 32));
  CHECK(first != permutation(100, 0, 4));
  CHECK(first != permutation(100, 0, std::uint64_t{3} << 32));
  CHECK(first != permutation(100, 0, 3, Purpose::target_samples));
}

TEST_CASE("permutation: a place gets every item, and two places every pair, equally often", "[permutation]") {
  // Above 4.5 deviations lies χ² of 9 degrees of freedom once in a thousand times, of more more rarely.
  for (const std::uint64_t items : {10, 37, 256, 1000}) {
    const std::uint64_t numbers = 40 * items;
    for (const std::uint64_t place : {std::uint64_t{0}, std::uint64_t{1}, items / 2, items - 1}) {
      std::vector<std::int64_t> counts(items);
      for (std::uint64_t k = 0; k < numbers; ++k) ++counts[permuted(place, items, 11, Purpose::test, k)];
      CAPTURE(items, place);
      CHECK(std::abs(excess(counts)) < 4.5);
    }
  }
  for (const std::uint64_t items : {10, 37}) {
    for (const std::uint64_t other : {std::uint64_t{1}, items / 2, items - 1}) {
      std::vector<std::int64_t> counts(items * (items - 1));
      const std::uint64_t numbers = 40 * counts.size();
      for (std::uint64_t k = 0; k < numbers; ++k) {
        const std::uint64_t a = permuted(0, items, 12, Purpose::test, k);
        const std::uint64_t b = permuted(other, items, 12, Purpose::test, k);
        ++counts[a * (items - 1) + (b > a ? b - 1 : b)];
      }
      CAPTURE(items, other);
      CHECK(std::abs(excess(counts)) < 4.5);
    }
  }
}

TEST_CASE("order: shuffled, every item comes once before one comes again", "[permutation][datasets]") {
  const TempDirectory folder;
  const DatasetConfig config = numbers(folder);
  const auto dataset = open_dataset(config, Split::train, folder.path());
  const std::int64_t items = dataset->size();
  const std::int64_t n = 7;  // batches lie across the ends of epochs
  REQUIRE(items % n != 0);
  std::vector<std::int64_t> drawn;
  for (std::uint64_t step = 0; step < 25; ++step) {
    for (const SampleLabel& label : draw(*dataset, n, step).labels) drawn.push_back(label.item);
  }
  std::vector<std::int64_t> former;
  for (std::int64_t epoch = 0; (epoch + 1) * items <= std::ssize(drawn); ++epoch) {
    CAPTURE(epoch);
    const std::vector<std::int64_t> order(drawn.begin() + epoch * items, drawn.begin() + (epoch + 1) * items);
    CHECK(std::set<std::int64_t>(order.begin(), order.end()).size() == to_size(items));
    CHECK(order != former);
    former = order;
  }
  REQUIRE(!former.empty());
  // In random order some come twice within an epoch: of fifty, all distinct has a chance of 1e-21.
  DatasetConfig any = config;
  any.order = "random";
  std::set<std::int64_t> distinct;
  for (const SampleLabel& label : draw(*open_dataset(any, Split::train, folder.path()), items).labels) {
    distinct.insert(label.item);
  }
  CHECK(distinct.size() < to_size(items));
}

TEST_CASE("order: a device chooses what the host does, where the draw's number lies in memory",
          "[permutation][volumes][datasets][device]") {
  const TempDirectory folder;
  const auto dataset = open_dataset(numbers(folder), Split::train, folder.path());
  for (const Device device : devices()) {
    CAPTURE(name_of(device));
    const auto there = dataset->on_device(device);
    REQUIRE(there);
    for (const std::uint64_t step : {0, 1, 8, 1000}) {
      const std::vector<std::int64_t> number{static_cast<std::int64_t>(step)};
      const Tensor memory = Tensor::empty({1}, DType::f64, device);
      kernels::copy_bytes(memory.stream(), memory.data(), number.data(), sizeof(std::uint64_t));
      const RandomState state{1, Purpose::source_samples, 0, memory.as<std::uint64_t>()};
      CHECK((there->draw({state, 11}).to_floats() == draw(*dataset, 11, step).values));
    }
  }
}

TEST_CASE("order: of items without number only random makes sense", "[permutation][datasets]") {
  DatasetConfig config = digits_config();
  config.order = "shuffled";
  CHECK_THAT(error_of([&] { open_dataset(config, Split::train, {}); }), Catch::Contains("have no number"));
  config.order = "sorted";
  CHECK_THAT(error_of([&] { open_dataset(config, Split::train, {}); }),
             Catch::Contains("expected random or shuffled, got \"sorted\""));
  DatasetConfig gaussian;
  gaussian.dataset = "gaussian";
  gaussian.order = "shuffled";
  CHECK_THAT(error_of([&] { open_dataset(gaussian, Split::train, {}); }), Catch::Contains("have no number"));
}
