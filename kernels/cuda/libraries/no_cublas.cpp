// An emulated device has no cuBLAS.
#include "kernels/cuda/libraries/cublas.h"

namespace voxot::cuda {

bool cublas_gemm(const Stream&, DType, const GemmParams&, const void*, const void*, void*, ProductPrecision) {
  return false;
}
std::string describe_cublas() { return ""; }

}  // namespace voxot::cuda
