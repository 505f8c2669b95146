// The measured ceiling of compute: matrix products by cuBLAS.
#include "kernels/cuda/libraries/cublas.h"

#include <fmt/format.h>

#include "benchmarks/measure.h"
#include "kernels/cuda/conv3d/variants.h"

namespace voxot::bench {

std::string describe_cublas() { return cuda::describe_cublas(); }
std::string describe_cudnn() { return cuda::describe_cudnn(); }

std::optional<double> product_ceiling(Stopwatch& watch, const std::string& precision) {
  if (cuda::describe_cublas().empty()) {
    fmt::print(stderr, "skipped: no ceiling of {} products, libcublas was not found\n", precision);
    return std::nullopt;
  }
  const std::int64_t n = precision == "bf16" ? 8192 : 4096;
  const DType dtype = precision == "bf16" ? DType::bf16 : DType::f32;
  const Shape shape{n, n};
  const Tensor a = Tensor::normal(shape, {1, Purpose::test, 0}, 0, 1, dtype, Device::cuda);
  const Tensor b = Tensor::normal(shape, {1, Purpose::test, 1}, 0, 1, dtype, Device::cuda);
  const Tensor c = Tensor::full(shape, 0, dtype, Device::cuda);
  const GemmParams product{.rows = n, .columns = n, .inner = n};
  const auto arithmetic = precision == "tf32" ? cuda::ProductPrecision::tf32 : cuda::ProductPrecision::fp32;
  const Timing t = watch.time(
      [&] { cuda::cublas_gemm(a.stream(), dtype, product, a.data(), b.data(), c.data(), arithmetic); }, 0.05,
      10);
  return 2.0 * static_cast<double>(n) * static_cast<double>(n) * static_cast<double>(n) / t.median;
}

}  // namespace voxot::bench
