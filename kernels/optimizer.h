#pragma once
// One fused update of all parameters of a network, which lie in one flat buffer. All fp32 (or all f64).
// g' = clip·g + weight_decay·p (L2; not for AdamW, whose decay is p ← p − lr·weight_decay·p).
//   sgd      b ← momentum·b + g' (b ← g' at step 1);  p ← p − lr·b
//   adam(w)  m ← β₁m + (1 − β₁)g';  v ← β₂v + (1 − β₂)g'²;  p ← p − lr·(m/(1 − β₁ᵗ)) / (√(v/(1 − β₂ᵗ)) + ε)
//   rmsprop  v ← αv + (1 − α)g'²;  p ← p − lr·g'/(√v + ε), with momentum: b ← momentum·b + g'/(√v + ε);  p ←
//   p − lr·b
// Source: PyTorch's definitions (Kingma, Ba 2015; Loshchilov, Hutter 2019).
#include "kernels/kernel.h"

namespace voxot {

/// Which of the updates above.
enum class OptimizerKind : std::uint8_t { sgd, adam, adamw, rmsprop };

/// The numbers that change from step to step; they live on the device, so that a captured graph reads fresh
/// ones.
struct OptimizerScalars {
  double learning_rate = 0;
  double clip = 1;        // factor applied to every gradient
  std::int64_t step = 1;  // counted from 1
};

/// What stays the same from step to step, in the letters above: alpha is α, beta1 is β₁.
struct OptimizerParams {
  OptimizerKind kind = OptimizerKind::adam;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = 0;
  double momentum = 0;
  double alpha = 0.99;
};

namespace kernels {

struct OptimizerArrays {
  const OptimizerScalars* scalars;  // in the device's memory
  std::int64_t count;
  const void* gradient;
  void* parameter;
  void* first;   // m or b; may be null when the kind does not use it
  void* second;  // v; may be null when the kind does not use it
};
/// One update, as above.
inline constinit Kernel<void(DType, const OptimizerParams&, const OptimizerArrays&)> optimizer_step{
    "optimizer_step"};

/// scalars->clip ← min(1, limit/(‖gradient‖₂ + 1e-6)) (dtype, count, gradient, limit, scalars).
inline constinit Kernel<void(DType, std::int64_t, const void*, double, OptimizerScalars*)> clip_factor{
    "clip_factor"};

}  // namespace kernels
}  // namespace voxot
