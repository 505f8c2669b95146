#pragma once
// What is used of CUB, behind functions: its headers are for nvcc alone. On an emulated device the host does
// the same (no_cub.cpp). Working memory is the caller's, so that a call can be recorded in a graph.
#include "kernels/device.h"

namespace voxot::cuda {

/// Bytes of device memory that a call with n elements works in.
std::size_t sort_pairs_bytes(int n);
std::size_t exclusive_sum_bytes(int n);

/// Queued in the stream; kernels/sort.h says what they compute.
void sort_pairs(const Stream& stream, void* working, std::size_t bytes, int n, const std::int64_t* keys,
                const std::int32_t* values, std::int64_t* sorted_keys, std::int32_t* sorted_values);
void exclusive_sum(const Stream& stream, void* working, std::size_t bytes, int n, const std::int32_t* values,
                   std::int32_t* sums);

}  // namespace voxot::cuda
