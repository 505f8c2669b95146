#pragma once
// The kernels whose time is that of memory, each with inputs of a volume of the networks.
#include <functional>
#include <span>

#include "engine/tensor.h"

namespace voxot::bench {

struct OpVolume {
  std::int64_t batch, extent, channels;  // N×extent³×channels
};

/// An op with its tensors in place.
struct MemoryOpRun {
  std::function<void()> run;
  Tensor result;     // what is checked
  double bytes = 0;  // each input read once, each output written once
};

struct MemoryOp {
  const char* name;
  MemoryOpRun (*prepare)(const OpVolume&, DType, Device);
  bool fp32_only = false;
};

std::span<const MemoryOp> value_ops();   // of values, parameters and sums, whatever the volume's extent
std::span<const MemoryOp> volume_ops();  // normalisation, pooling, resampling, and the samples themselves

}  // namespace voxot::bench
