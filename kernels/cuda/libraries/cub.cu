#include "kernels/cuda/libraries/cub.h"

#include <cub/device/device_radix_sort.cuh>
#include <cub/device/device_scan.cuh>

namespace voxot::cuda {
namespace {

void check(cudaError_t status, const char* what) {
  VOXOT_CHECK(status == cudaSuccess, "cuda: {}: {}", what, cudaGetErrorString(status));
}

cudaStream_t stream_of(const Stream& stream) { return static_cast<cudaStream_t>(stream.handle); }

}  // namespace

std::size_t sort_pairs_bytes(int n) {
  std::size_t bytes = 0;
  check(cub::DeviceRadixSort::SortPairs(
            nullptr, bytes, static_cast<const std::int64_t*>(nullptr), static_cast<std::int64_t*>(nullptr),
            static_cast<const std::int32_t*>(nullptr), static_cast<std::int32_t*>(nullptr), n),
        "sort_pairs");
  return bytes;
}

std::size_t exclusive_sum_bytes(int n) {
  std::size_t bytes = 0;
  check(cub::DeviceScan::ExclusiveSum(nullptr, bytes, static_cast<const std::int32_t*>(nullptr),
                                      static_cast<std::int32_t*>(nullptr), n),
        "exclusive_sum");
  return bytes;
}

void sort_pairs(const Stream& stream, void* working, std::size_t bytes, int n, const std::int64_t* keys,
                const std::int32_t* values, std::int64_t* sorted_keys, std::int32_t* sorted_values) {
  check(cub::DeviceRadixSort::SortPairs(working, bytes, keys, sorted_keys, values, sorted_values, n, 0, 64,
                                        stream_of(stream)),
        "sort_pairs");
}

void exclusive_sum(const Stream& stream, void* working, std::size_t bytes, int n, const std::int32_t* values,
                   std::int32_t* sums) {
  check(cub::DeviceScan::ExclusiveSum(working, bytes, values, sums, n, stream_of(stream)), "exclusive_sum");
}

}  // namespace voxot::cuda
