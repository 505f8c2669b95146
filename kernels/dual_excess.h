#pragma once
// What potentials of a transport problem violate of its dual's constraints, f[i] + g[j] ≤ cost[i, j].
#include "kernels/kernel.h"

namespace voxot {

struct DualParams {
  std::int64_t count = 1;  // problems, one behind the other
  std::int64_t rows = 1;
  std::int64_t columns = 1;
};

namespace kernels {

/// Of each row the largest f[i] + g[j] − cost[i, j] and the largest |cost[i, j]| (dtype f32 or f64, params,
/// cost [count, rows, columns], f [count, rows], g [count, columns], excess, largest [count, rows] each); f64
/// but the costs. What f + g rounds off is added back (Knuth's two-sum): where both are far larger than the
/// costs, it would hide a violation as large as them. An excess is NaN where a part of its row is.
inline constinit Kernel<void(DType, const DualParams&, const void*, const double*, const double*, double*,
                             double*)>
    dual_excess{"dual_excess"};

}  // namespace kernels
}  // namespace voxot
