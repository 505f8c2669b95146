#pragma once
// Normalisations on the tape (kernels/normalisation.h). Volumes are N×D×H×W×C.
#include "engine/tape.h"
#include "kernels/normalisation.h"

namespace voxot::ops {

/// Mean and biased variance over the batch, [groups], or of each sample, [N, groups]. A convolution takes
/// them of what it writes (Conv3dFused); undefined tensors: not taken yet.
struct Moments {
  bool each_sample = false;
  std::int64_t groups = 1;
  Tensor mean, variance;

  /// Undefined values in the shape and type that the statistics of x have.
  void make_room(const Tensor& x);
};

/// What all normalisations take.
struct NormOptions {
  double epsilon = 1e-5;
  Activation activation{};  // none, relu, leaky_relu or silu, fused
  Moments moments{};        // of x, where they are known
};

/// Batch normalisation over all axes but the last; γ, β, running_mean and running_variance have C elements.
/// Training: normalises by the batch's statistics and moves the running ones by `momentum` (the variance
/// unbiased, as PyTorch does). Evaluation: normalises by the running ones.
struct BatchNormOptions : NormOptions {
  bool training = true;
  double momentum = 0.1;
};
/// Throws Error for shapes that do not fit.
Tensor batch_norm(Tape& tape, const Tensor& x, const Tensor& gamma, const Tensor& beta,
                  const Tensor& running_mean, const Tensor& running_variance,
                  const BatchNormOptions& options);

/// Group normalisation of N×...×C; `groups` = C is instance normalisation. γ and β may be undefined.
Tensor group_norm(Tape& tape, const Tensor& x, std::int64_t groups, const Tensor& gamma, const Tensor& beta,
                  const NormOptions& options = {});

}  // namespace voxot::ops
