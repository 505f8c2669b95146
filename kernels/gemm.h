#pragma once
// Plain matrix products, one or a batch: C ← α·op(A)·op(B) + β·C, row-major, op the identity or the
// transpose.
#include "kernels/kernel.h"

namespace voxot {

/// The extents of `batch` products, and their factors.
struct GemmParams {
  std::int64_t rows = 1;     // of op(A) and C
  std::int64_t columns = 1;  // of op(B) and C
  std::int64_t inner = 1;    // columns of op(A), rows of op(B)
  std::int64_t batch = 1;    // products; matrix k begins `stride` elements after matrix k − 1
  bool transpose_a = false;  // A is stored inner × rows
  bool transpose_b = false;  // B is stored columns × inner
  double alpha = 1;
  double beta = 0;  // 0: C is not read

  /// Throws Error for an extent below 1.
  void validate() const {
    VOXOT_CHECK(rows >= 1 && columns >= 1 && inner >= 1 && batch >= 1,
                "gemm: {} products of {}×{} with {}×{}; extents must be at least 1", batch, rows, inner,
                inner, columns);
  }
};

namespace kernels {

/// (dtype, params, a, b, c): fp32 or f64, each matrix contiguous, the batch one after another; fp32 sums in
/// fp32. Throws Error for bf16.
inline constinit Kernel<void(DType, const GemmParams&, const void*, const void*, void*)> gemm{"gemm"};

}  // namespace kernels
}  // namespace voxot
