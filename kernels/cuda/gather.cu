// kernels/gather.h: bound by what it writes, so a block copies a stretch of one row, 16 bytes a thread where
// addresses allow. Launch: 256 threads, blocks over rows × stretches.
#include "kernels/gather.h"

#include "kernels/cuda/stretches.cuh"

namespace voxot::kernels {
namespace {

using namespace cuda;

template <int V, class T>
VOXOT_KERNEL void VOXOT_LAUNCH_BOUNDS(kStretchThreads, 1)
    gather_kernel(Stretches stretches, const T* from, const std::int32_t* rows, T* out) {
  const Stretch stretch = stretch_of_block(stretches);
  copy_stretch<V>(stretch, from + static_cast<std::int64_t>(rows[stretch.sample]) * stretches.length,
                  out + static_cast<std::int64_t>(stretch.sample) * stretches.length);
}

void gather(const Stream& stream, DType dtype, const GatherRows& g) {
  with_type(dtype, [&]<class T>() {
    with_width<T>({g.width}, {g.from, g.out}, [&]<int V>() {
      launch_stretches("gather_rows", stream, g.count, g.width, kGathered, gather_kernel<V, T>,
                       static_cast<const T*>(g.from), g.rows, static_cast<T*>(g.out));
    });
  });
}

const Implement gather_rows_cuda{gather_rows, Device::cuda, gather};

}  // namespace
}  // namespace voxot::kernels
