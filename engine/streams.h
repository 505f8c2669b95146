#pragma once
// The numbers that keep streams of random numbers apart. Streams differ in purpose (Purpose,
// kernels/philox.h); one purpose has many draws under one seed, each with steps of its own (RandomState).
// What a step counts:
//
//   initialisation                  network << 32 | parameter                (NetworkStream)
//   source_samples, target_samples  draw << 20 | sample                      (BatchPart)
//   noise, source_noise             the solver's draw
//   pairing                         the draw; sample i reads draw << 20 | i
//   classifier                      training step of the judge << 20 | sample
//   evaluation                      samples: draw << 20 | sample; noise of a map or sampler: draw << 32 |
//   sample
//                                   (EvaluationDraw)
//   synthesis                       of a Gaussian pair: role; of procedural digits: split << 32 | image
//   order                           no steps: permutations of any purpose (kernels/permutation.h)
//
// All of them stay for ever: with other numbers the same config draws other bits.
#include <cstddef>
#include <cstdint>
#include <iterator>

#include "kernels/check.h"
#include "kernels/philox.h"

namespace voxot {

/// Seeds of what does not depend on a run's seed.
inline constexpr std::uint64_t kJudgeSeed = 0x6A75646765;
inline constexpr std::uint64_t kDigitSeed = 0x766F786F74;  // an item's index names its image

/// Whose initial values are drawn under one seed. A solver's networks take theirs by role.
enum class NetworkStream : std::uint32_t { transport, potential, judge };

/// Draws of Purpose::evaluation, under the run's seed but for the judge's.
enum class EvaluationDraw : std::uint8_t {
  judge_test,         // what the judge is tested on
  test_source,        // sources of the scores
  test_target,        // targets of the scores
  test_noise,         // of their map
  truth_source,       // sources whose optimal image is known
  truth_noise,        // of their map
  test_pairs,         // of a solver that samples pairs
  validation_source,  // sources of the validation
  shown_source,       // what a run's pictures show
  shown_target,
  validation_noise,
  shown_noise,
  validation_target,
  validation_pairs,
  shown_pairs,
  diversity_noise,  // draws of z for one source
};

/// The numbers that the draws of one name have.
struct EvaluationRange {
  EvaluationDraw draw;
  bool noise;           // else samples
  std::uint64_t first;  // number
  std::uint64_t count = 1;

  [[nodiscard]] constexpr std::uint64_t begin() const { return first << (noise ? 32 : 20); }
  [[nodiscard]] constexpr std::uint64_t end() const { return (first + count) << (noise ? 32 : 20); }
};

/// One row for each EvaluationDraw, in their order.
inline constexpr EvaluationRange kEvaluationRanges[] = {
    {EvaluationDraw::judge_test, false, 0},         {EvaluationDraw::test_source, false, 1},
    {EvaluationDraw::test_target, false, 2},        {EvaluationDraw::test_noise, true, 3},
    {EvaluationDraw::truth_source, false, 4},       {EvaluationDraw::truth_noise, true, 5},
    {EvaluationDraw::test_pairs, true, 6},          {EvaluationDraw::validation_source, false, 11},
    {EvaluationDraw::shown_source, false, 12},      {EvaluationDraw::shown_target, false, 13},
    {EvaluationDraw::validation_noise, true, 14},   {EvaluationDraw::shown_noise, true, 15},
    {EvaluationDraw::validation_target, false, 16}, {EvaluationDraw::validation_pairs, true, 17},
    {EvaluationDraw::shown_pairs, true, 18},        {EvaluationDraw::diversity_noise, true, 32, 8},
};

/// Whether each row is at its draw's place and no two share a number or a step.
constexpr bool evaluation_draws_are_apart() {
  for (std::size_t i = 0; i < std::size(kEvaluationRanges); ++i) {
    const EvaluationRange& a = kEvaluationRanges[i];
    if (static_cast<std::size_t>(a.draw) != i) return false;
    for (std::size_t j = 0; j < i; ++j) {
      const EvaluationRange& b = kEvaluationRanges[j];
      if (a.first < b.first + b.count && b.first < a.first + a.count) return false;
      if (a.begin() < b.end() && b.begin() < a.end()) return false;
    }
  }
  return true;
}
static_assert(evaluation_draws_are_apart());

/// The number that an Initialiser takes.
constexpr std::uint32_t number_of(NetworkStream network) { return static_cast<std::uint32_t>(network); }

/// Its row of the table.
constexpr const EvaluationRange& range_of(EvaluationDraw draw) {
  return kEvaluationRanges[static_cast<std::size_t>(draw)];
}
/// How many draws there are of this name.
constexpr std::int64_t count_of(EvaluationDraw draw) {
  return static_cast<std::int64_t>(range_of(draw).count);
}

/// A draw of samples.
constexpr RandomState evaluation_state(std::uint64_t seed, EvaluationDraw draw) {
  return {seed, Purpose::evaluation, range_of(draw).first};
}
/// The noise, or what a sampler draws, from sample `first` on; `index` of the draws of this name. Throws
/// Error where there are fewer.
constexpr RandomState evaluation_noise(std::uint64_t seed, EvaluationDraw draw, std::int64_t first,
                                       std::uint64_t index = 0) {
  VOXOT_CHECK(index < range_of(draw).count, "evaluation: draw {} of {}", index, range_of(draw).count);
  return {seed, Purpose::evaluation,
          ((range_of(draw).first + index) << 32) | static_cast<std::uint64_t>(first)};
}

}  // namespace voxot
