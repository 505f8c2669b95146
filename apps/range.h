#pragma once
// Bounds of numbers: the same form for the keys of a config and for the options of the commands.
#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>

namespace voxot {

/// Bounds of a number. `open_low`, `open_high`: the bound itself is not allowed.
struct Range {
  double low;
  double high;
  bool open_low = false;
  bool open_high = false;
};

/// Whole numbers of 64 bits from 0 on: seeds, and sizes that only the input bounds.
inline constexpr Range kWholeNumbers{0, 0x1p63};
inline constexpr Range kThreads{0, 1024};

/// NaN is in no range.
bool contains(const Range& range, double value);
/// "an integer of at least 1 and at most 65536" for `what` "an integer".
std::string describe(const Range& range, const char* what);

/// Checks of options, which say the number that was typed (CLI11's own say the largest double in full, take
/// NaN, and read 010 as 8). An integer is written in digits alone, with at most a minus.
CLI::Validator integer_in(const Range& range);
CLI::Validator number_in(const Range& range);

}  // namespace voxot
