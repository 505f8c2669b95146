// The generator against Random123's published vectors, and its streams.
#include "kernels/philox.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <set>
#include <vector>

#include "kernels/elementwise.h"
#include "tests/op_case.h"

using namespace voxot;
using namespace voxot::test;

TEST_CASE("philox: known answers of Random123 for philox4x32-10", "[philox]") {
  CHECK(philox({0, 0, 0, 0}, {0, 0}) == PhiloxCounter{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  constexpr std::uint32_t kAll = 0xffffffff;
  CHECK(philox({kAll, kAll, kAll, kAll}, {kAll, kAll}) ==
        PhiloxCounter{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  CHECK(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}) ==
        PhiloxCounter{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("philox: it is a constant expression", "[philox]") {
  STATIC_REQUIRE(philox({0, 0, 0, 0}, {0, 0})[0] == 0x6627e8d5);
}

TEST_CASE("philox: the counter names block, step and purpose, the key is the seed", "[philox]") {
  const RandomState state{0x299f31d0a4093822, static_cast<Purpose>(0x03707344), 0x13198a2e85a308d3};
  CHECK(state.block(0x243f6a88) == PhiloxCounter{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("philox: purposes, steps and seeds give distinct streams", "[philox]") {
  std::set<PhiloxCounter> seen;
  std::size_t blocks = 0;
  for (const std::uint64_t seed : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{1} << 32}) {
    for (const Purpose purpose :
         {Purpose::initialisation, Purpose::source_samples, Purpose::target_samples, Purpose::noise,
          Purpose::split, Purpose::evaluation, Purpose::classifier, Purpose::synthesis, Purpose::test}) {
      for (const std::uint64_t step : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{1} << 32}) {
        for (std::uint32_t block = 0; block < 50; ++block) {
          seen.insert(RandomState{seed, purpose, step}.block(block));
          ++blocks;
        }
      }
    }
  }
  CHECK(seen.size() == blocks);
}

TEST_CASE("philox: sequential reading gives the blocks' words in order", "[philox]") {
  Random random(42, Purpose::test, 5);
  const RandomState state{42, Purpose::test, 5};
  for (std::uint32_t block = 0; block < 3; ++block) {
    for (const std::uint32_t word : state.block(block)) CHECK(random.word() == word);
  }
}

TEST_CASE("philox: element i of a fill is number i mod 4 of block i div 4, on every device",
          "[philox][device]") {
  const Device device = GENERATE(from_range(devices()));
  INFO(name_of(device));
  const RandomState state{(std::uint64_t{1} << 40) + 3, Purpose::test, (std::uint64_t{1} << 33) + 1};
  const Tensor t = Tensor::empty({1030}, DType::f32, device);
  kernels::fill_uniform(t.stream(), t.dtype(),
                        {.count = t.count(), .state = state, .low = 0, .high = 1, .y = t.data()});
  const std::vector<float> values = t.to_floats();
  std::int64_t wrong = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    wrong += values[i] == uniform_from(state.block(static_cast<std::uint32_t>(i / 4))[i % 4]) ? 0 : 1;
  }
  CHECK(wrong == 0);
}

TEST_CASE("philox: uniform numbers stay inside the open interval", "[philox]") {
  CHECK(uniform_from(0) > 0.0F);
  CHECK(uniform_from(0xffffffff) < 1.0F);
  const auto far = normal_from(0, 0);
  CHECK(std::isfinite(far[0]));
  CHECK(std::isfinite(normal_from(0xffffffff, 0xffffffff)[0]));
}

TEST_CASE("philox: whole numbers are uniform below their bound", "[philox]") {
  Random random(1, Purpose::test);
  std::vector<int> counts(7);
  for (int i = 0; i < 70000; ++i) {
    const std::uint64_t v = random.below(7);
    REQUIRE(v < 7);
    ++counts[v];
  }
  for (const int c : counts) CHECK(std::abs(c - 10000) < 5 * 93);  // deviation √(10000·6/7)
  CHECK(random.below(1) == 0);
}
