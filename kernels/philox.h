#pragma once
// Philox 4×32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", SC 2011):
// a counter-based generator, a pure function of (counter, key), the same on every device.
#include <array>
#include <cmath>
#include <cstdint>

#if defined(__CUDACC__)
#define VOXOT_HOST_DEVICE __host__ __device__
#else
#define VOXOT_HOST_DEVICE
#endif

namespace voxot {

/// Counter and key of Philox4×32.
using PhiloxCounter = std::array<std::uint32_t, 4>;
using PhiloxKey = std::array<std::uint32_t, 2>;

/// Four 32-bit words for one counter value; ten rounds.
VOXOT_HOST_DEVICE constexpr PhiloxCounter philox(PhiloxCounter c, PhiloxKey k) {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t p0 = std::uint64_t{0xD2511F53} * c[0];
    const std::uint64_t p1 = std::uint64_t{0xCD9E8D57} * c[2];
    c = {static_cast<std::uint32_t>(p1 >> 32) ^ c[1] ^ k[0], static_cast<std::uint32_t>(p1),
         static_cast<std::uint32_t>(p0 >> 32) ^ c[3] ^ k[1], static_cast<std::uint32_t>(p0)};
    k = {k[0] + 0x9E3779B9, k[1] + 0xBB67AE85};
  }
  return c;
}

/// What a stream of random numbers is for. Streams of different purpose never overlap.
enum class Purpose : std::uint32_t {
  initialisation = 1,
  source_samples,
  target_samples,
  noise,
  split,
  evaluation,
  classifier,
  synthesis,
  test,
  pairing,
  source_noise,
  order,
};

/// Names one draw: the key is the seed; the counter is (block, step + *offset, the same's upper half,
/// purpose).
struct RandomState {
  std::uint64_t seed = 0;
  Purpose purpose = Purpose::test;
  std::uint64_t step = 0;
  /// In the memory of the device that draws; null counts as 0. A captured graph repeats its arguments, so
  /// what must differ between replays is read from memory.
  const std::uint64_t* offset = nullptr;

  /// The draw's number.
  [[nodiscard]] VOXOT_HOST_DEVICE constexpr std::uint64_t draw() const {
    return offset == nullptr ? step : step + *offset;
  }
  /// The words of the draw, four at a time.
  VOXOT_HOST_DEVICE constexpr PhiloxCounter block(std::uint32_t index) const {
    const std::uint64_t number = draw();
    return philox({index, static_cast<std::uint32_t>(number), static_cast<std::uint32_t>(number >> 32),
                   static_cast<std::uint32_t>(purpose)},
                  {static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)});
  }
};

/// A word as a uniform number in the open interval (0, 1): 23 bits, so exact in fp32.
VOXOT_HOST_DEVICE constexpr float uniform_from(std::uint32_t word) {
  return (static_cast<float>(word >> 9) + 0.5F) * (1.0F / 8388608.0F);
}

/// Box–Muller: two words to two standard normal numbers.
VOXOT_HOST_DEVICE inline std::array<float, 2> normal_from(std::uint32_t a, std::uint32_t b) {
  const float radius = std::sqrt(-2.0F * std::log(uniform_from(a)));
  const float angle = 6.283185307179586F * uniform_from(b);
  return {radius * std::cos(angle), radius * std::sin(angle)};
}

/// Sequential reading of one draw.
class Random {
 public:
  VOXOT_HOST_DEVICE Random(std::uint64_t seed, Purpose purpose, std::uint64_t step = 0)
      : state_{seed, purpose, step} {}

  /// The next word; the others read one word each, normal() two.
  VOXOT_HOST_DEVICE std::uint32_t word() {
    if (used_ == 4) {
      words_ = state_.block(next_++);
      used_ = 0;
    }
    return words_[used_++];
  }
  /// In (0, 1), or in (low, high); normal(): N(0, 1).
  VOXOT_HOST_DEVICE float uniform() { return uniform_from(word()); }
  VOXOT_HOST_DEVICE float uniform(float low, float high) { return low + (high - low) * uniform(); }
  VOXOT_HOST_DEVICE float normal() {
    const std::uint32_t a = word();
    return normal_from(a, word())[0];
  }
  /// A whole number in [0, n); the bias, n / 2^64, is far below one draw in a run.
  VOXOT_HOST_DEVICE std::uint64_t below(std::uint64_t n) {
    const std::uint64_t high = word();
    const std::uint64_t wide = (high << 32) | word();
    return static_cast<std::uint64_t>((static_cast<unsigned __int128>(wide) * n) >> 64);
  }

 private:
  RandomState state_;
  std::uint32_t next_ = 0;
  std::size_t used_ = 4;
  PhiloxCounter words_{};
};

}  // namespace voxot
