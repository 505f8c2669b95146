#pragma once
// Rows by their numbers.
#include "kernels/kernel.h"

namespace voxot::kernels {

struct GatherRows {
  std::int64_t width;        // elements of a row
  std::int64_t count;        // rows of `out`
  const void* from;          // rows of the same width
  const std::int32_t* rows;  // [count], their numbers in `from`
  void* out;
};
/// out[i] ← from[rows[i]].
inline constinit Kernel<void(DType, const GatherRows&)> gather_rows{"gather_rows"};

}  // namespace voxot::kernels
