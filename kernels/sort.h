#pragma once
// Sorts and scans of whole numbers, and the groups of equal keys that both make. Everything is stable and
// therefore the same on every device. At most 2³¹ − 1 elements; memory of the device; no array may overlap
// another.
#include "kernels/kernel.h"

namespace voxot::kernels {

/// Keys ascending, each with its value; of equal keys the one that came first stays first (n, keys, values,
/// sorted keys, sorted values).
inline constinit Kernel<void(std::int64_t, const std::int64_t*, const std::int32_t*, std::int64_t*,
                             std::int32_t*)>
    sort_pairs{"sort_pairs"};

/// sums[i] ← Σ values[k] over k < i (n, values, sums).
inline constinit Kernel<void(std::int64_t, const std::int32_t*, std::int32_t*)> exclusive_sum{
    "exclusive_sum"};

struct KeyGroups {
  std::int64_t n;
  const std::int64_t* keys;
  std::int32_t* order;       // [n]: the elements by ascending key, stably
  std::int32_t* count;       // one number: how many groups
  std::int64_t* group_keys;  // the key of each group; room for n
  std::int32_t* starts;      // group g is order[starts[g]] to order[starts[g + 1] − 1]; room for n + 1
};
/// The groups of equal keys.
inline constinit Kernel<void(const KeyGroups&)> group_by_key{"group_by_key"};

}  // namespace voxot::kernels
