// An emulated device has no CUB: the host does the same in its place in the stream, through the emulation's
// memory.
#include <algorithm>
#include <numeric>
#include <vector>

#include "kernels/cuda/libraries/cub.h"
#include "kernels/simt/emulation_state.h"
#include "kernels/sizes.h"

namespace voxot::cuda {
namespace {

using simt::emulation::copy_memory;

/// n numbers that a kernel has written.
template <class T>
std::vector<T> read(const char* what, const T* from, int n) {
  std::vector<T> values(to_size(n));
  simt::emulation::read_memory(what, values.data(), from, values.size() * sizeof(T));
  return values;
}

template <class T>
void write(T* to, const std::vector<T>& values) {
  copy_memory(to, values.data(), values.size() * sizeof(T));
}

}  // namespace

std::size_t sort_pairs_bytes(int) { return 0; }
std::size_t exclusive_sum_bytes(int) { return 0; }

void sort_pairs(const Stream& stream, void*, std::size_t, int n, const std::int64_t* keys,
                const std::int32_t* values, std::int64_t* sorted_keys, std::int32_t* sorted_values) {
  simt::emulation::queue(stream, [=] {
    const std::vector<std::int64_t> k = read("sort_pairs", keys, n);
    const std::vector<std::int32_t> v = read("sort_pairs", values, n);
    std::vector<std::size_t> order(k.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return k[a] < k[b]; });
    std::vector<std::int64_t> sorted_k;
    std::vector<std::int32_t> sorted_v;
    for (const std::size_t at : order) {
      sorted_k.push_back(k[at]);
      sorted_v.push_back(v[at]);
    }
    write(sorted_keys, sorted_k);
    write(sorted_values, sorted_v);
  });
}

void exclusive_sum(const Stream& stream, void*, std::size_t, int n, const std::int32_t* values,
                   std::int32_t* sums) {
  simt::emulation::queue(stream, [=] {
    std::vector<std::int32_t> v = read("exclusive_sum", values, n);
    std::exclusive_scan(v.begin(), v.end(), v.begin(), 0);
    write(sums, v);
  });
}

}  // namespace voxot::cuda
