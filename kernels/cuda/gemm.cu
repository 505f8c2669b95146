// kernels/gemm.h by cuBLAS; by pair_tiles.cuh where that is missing, as on an emulated device.
#include "kernels/gemm.h"

#include <fmt/format.h>

#include "kernels/cuda/libraries/cublas.h"
#include "kernels/cuda/pair_tiles.cuh"
#include "kernels/simt/runtime.h"

namespace voxot::kernels {
namespace {

using namespace cuda;

template <class T>
PairSide<T> side(const void* values, std::int64_t rows, std::int64_t inner, bool inner_is_last) {
  PairSide<T> s;
  s.values = static_cast<const T*>(values);
  s.stride = rows * inner;
  s.row_pitch = inner_is_last ? inner : 1;
  s.inner_pitch = inner_is_last ? 1 : rows;
  s.rows = static_cast<int>(rows);
  return s;
}

void warn_once() {
  static const bool warned = [] {
    fmt::print(stderr, "voxot: libcublas was not found; matrix products run on a plain kernel\n");
    return true;
  }();
  static_cast<void>(warned);
}

void product(const Stream& stream, DType dtype, const GemmParams& p, const void* a, const void* b, void* c) {
  p.validate();
  VOXOT_CHECK(dtype == DType::f32 || dtype == DType::f64, "gemm: expected f32 or f64, got {}",
              name_of(dtype));
  if (cublas_gemm(stream, dtype, p, a, b, c)) return;
  if (!simt::emulated()) warn_once();
  constexpr std::int64_t kLimit = 0x7FFFFFFF - kPairTile;
  VOXOT_CHECK(p.rows <= kLimit && p.columns <= kLimit && p.inner <= kLimit,
              "gemm: {}×{} with {}×{}: expected extents below 2³¹", p.rows, p.inner, p.inner, p.columns);
  const auto run = [&]<class T>() {
    PairTiles<T> tiles;
    tiles.a = side<T>(a, p.rows, p.inner, !p.transpose_a);
    tiles.b = side<T>(b, p.columns, p.inner, p.transpose_b);
    tiles.c = static_cast<T*>(c);
    tiles.inner = static_cast<int>(p.inner);
    tiles.alpha = static_cast<T>(p.alpha);
    tiles.beta = static_cast<T>(p.beta);
    launch_pairs<Product>("gemm", stream, tiles, p.batch);
  };
  if (dtype == DType::f64) return run.template operator()<double>();
  run.template operator()<float>();
}

const Implement gemm_cuda{gemm, Device::cuda, product};

}  // namespace
}  // namespace voxot::kernels
