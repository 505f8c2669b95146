// kernels/sort.h by CUB (cub.h), in scratch memory. Groups: the places are sorted by key, a mark stands where
// a key differs from the one before, and the marks' scan numbers the groups.
//
// Launch: up to 256 threads, an element each.
#include "kernels/sort.h"

#include <algorithm>

#include "kernels/cuda/libraries/cub.h"
#include "kernels/cuda/parts.h"
#include "kernels/cuda/vectors.cuh"
#include "kernels/simt/runtime.h"

namespace voxot::kernels {
namespace {

using namespace cuda;

constexpr int kThreads = 256;

int checked_count(const char* name, std::int64_t n) {
  VOXOT_CHECK(n >= 0 && n <= 0x7FFFFFFF, "{}: {} elements; expected fewer than 2³¹", name, n);
  return static_cast<int>(n);
}

VOXOT_KERNEL void VOXOT_LAUNCH_BOUNDS(kThreads, 1) number_kernel(int n, std::int32_t* places) {
  const auto i = static_cast<int>(simt::global_thread());
  if (i < n) places[i] = i;
}

VOXOT_DEVICE bool begins(const std::int64_t* sorted, int i) { return i == 0 || sorted[i] != sorted[i - 1]; }

VOXOT_KERNEL void VOXOT_LAUNCH_BOUNDS(kThreads, 1)
    mark_kernel(int n, const std::int64_t* sorted, std::int32_t* marks) {
  const auto i = static_cast<int>(simt::global_thread());
  if (i < n) marks[i] = begins(sorted, i) ? 1 : 0;
}

VOXOT_KERNEL void VOXOT_LAUNCH_BOUNDS(kThreads, 1)
    groups_kernel(int n, const std::int64_t* sorted, const std::int32_t* group_of, std::int32_t* count,
                  std::int64_t* group_keys, std::int32_t* starts) {
  const auto i = static_cast<int>(simt::global_thread());
  if (i >= n) return;
  const std::int32_t before = group_of[i];  // groups that begin before i
  const bool first = begins(sorted, i);
  if (first) {
    group_keys[before] = sorted[i];
    starts[before] = i;
  }
  if (i != n - 1) return;
  const std::int32_t all = before + (first ? 1 : 0);
  starts[all] = n;
  *count = all;
}

template <class... P, class... A>
void launch_each(const char* name, const Stream& stream, int n, void (*kernel)(int, P...),
                 const A&... arguments) {
  const unsigned threads = threads_for(n, kThreads);
  simt::launch({name, {simt::blocks_for(n, threads)}, {threads}, 0, stream}, kernel, n, arguments...);
}

void sort_cuda(const Stream& stream, std::int64_t n, const std::int64_t* keys, const std::int32_t* values,
               std::int64_t* sorted_keys, std::int32_t* sorted_values) {
  const int count = checked_count("sort_pairs", n);
  if (count == 0) return;
  const std::size_t bytes = sort_pairs_bytes(count);
  cuda::sort_pairs(stream, simt::scratch(bytes), bytes, count, keys, values, sorted_keys, sorted_values);
}

void sum_cuda(const Stream& stream, std::int64_t n, const std::int32_t* values, std::int32_t* sums) {
  const int count = checked_count("exclusive_sum", n);
  if (count == 0) return;
  const std::size_t bytes = exclusive_sum_bytes(count);
  cuda::exclusive_sum(stream, simt::scratch(bytes), bytes, count, values, sums);
}

void group_cuda(const Stream& stream, const KeyGroups& g) {
  const int elements = checked_count("group_by_key", g.n);
  if (elements == 0) {
    simt::clear(stream, g.count, sizeof *g.count);
    simt::clear(stream, g.starts, sizeof *g.starts);
    return;
  }
  const std::size_t bytes = std::max(sort_pairs_bytes(elements), exclusive_sum_bytes(elements));
  Parts parts;
  std::int64_t* sorted = nullptr;
  std::int32_t* marks = nullptr;
  std::int32_t* group_of = nullptr;
  std::byte* working = nullptr;
  const auto lay_out = [&] {
    working = parts.take<std::byte>(static_cast<std::int64_t>(bytes));
    sorted = parts.take<std::int64_t>(g.n);
    marks = parts.take<std::int32_t>(g.n);
    group_of = parts.take<std::int32_t>(g.n);
  };
  lay_out();
  parts.base(simt::scratch(parts.bytes()));
  lay_out();
  launch_each("number", stream, elements, number_kernel, marks);
  cuda::sort_pairs(stream, working, bytes, elements, g.keys, marks, sorted, g.order);
  launch_each("mark", stream, elements, mark_kernel, sorted, marks);
  cuda::exclusive_sum(stream, working, bytes, elements, marks, group_of);
  launch_each("groups", stream, elements, groups_kernel, sorted, group_of, g.count, g.group_keys, g.starts);
}

const Implement sort_pairs_cuda{kernels::sort_pairs, Device::cuda, sort_cuda};
const Implement exclusive_sum_cuda{kernels::exclusive_sum, Device::cuda, sum_cuda};
const Implement group_by_key_cuda{group_by_key, Device::cuda, group_cuda};

}  // namespace
}  // namespace voxot::kernels
