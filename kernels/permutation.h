#pragma once
// Random permutations as functions of a place: nothing is stored and nothing is sorted, so that a thread of
// any device, or a recorded graph, finds its item alone. A Feistel network whose round function is Philox
// permutes the smallest power of two that holds the items; places outside them go through it again (cycle
// walking). After Mitchell, Stokes, Frank, Holmes, "Bandwidth-optimal random shuffling for GPUs",
// arXiv 2106.06161, whose network is cheaper and needs more rounds.
#include <cstdint>

#include "kernels/philox.h"

namespace voxot {

/// Where place `i` of [0, items) goes in permutation `number` of the seed and purpose; a bijection for each
/// of these. 1 ≤ items ≤ 2^62. Of fewer than about ten items not every permutation is equally likely.
VOXOT_HOST_DEVICE inline std::uint64_t permuted(std::uint64_t i, std::uint64_t items, std::uint64_t seed,
                                                Purpose purpose, std::uint64_t number) {
  constexpr std::uint32_t kRounds = 8;
  int bits = 0;
  while (((items - 1) >> bits) != 0) ++bits;
  const int low_bits = (bits + 1) / 2;
  const std::uint64_t low_mask = (std::uint64_t{1} << low_bits) - 1;
  const std::uint64_t high_mask = (std::uint64_t{1} << (bits - low_bits)) - 1;
  const PhiloxKey key{static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)};
  const auto mixed = [&](std::uint64_t half, std::uint32_t round) {
    // No other draw has a last word of this form (Purpose, RandomState).
    const std::uint32_t stream = static_cast<std::uint32_t>(Purpose::order) |
                                 (static_cast<std::uint32_t>(purpose) << 8) | (round << 16);
    return philox({static_cast<std::uint32_t>(half), static_cast<std::uint32_t>(number),
                   static_cast<std::uint32_t>(number >> 32), stream},
                  key)[0];
  };
  do {
    std::uint64_t low = i & low_mask;
    std::uint64_t high = i >> low_bits;
    for (std::uint32_t round = 0; round < kRounds; round += 2) {
      high ^= mixed(low, round) & high_mask;
      low ^= mixed(high, round + 1) & low_mask;
    }
    i = (high << low_bits) | low;
  } while (i >= items);
  return i;
}

}  // namespace voxot
