#pragma once
// Rows by their numbers.
#include "kernels/kernel.h"

namespace voxot::kernels {

/// out[i] ← from[rows[i]] (dtype, width, count, from, rows, out): `count` rows of `width` elements each.
inline constinit Kernel<void(DType, std::int64_t, std::int64_t, const void*, const std::int32_t*, void*)>
    gather_rows{"gather_rows"};

}  // namespace voxot::kernels
