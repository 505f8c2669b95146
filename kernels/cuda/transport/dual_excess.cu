// kernels/dual_excess.h: a warp takes a row. Launch: 256 threads.
#include "kernels/dual_excess.h"

#include <cmath>

#include "kernels/cuda/scalar.h"

namespace voxot::kernels {
namespace {

using namespace cuda;

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;

template <class T>
VOXOT_KERNEL void VOXOT_LAUNCH_BOUNDS(kThreads, 1)
    excess_kernel(DualParams p, const T* cost, const double* f, const double* g, double* excess,
                  double* largest) {
  const std::int64_t i = static_cast<std::int64_t>(simt::block_index().x) * kWarps + simt::warp();
  if (i >= p.count * p.rows) return;
  const T* const row = cost + i * p.columns;
  const double* const potential = g + i / p.rows * p.columns;
  const double fi = f[i];
  double most = -static_cast<double>(INFINITY);
  double size = 0;
  bool defined = true;
  for (std::int64_t j = simt::lane(); j < p.columns; j += 32) {
    const auto c = static_cast<double>(row[j]);
    const double gj = potential[j];
    const double sum = fi + gj;
    const double part = sum - fi;
    const double rounded = (fi - (sum - part)) + (gj - part);
    const double over = (sum - c) + rounded;
    defined = defined && over == over;
    most = over > most ? over : most;
    size = fabs(c) > size ? fabs(c) : size;
  }
  most = simt::warp_max(most);
  size = simt::warp_max(size);
  defined = simt::all(defined);
  if (simt::lane() != 0) return;
  excess[i] = defined ? most : static_cast<double>(NAN);
  largest[i] = size;
}

void run(const Stream& stream, DType dtype, const DualParams& p, const DualArrays& a) {
  VOXOT_CHECK(dtype != DType::bf16, "dual_excess: costs in bf16; expected fp32 or fp64");
  if (p.count * p.rows == 0) return;
  const auto launch = [&]<class T>() {
    simt::launch({"dual_excess", {simt::blocks_for(p.count * p.rows, kWarps)}, {kThreads}, 0, stream},
                 excess_kernel<T>, p, static_cast<const T*>(a.cost), a.f, a.g, a.excess, a.largest);
  };
  dtype == DType::f64 ? launch.template operator()<double>() : launch.template operator()<float>();
}

const Implement dual_excess_cuda{dual_excess, Device::cuda, run};

}  // namespace
}  // namespace voxot::kernels
