#pragma once
#include "engine/tape.h"
#include "kernels/normalisation.h"

namespace voxot::ops {

/// Batch normalisation over all axes but the last; γ, β, running_mean and running_variance have C elements.
/// Training: normalises by the batch's statistics and moves the running ones by `momentum` (the variance
/// unbiased, as PyTorch does). Evaluation: normalises by the running ones. `activation` (none, relu,
/// leaky_relu) is fused.
struct BatchNormOptions {
  bool training = true;
  double momentum = 0.1;
  double epsilon = 1e-5;
  Activation activation{};
};
Tensor batch_norm(Tape& tape, const Tensor& x, const Tensor& gamma, const Tensor& beta,
                  const Tensor& running_mean, const Tensor& running_variance,
                  const BatchNormOptions& options);

/// Group normalisation of N×...×C; `groups` = C is instance normalisation. γ and β may be undefined.
Tensor group_norm(Tape& tape, const Tensor& x, std::int64_t groups, const Tensor& gamma, const Tensor& beta,
                  double epsilon = 1e-5, Activation activation = {});

}  // namespace voxot::ops
