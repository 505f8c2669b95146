#pragma once
// What potentials of a transport problem violate of its dual's constraints, f[i] + g[j] ≤ cost[i, j].
#include "kernels/kernel.h"

namespace voxot {

/// `count` problems of rows × columns.
struct DualParams {
  std::int64_t count = 1;  // problems, one behind the other
  std::int64_t rows = 1;
  std::int64_t columns = 1;
};

namespace kernels {

struct DualArrays {
  const void* cost;  // [count, rows, columns], f32 or f64
  const double* f;   // [count, rows]
  const double* g;   // [count, columns]
  double* excess;    // [count, rows]: of each row the largest f[i] + g[j] − cost[i, j]
  double* largest;   // [count, rows]: of each row the largest |cost[i, j]|
};
/// The rounding error of f + g is added back (Knuth's two-sum): where both potentials are far larger than the
/// costs, it could hide a violation as large as the costs. An excess is NaN where a part of its row is.
inline constinit Kernel<void(DType, const DualParams&, const DualArrays&)> dual_excess{"dual_excess"};

}  // namespace kernels
}  // namespace voxot
