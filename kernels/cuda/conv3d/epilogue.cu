// What follows the sum of a convolution, in place, for variants that leave plain sums:
//   y ← act(residual + scale·(y + bias))
// Launch: a thread for each element, striding over the rest.
#include <algorithm>

#include "kernels/cuda/conv3d/gather.cuh"

namespace voxot::cuda {
namespace {

template <class T>
VOXOT_KERNEL void finish(std::int64_t count, int channels, GatherEpilogue<T> epilogue, T* y) {
  for (std::int64_t i = simt::global_thread(); i < count; i += simt::global_threads()) {
    y[i] = epilogue(load(y[i]), static_cast<int>(i % channels), i);
  }
}

template <class T>
void launch(const Stream& stream, const ConvCall& c) {
  const std::int64_t count = c.params.batch * c.params.out_voxels() * c.params.out_channels;
  const auto blocks = static_cast<unsigned>(std::min<std::int64_t>(simt::blocks_for(count, 256), 65536));
  simt::launch({"conv3d epilogue", {blocks}, {256}, 0, stream}, finish<T>, count,
               static_cast<int>(c.params.out_channels), gather_epilogue<T>(c), static_cast<T*>(c.output));
}

}  // namespace

void conv3d_epilogue(const Stream& stream, const ConvCall& c) {
  const Conv3dEpilogue& e = c.epilogue;
  if (e.bias == nullptr && e.residual == nullptr && e.scale == 1 && e.activation.kind == ActivationKind::none)
    return;
  if (c.dtype == DType::bf16) {
    launch<Bf16>(stream, c);
  } else {
    launch<float>(stream, c);
  }
}

}  // namespace voxot::cuda
