#include "apps/range.h"

#include <fmt/format.h>

#include <charconv>
#include <limits>
#include <optional>

#include "engine/atomic_file.h"

namespace voxot {
namespace {

constexpr std::size_t kMostShown = 40;

/// All of the text as a number.
template <class T>
std::optional<T> parsed(const std::string& text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

/// Bounds of integers are exact; 2^63 stands for the largest of them.
std::string text_of(double bound) {
  return bound == 0x1p63 ? fmt::format("{}", std::numeric_limits<std::int64_t>::max())
                         : fmt::format("{}", bound);
}

std::string refusal(const Range& range, const char* what, const std::string& text) {
  return fmt::format("expected {}, got {}", describe(range, what), printable(text, kMostShown));
}

}  // namespace

bool contains(const Range& range, double value) {
  return (range.open_low ? value > range.low : value >= range.low) &&
         (range.open_high ? value < range.high : value <= range.high);
}

std::string describe(const Range& range, const char* what) {
  return fmt::format("{} {} {} and {} {}", what, range.open_low ? "greater than" : "of at least",
                     text_of(range.low), range.open_high ? "less than" : "at most", text_of(range.high));
}

CLI::Validator integer_in(const Range& range) {
  const auto check = [range](const std::string& text) -> std::string {
    const auto value = parsed<std::int64_t>(text);
    const bool plain = value && fmt::format("{}", *value) == text;
    return plain && contains(range, static_cast<double>(*value)) ? "" : refusal(range, "an integer", text);
  };
  return {check, fmt::format("{} to {}", text_of(range.low), text_of(range.high))};
}

CLI::Validator number_in(const Range& range) {
  const auto check = [range](const std::string& text) -> std::string {
    const auto value = parsed<double>(text);
    return value && contains(range, *value) ? "" : refusal(range, "a number", text);
  };
  return {check, fmt::format("{} to {}", text_of(range.low), text_of(range.high))};
}

}  // namespace voxot
