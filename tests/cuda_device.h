#pragma once
// For tests that need a CUDA device.
#include "kernels/features.h"
#include "tests/skip.h"

namespace voxot::test {

/// True where no CUDA device is, real or emulated: the test case is then skipped.
inline bool no_device() {
  if (kernels::cuda_devices() > 0) return false;
  skip("no CUDA device");
  return true;
}

}  // namespace voxot::test
