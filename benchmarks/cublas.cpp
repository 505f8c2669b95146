// The measured ceiling of compute: cuBLAS, found at run time, since it is a hundred times as large as all of
// ours.
#include <cublas_v2.h>
#include <dlfcn.h>
#include <fmt/format.h>

#include "benchmarks/measure.h"
#include "kernels/features.h"

namespace voxot::bench {
namespace {

struct Cublas {
  decltype(&cublasCreate_v2) create = nullptr;
  decltype(&cublasDestroy_v2) destroy = nullptr;
  decltype(&cublasSetStream_v2) set_stream = nullptr;
  // C++ has a second cublasGemmEx; this is the library's.
  cublasStatus_t (*gemm)(cublasHandle_t, cublasOperation_t, cublasOperation_t, int, int, int, const void*,
                         const void*, cudaDataType, int, const void*, cudaDataType, int, const void*, void*,
                         cudaDataType, int, cublasComputeType_t, cublasGemmAlgo_t) = nullptr;
  decltype(&cublasGetProperty) property = nullptr;
  bool loaded = false;
};

const Cublas& cublas() {
  static const Cublas found = [] {
    Cublas c;
    void* library = nullptr;
    // The types of the calls below have not changed since cuBLAS 11.
    for (const char* name : {"libcublas.so.13", "libcublas.so.12", "libcublas.so"}) {
      if (library == nullptr) library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    }
    if (library == nullptr) return c;
    const auto take = [&](auto& function, const char* name) {
      function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(library, name));
      return function != nullptr;
    };
    c.loaded = take(c.create, "cublasCreate_v2") && take(c.destroy, "cublasDestroy_v2") &&
               take(c.set_stream, "cublasSetStream_v2") && take(c.gemm, "cublasGemmEx") &&
               take(c.property, "cublasGetProperty");
    return c;
  }();
  return found;
}

void check(cublasStatus_t status, const char* what) {
  VOXOT_CHECK(status == CUBLAS_STATUS_SUCCESS, "cublas: {}: status {}", what, static_cast<int>(status));
}

}  // namespace

std::string describe_cublas() {
  if (!cublas().loaded) return "";
  int major = 0;
  int minor = 0;
  int patch = 0;
  cublas().property(MAJOR_VERSION, &major);
  cublas().property(MINOR_VERSION, &minor);
  cublas().property(PATCH_LEVEL, &patch);
  return fmt::format("cuBLAS {}.{}.{}", major, minor, patch);
}

std::optional<double> product_ceiling(Stopwatch& watch, const std::string& precision) {
  if (!cublas().loaded) {
    fmt::print(stderr, "skipped: no ceiling of {} products, libcublas was not found\n", precision);
    return std::nullopt;
  }
  const int n = precision == "bf16" ? 8192 : 4096;
  const DType dtype = precision == "bf16" ? DType::bf16 : DType::f32;
  const cudaDataType_t type = precision == "bf16" ? CUDA_R_16BF : CUDA_R_32F;
  const cublasComputeType_t compute = precision == "tf32" ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
  const Shape shape{n, n};
  const Tensor a = Tensor::normal(shape, {1, Purpose::test, 0}, 0, 1, dtype, Device::cuda);
  const Tensor b = Tensor::normal(shape, {1, Purpose::test, 1}, 0, 1, dtype, Device::cuda);
  const Tensor c = Tensor::full(shape, 0, dtype, Device::cuda);
  cublasHandle_t handle = nullptr;
  check(cublas().create(&handle), "create");
  check(cublas().set_stream(handle, static_cast<cudaStream_t>(a.stream().handle)), "set stream");
  const float one = 1;
  const float zero = 0;
  const Timing t = watch.time(
      [&] {
        check(cublas().gemm(handle, CUBLAS_OP_N, CUBLAS_OP_N, n, n, n, &one, a.data(), type, n, b.data(),
                            type, n, &zero, c.data(), type, n, compute, CUBLAS_GEMM_DEFAULT),
              "product");
      },
      0.05, 10);
  check(cublas().destroy(handle), "destroy");
  return 2.0 * n * n * n / t.median;
}

}  // namespace voxot::bench
