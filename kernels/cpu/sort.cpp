#include "kernels/sort.h"
#include "kernels/sizes.h"

#include <algorithm>
#include <numeric>
#include <vector>

namespace voxot::kernels {
namespace {

/// The places of the keys in ascending order.
std::vector<std::int32_t> order_of(std::int64_t n, const std::int64_t* keys) {
  VOXOT_CHECK(n >= 0 && n <= 0x7FFFFFFF, "sort: {} elements; expected fewer than 2³¹", n);
  std::vector<std::int32_t> order(to_size(n));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [=](std::int32_t a, std::int32_t b) { return keys[a] < keys[b]; });
  return order;
}

void sort_cpu(const Stream&, std::int64_t n, const std::int64_t* keys, const std::int32_t* values,
              std::int64_t* sorted_keys, std::int32_t* sorted_values) {
  for (const std::int32_t at : order_of(n, keys)) {
    *sorted_keys++ = keys[at];
    *sorted_values++ = values[at];
  }
}

void sum_cpu(const Stream&, std::int64_t n, const std::int32_t* values, std::int32_t* sums) {
  std::exclusive_scan(values, values + n, sums, 0);
}

void group_cpu(const Stream&, const KeyGroups& g) {
  const std::vector<std::int32_t> sorted = order_of(g.n, g.keys);
  std::copy(sorted.begin(), sorted.end(), g.order);
  std::int32_t groups = 0;
  for (std::int32_t i = 0; i < g.n; ++i) {
    if (i > 0 && g.keys[g.order[i]] == g.keys[g.order[i - 1]]) continue;
    g.group_keys[groups] = g.keys[g.order[i]];
    g.starts[groups++] = i;
  }
  g.starts[groups] = static_cast<std::int32_t>(g.n);
  *g.count = groups;
}

const Implement sort_pairs_cpu{sort_pairs, Device::cpu, sort_cpu};
const Implement exclusive_sum_cpu{exclusive_sum, Device::cpu, sum_cpu};
const Implement group_by_key_cpu{group_by_key, Device::cpu, group_cpu};

}  // namespace
}  // namespace voxot::kernels
