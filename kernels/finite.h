#pragma once
// Whether arrays are finite: counts[i] ← how many of the values of span i are NaN or infinite, of all spans
// in one pass. State is checked with it when it is saved and loaded (engine/finite.h).
#include "kernels/kernel.h"

namespace voxot {

/// `count` values of one array, at most 2³¹ − 1.
struct ValueSpan {
  const void* values = nullptr;
  std::int64_t count = 0;
};

namespace kernels {

/// (dtype, number of spans, spans, counts): the list of spans lies in the host's memory and is read before
/// the call returns, their values and the counts lie in the device's.
inline constinit Kernel<void(DType, std::int64_t, const ValueSpan*, std::int32_t*)> count_nonfinite{
    "count_nonfinite"};

}  // namespace kernels
}  // namespace voxot
