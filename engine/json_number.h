#pragma once
// Numbers of JSON texts that others wrote or damaged: 1e300 is no step, and converting it to an integer is
// undefined.
#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>

namespace voxot {

/// The value where it is written as a whole number within [low, high]; nothing for anything else.
template <class Json>
std::optional<std::int64_t> json_integer(const Json& json, std::int64_t low, std::int64_t high) {
  if (!json.is_number_integer()) return std::nullopt;
  if (json.is_number_unsigned() && json.template get<std::uint64_t>() >
                                       static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
    return std::nullopt;
  }
  const auto value = json.template get<std::int64_t>();
  return value >= low && value <= high ? std::optional(value) : std::nullopt;
}

/// The value where it is a number within [low, high]; nothing for anything else.
template <class Json>
std::optional<double> json_number(const Json& json, double low, double high) {
  if (!json.is_number()) return std::nullopt;
  const auto value = json.template get<double>();
  return value >= low && value <= high ? std::optional(value) : std::nullopt;
}

}  // namespace voxot
