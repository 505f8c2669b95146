#include "kernels/cuda/libraries/cublas.h"

#include <cublas_v2.h>
#include <dlfcn.h>
#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <type_traits>

#include "kernels/simt/runtime.h"

namespace voxot::cuda {
namespace {

struct Cublas {
  decltype(&cublasCreate_v2) create = nullptr;
  decltype(&cublasSetStream_v2) set_stream = nullptr;
  decltype(&cublasSetWorkspace_v2) set_workspace = nullptr;
  // C++ has a second one; this is the library's.
  cublasStatus_t (*gemm)(cublasHandle_t, cublasOperation_t, cublasOperation_t, int, int, int, const void*,
                         const void*, cudaDataType, int, long long, const void*, cudaDataType, int, long long,
                         const void*, void*, cudaDataType, int, long long, int, cublasComputeType_t,
                         cublasGemmAlgo_t) = nullptr;
  decltype(&cublasGetProperty) property = nullptr;
};

void check(cublasStatus_t status, const char* what) {
  VOXOT_CHECK(status == CUBLAS_STATUS_SUCCESS, "cublas: {}: status {}", what, static_cast<int>(status));
}

/// Null where the library was not found.
const Cublas* cublas() {
  static const std::unique_ptr<Cublas> found = []() -> std::unique_ptr<Cublas> {
    void* library = nullptr;
    // The types of the calls have not changed since cuBLAS 11.
    for (const char* name : {"libcublas.so.13", "libcublas.so.12", "libcublas.so"}) {
      if (library == nullptr) library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    }
    if (library == nullptr) return nullptr;
    auto c = std::make_unique<Cublas>();
    const auto take = [&](auto& function, const char* name) {
      function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(library, name));
      return function != nullptr;
    };
    if (!(take(c->create, "cublasCreate_v2") && take(c->set_stream, "cublasSetStream_v2") &&
          take(c->set_workspace, "cublasSetWorkspace_v2") && take(c->gemm, "cublasGemmStridedBatchedEx") &&
          take(c->property, "cublasGetProperty"))) {
      return nullptr;
    }
    return c;
  }();
  return found.get();
}

/// Made at the first product: what the library is can be said without a GPU.
cublasHandle_t handle_of(const Cublas& library) {
  static const cublasHandle_t made = [&] {
    cublasHandle_t handle = nullptr;
    check(library.create(&handle), "create");
    return handle;
  }();
  return made;
}

/// Memory of its own, so that a product can be recorded in a graph.
constexpr std::size_t kWorkspace = std::size_t{32} << 20;

void* workspace() {
  static void* const block = simt::allocate(kWorkspace);
  return block;
}

}  // namespace

bool cublas_gemm(const Stream& stream, DType dtype, const GemmParams& p, const void* a, const void* b,
                 void* c, ProductPrecision precision) {
  const Cublas* const library = cublas();
  if (library == nullptr) return false;
  const cudaDataType type = dtype == DType::f64    ? CUDA_R_64F
                            : dtype == DType::bf16 ? CUDA_R_16BF
                                                   : CUDA_R_32F;
  const cublasComputeType_t compute = dtype == DType::f64                   ? CUBLAS_COMPUTE_64F
                                      : precision == ProductPrecision::tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32
                                                                            : CUBLAS_COMPUTE_32F;
  const double wide[2] = {p.alpha, p.beta};
  const float narrow[2] = {static_cast<float>(p.alpha), static_cast<float>(p.beta)};
  const bool f64 = dtype == DType::f64;
  const void* const alpha = f64 ? static_cast<const void*>(&wide[0]) : &narrow[0];
  const void* const beta = f64 ? static_cast<const void*>(&wide[1]) : &narrow[1];
  constexpr std::int64_t kLimit = 0x7FFFFFFF;
  VOXOT_CHECK(p.rows <= kLimit && p.columns <= kLimit && p.inner <= kLimit && p.batch <= kLimit,
              "gemm: {} products of {}×{} with {}×{}: cuBLAS takes extents below 2³¹", p.batch, p.rows,
              p.inner, p.inner, p.columns);
  const auto rows = static_cast<int>(p.rows);
  const auto columns = static_cast<int>(p.columns);
  const auto inner = static_cast<int>(p.inner);
  const int step = std::max(inner, 1);  // cuBLAS refuses matrices whose rows lie 0 apart, empty ones too
  const cublasHandle_t handle = handle_of(*library);
  check(library->set_stream(handle, static_cast<cudaStream_t>(stream.handle)), "set stream");
  check(library->set_workspace(handle, workspace(), kWorkspace), "set workspace");
  // Its matrices lie by columns: what it takes for Cᵀ = op(B)ᵀ·op(A)ᵀ is ours by rows.
  check(library->gemm(handle, p.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N,
                      p.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N, columns, rows, inner, alpha, b, type,
                      p.transpose_b ? step : columns, static_cast<long long>(p.inner * p.columns), a, type,
                      p.transpose_a ? rows : step, static_cast<long long>(p.rows * p.inner), beta, c, type,
                      columns, static_cast<long long>(p.rows * p.columns), static_cast<int>(p.batch), compute,
                      CUBLAS_GEMM_DEFAULT),
        "product");
  return true;
}

std::string describe_cublas() {
  const Cublas* const library = cublas();
  if (library == nullptr) return "";
  int major = 0;
  int minor = 0;
  int patch = 0;
  library->property(MAJOR_VERSION, &major);
  library->property(MINOR_VERSION, &minor);
  library->property(PATCH_LEVEL, &patch);
  return fmt::format("cuBLAS {}.{}.{}", major, minor, patch);
}

}  // namespace voxot::cuda
