#pragma once
// Counts and extents here are signed (std::int64_t), so that differences and loops downwards are safe; sizes
// and indices of the standard library are not.
#include <concepts>
#include <cstddef>

namespace voxot {

/// A count that is not negative, as a size or an index of the standard library. The way back is std::ssize.
constexpr std::size_t to_size(std::integral auto count) { return static_cast<std::size_t>(count); }

}  // namespace voxot
