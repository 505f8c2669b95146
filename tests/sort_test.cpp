// Sorts, scans and groups on every device against the standard library: odd sizes, one element, duplicates,
// negative and extreme keys; inside a recorded graph, and with memory around the arrays watched.
#include "kernels/sort.h"

#include <numeric>

#include "engine/buffer.h"
#include "engine/graph.h"
#include "kernels/sizes.h"
#include "tests/op_case.h"
#include "tests/temp_directory.h"

using namespace voxot;
using namespace voxot::test;

namespace {

// Empty, one, within a warp, a tile of CUB's and a block of ours, and past them.
constexpr std::int64_t kSizes[] = {0, 1, 2, 31, 33, 255, 257, 1000, 4097, 20011};

enum class Keys : std::uint8_t { few, negative, wide, equal, descending };

std::vector<std::int64_t> keys_of(std::int64_t n, Keys kind) {
  Random random(static_cast<std::uint64_t>(n) + 1, Purpose::test, static_cast<std::uint64_t>(kind));
  std::vector<std::int64_t> keys;
  for (std::int64_t i = 0; i < n; ++i) {
    const auto small = static_cast<std::int64_t>(random.below(7));
    const auto wide = static_cast<std::int64_t>((std::uint64_t{random.word()} << 32) | random.word());
    switch (kind) {
      case Keys::few:
        keys.push_back(small);
        break;
      case Keys::negative:
        keys.push_back(small - 4);
        break;
      case Keys::wide:
        keys.push_back(small == 0   ? std::numeric_limits<std::int64_t>::min()
                       : small == 1 ? std::numeric_limits<std::int64_t>::max()
                                    : wide);
        break;
      case Keys::equal:
        keys.push_back(-3);
        break;
      case Keys::descending:
        keys.push_back(-i);
        break;
    }
  }
  return keys;
}

constexpr Keys kKinds[] = {Keys::few, Keys::negative, Keys::wide, Keys::equal, Keys::descending};

std::vector<std::int32_t> stable_order(const std::vector<std::int64_t>& keys) {
  std::vector<std::int32_t> order(keys.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](std::int32_t a, std::int32_t b) { return keys[to_size(a)] < keys[to_size(b)]; });
  return order;
}

/// An array between two numbers that nobody may change.
template <class T>
struct GuardedBuffer {
  explicit GuardedBuffer(std::int64_t n, Device device)
      : all(Buffer<T>::from(std::vector<T>(to_size(n) + 2, T{-77}), device)) {}
  [[nodiscard]] T* data() const { return all.data() + 1; }
  [[nodiscard]] std::vector<T> read() const {
    const std::vector<T> values = all.to_host();
    CHECK(values.front() == -77);
    CHECK(values.back() == -77);
    return {values.begin() + 1, values.end() - 1};
  }
  Buffer<T> all;
};

}  // namespace

TEST_CASE("sort: pairs by ascending key, stably, on every device", "[sort][device]") {
  for (const Device device : devices()) {
    for (const std::int64_t n : kSizes) {
      for (const Keys kind : kKinds) {
        CAPTURE(name_of(device), n, static_cast<int>(kind));
        const std::vector<std::int64_t> keys = keys_of(n, kind);
        std::vector<std::int32_t> values(keys.size());
        for (std::size_t i = 0; i < values.size(); ++i) values[i] = 1000 - 3 * static_cast<std::int32_t>(i);
        const auto k = Buffer<std::int64_t>::from(keys, device);
        const auto v = Buffer<std::int32_t>::from(values, device);
        const GuardedBuffer<std::int64_t> sorted_keys(n, device);
        const GuardedBuffer<std::int32_t> sorted_values(n, device);
        kernels::sort_pairs(k.stream(), n, k.data(), v.data(), sorted_keys.data(), sorted_values.data());
        std::vector<std::int64_t> expected_keys;
        std::vector<std::int32_t> expected_values;
        for (const std::int32_t at : stable_order(keys)) {
          expected_keys.push_back(keys[to_size(at)]);
          expected_values.push_back(values[to_size(at)]);
        }
        CHECK(sorted_keys.read() == expected_keys);
        CHECK(sorted_values.read() == expected_values);
        CHECK(k.to_host() == keys);
      }
    }
  }
}

TEST_CASE("sort: exclusive sums on every device", "[sort][device]") {
  for (const Device device : devices()) {
    for (const std::int64_t n : kSizes) {
      CAPTURE(name_of(device), n);
      Random random(static_cast<std::uint64_t>(n), Purpose::test);
      std::vector<std::int32_t> values;
      for (std::int64_t i = 0; i < n; ++i) values.push_back(static_cast<std::int32_t>(random.below(9)) - 4);
      const auto v = Buffer<std::int32_t>::from(values, device);
      const GuardedBuffer<std::int32_t> sums(n, device);
      kernels::exclusive_sum(v.stream(), n, v.data(), sums.data());
      std::vector<std::int32_t> expected(values.size());
      std::exclusive_scan(values.begin(), values.end(), expected.begin(), 0);
      CHECK(sums.read() == expected);
    }
  }
}

