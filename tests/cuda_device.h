#pragma once
// For tests that need a CUDA device.
#include <catch2/catch.hpp>

#include "kernels/features.h"

namespace voxot::test {

/// True where no CUDA device is, real or emulated, after a line by which ctest counts the test as skipped.
inline bool no_device() {
  if (kernels::cuda_devices() > 0) return false;
  WARN("skipped: no CUDA device");
  return true;
}

}  // namespace voxot::test
