#pragma once
// One matrix product with strides, for kernels that work through tiles of a larger one.
#include <cstdint>

namespace voxot::cpu {

/// A row-major matrix inside a larger one.
template <class T>
struct MatrixView {
  T* data = nullptr;
  std::int64_t stride = 0;  // elements from one row to the next
};

/// c [rows, columns] ← alpha·op(a)·op(b) + beta·c. Called within a parallel region it stays on its thread.
void gemm_tile(std::int64_t rows, std::int64_t columns, std::int64_t inner, float alpha,
               MatrixView<const float> a, bool transpose_a, MatrixView<const float> b, bool transpose_b,
               float beta, MatrixView<float> c);
void gemm_tile(std::int64_t rows, std::int64_t columns, std::int64_t inner, double alpha,
               MatrixView<const double> a, bool transpose_a, MatrixView<const double> b, bool transpose_b,
               double beta, MatrixView<double> c);

}  // namespace voxot::cpu