TEST_CASE("sort: groups of equal keys on every device", "[sort][device]") {
  for (const Device device : devices()) {
    for (const std::int64_t n : kSizes) {
      for (const Keys kind : kKinds) {
        CAPTURE(name_of(device), n, static_cast<int>(kind));
        const std::vector<std::int64_t> keys = keys_of(n, kind);
        const auto k = Buffer<std::int64_t>::from(keys, device);
        const GuardedBuffer<std::int32_t> order(n, device);
        const GuardedBuffer<std::int32_t> count(1, device);
        const GuardedBuffer<std::int64_t> group_keys(n, device);
        const GuardedBuffer<std::int32_t> starts(n + 1, device);
        kernels::group_by_key(k.stream(), {.n = n,
                                           .keys = k.data(),
                                           .order = order.data(),
                                           .count = count.data(),
                                           .group_keys = group_keys.data(),
                                           .starts = starts.data()});
        const std::vector<std::int32_t> expected = stable_order(keys);
        CHECK(order.read() == expected);
        std::vector<std::int64_t> distinct = keys;
        std::sort(distinct.begin(), distinct.end());
        distinct.erase(std::unique(distinct.begin(), distinct.end()), distinct.end());
        REQUIRE(count.read().front() == static_cast<std::int32_t>(distinct.size()));
        const std::vector<std::int64_t> found = group_keys.read();
        const std::vector<std::int32_t> first = starts.read();
        CHECK(std::equal(distinct.begin(), distinct.end(), found.begin()));
        for (std::size_t g = 0; g < distinct.size(); ++g) {
          const auto key = [&](std::int32_t place) { return keys[to_size(expected[to_size(place)])]; };
          REQUIRE(key(first[g]) == distinct[g]);
          REQUIRE((first[g] == 0 || key(first[g] - 1) < distinct[g]));
        }
        CHECK(first[distinct.size()] == n);
      }
    }
  }
}

TEST_CASE("sort: a recorded sort sorts what lies in memory now", "[sort][cuda]") {
  for (const Device device : devices()) {
    CAPTURE(name_of(device));
    constexpr std::int64_t kCount = 300;
    const Buffer<std::int64_t> keys(kCount, device);
    const Buffer<std::int32_t> order(kCount, device);
    const Buffer<std::int32_t> count(1, device);
    const Buffer<std::int64_t> group_keys(kCount, device);
    const Buffer<std::int32_t> starts(kCount + 1, device);
    StepGraph graph(device, true);
    for (const Keys kind : kKinds) {
      const std::vector<std::int64_t> now = keys_of(kCount, kind);
      kernels::copy_bytes(keys.stream(), keys.data(), now.data(), now.size() * sizeof(std::int64_t));
      graph.run([&] {
        kernels::group_by_key(keys.stream(), {.n = kCount,
                                              .keys = keys.data(),
                                              .order = order.data(),
                                              .count = count.data(),
                                              .group_keys = group_keys.data(),
                                              .starts = starts.data()});
      });
      CHECK(order.to_host() == stable_order(now));
    }
  }
}

TEST_CASE("sort: the emulation reports a sort of what nothing wrote", "[sort][cuda]") {
  if (kernels::cuda_build() != "emulated") {
    skip("only the emulation watches memory");
    return;
  }
  const Buffer<std::int64_t> keys(5, Device::cuda);
  const auto values = Buffer<std::int32_t>::from(std::vector<std::int32_t>(5), Device::cuda);
  const Buffer<std::int64_t> sorted_keys(5, Device::cuda);
  const Buffer<std::int32_t> sorted_values(5, Device::cuda);
  CHECK_THAT(error_of([&] {
               kernels::sort_pairs(keys.stream(), 5, keys.data(), values.data(), sorted_keys.data(),
                                   sorted_values.data());
             }),
             Catch::Contains("sort_pairs reads what nothing wrote"));
}

TEST_CASE("gather: rows by their numbers, of every type and width, on every device",
          "[sort][gather][device]") {
  for (const Device device : devices()) {
    for (const DType dtype : {DType::f32, DType::bf16, DType::f64}) {
      for (const std::int64_t width : {1, 3, 8, 4097}) {
        CAPTURE(name_of(device), name_of(dtype), width);
        const Tensor rows = Tensor::normal({5, width}, {1, Purpose::test}, 0, 1, dtype);
        const std::vector<std::int32_t> numbers{4, 0, 0, 3, 4, 2, 1};
        const auto index = Buffer<std::int32_t>::from(numbers, device);
        const Tensor out = gather_rows(rows.to(device), index);
        REQUIRE(out.shape() == Shape{7, width});
        CHECK(out.dtype() == dtype);
        for (std::size_t i = 0; i < numbers.size(); ++i) {
          CHECK(out.window(static_cast<std::int64_t>(i) * width, {width}).to_floats() ==
                rows.window(numbers[i] * width, {width}).to_floats());
        }
      }
    }
  }
  CHECK_THAT(error_of([] { gather_rows(Tensor(), Buffer<std::int32_t>()); }),
             Catch::Contains("there are no rows"));
}
