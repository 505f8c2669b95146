#pragma once
// cuBLAS, found at run time, since it is a hundred times as large as all of ours.
#include <string>

#include "kernels/device.h"
#include "kernels/gemm.h"

namespace voxot::cuda {

/// Arithmetic of a product of fp32 matrices.
enum class ProductPrecision : std::uint8_t { fp32, tf32 };

/// Queues the product (bf16 too, with fp32 sums); false where cuBLAS was not found. Throws Error when it
/// fails.
bool cublas_gemm(const Stream& stream, DType dtype, const GemmParams& p, const void* a, const void* b,
                 void* c, ProductPrecision precision = ProductPrecision::fp32);

/// "cuBLAS 13.1.0", empty where it was not found.
std::string describe_cublas();

}  // namespace voxot::cuda
