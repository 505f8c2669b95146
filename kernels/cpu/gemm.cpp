// Matrix products: oneDNN for fp32, Eigen for f64. A batch runs a product a thread; one product runs on all.
#include "kernels/gemm.h"

#include <Eigen/Core>
#include <oneapi/dnnl/dnnl.hpp>

#include "kernels/cpu/gemm_tile.h"

namespace voxot {

namespace cpu {

void gemm_tile(std::int64_t rows, std::int64_t columns, std::int64_t inner, float alpha,
               MatrixView<const float> a, bool transpose_a, MatrixView<const float> b, bool transpose_b,
               float beta, MatrixView<float> c) {
  const dnnl_status_t status =
      dnnl_sgemm(transpose_a ? 'T' : 'N', transpose_b ? 'T' : 'N', rows, columns, inner, alpha, a.data,
                 a.stride, b.data, b.stride, beta, c.data, c.stride);
  VOXOT_CHECK(status == dnnl_success, "oneDNN: a product of {}×{} with {}×{} failed with status {}", rows,
              inner, inner, columns, static_cast<int>(status));
}

void gemm_tile(std::int64_t rows, std::int64_t columns, std::int64_t inner, double alpha,
               MatrixView<const double> a, bool transpose_a, MatrixView<const double> b, bool transpose_b,
               double beta, MatrixView<double> c) {
  using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  using Stride = Eigen::OuterStride<>;
  const Eigen::Map<const Matrix, 0, Stride> left(a.data, transpose_a ? inner : rows,
                                                 transpose_a ? rows : inner, Stride(a.stride));
  const Eigen::Map<const Matrix, 0, Stride> right(b.data, transpose_b ? columns : inner,
                                                  transpose_b ? inner : columns, Stride(b.stride));
  Eigen::Map<Matrix, 0, Stride> to(c.data, rows, columns, Stride(c.stride));
  if (beta == 0) {
    to.setZero();
  } else if (beta != 1) {
    to *= beta;
  }
  if (transpose_a && transpose_b) {
    to.noalias() += alpha * left.transpose() * right.transpose();
  } else if (transpose_a) {
    to.noalias() += alpha * left.transpose() * right;
  } else if (transpose_b) {
    to.noalias() += alpha * left * right.transpose();
  } else {
    to.noalias() += alpha * left * right;
  }
}

}  // namespace cpu

namespace kernels {
namespace {

template <class T>
void products(const GemmParams& p, const T* a, const T* b, T* c) {
  const std::int64_t a_stride = p.transpose_a ? p.rows : p.inner;
  const std::int64_t b_stride = p.transpose_b ? p.inner : p.columns;
  const auto one = [&](std::int64_t k) {
    cpu::gemm_tile(p.rows, p.columns, p.inner, static_cast<T>(p.alpha), {a + k * p.rows * p.inner, a_stride},
                   p.transpose_a, {b + k * p.inner * p.columns, b_stride}, p.transpose_b,
                   static_cast<T>(p.beta), {c + k * p.rows * p.columns, p.columns});
  };
  if (p.batch == 1) return one(0);
#pragma omp parallel for schedule(static)
  for (std::int64_t k = 0; k < p.batch; ++k) one(k);
}

void run(const Stream&, DType dtype, const GemmParams& p, const void* a, const void* b, void* c) {
  p.validate();
  VOXOT_CHECK(dtype != DType::bf16, "gemm: bf16 on the CPU; expected fp32 or fp64");
  if (dtype == DType::f64) {
    return products(p, static_cast<const double*>(a), static_cast<const double*>(b), static_cast<double*>(c));
  }
  products(p, static_cast<const float*>(a), static_cast<const float*>(b), static_cast<float*>(c));
}

const Implement registered{gemm, Device::cpu, run};

}  // namespace
}  // namespace kernels
}  // namespace voxot
