// The variant "cudnn" of a build without cuDNN's headers: it takes nothing.
#include "kernels/cuda/conv3d/variants.h"

namespace voxot::cuda {

std::string describe_cudnn() { return ""; }
bool takes_cudnn(const ConvCall&) { return false; }
void conv3d_cudnn(const Stream&, const ConvCall&) { fail("conv3d: built without cuDNN"); }
const ConvVariant& fastest_cudnn() {
  static const ConvVariant variant{"cudnn, any order", takes_cudnn, conv3d_cudnn};
  return variant;
}

}  // namespace voxot::cuda
