#pragma once
// Batch, group and instance normalisation in one form. x is outer × rows × channels; the channels fall into
// `groups` equal groups, and every (outer, group) pair has one mean and one variance over rows and its
// channels:
//   batch      outer = 1, rows = N·D·H·W, groups = C
//   group      outer = N, rows = D·H·W,   groups = G
//   instance   outer = N, rows = D·H·W,   groups = C
// y = act((x − mean)·inverse_deviation·γ[c] + β[c]), the variance biased, statistics in fp32 (f64 for f64).
// Source: Ioffe, Szegedy 2015; Wu, He 2018; Ulyanov et al. 2016. γ and β may be null (1 and 0).
#include "kernels/activation.h"

namespace voxot {

/// The view of x that a normalisation takes, as above.
struct NormalisationParams {
  std::int64_t outer = 1;
  std::int64_t rows = 1;
  std::int64_t channels = 1;
  std::int64_t groups = 1;
  double epsilon = 1e-5;
  Activation activation{};  // none, relu, leaky_relu or silu
};

namespace kernels {

/// mean and biased variance [outer, groups] of x (dtype, params, x, mean, variance).
inline constinit Kernel<void(DType, const NormalisationParams&, const void*, void*, void*)>
    normalisation_statistics{"normalisation_statistics"};

struct NormalisationForward {
  const void* x;
  const void* mean;
  const void* variance;
  const void* gamma = nullptr;  // may be null
  const void* beta = nullptr;   // may be null
  void* y;
};
/// y, as above.
inline constinit Kernel<void(DType, const NormalisationParams&, const NormalisationForward&)>
    normalisation_forward{"normalisation_forward"};

/// What the gradient reads and writes: x, grad_y and grad_x outer × rows × channels, mean and variance
/// [outer, groups], γ, β and their gradients [channels].
struct NormalisationGradients {
  const void* x;
  const void* grad_y;
  const void* mean;
  const void* variance;
  const void* gamma;
  const void* beta;               // with γ gives the activation's argument
  bool statistics_fixed = false;  // evaluation mode: mean and variance are constants
  void* grad_x = nullptr;         // may be null; may be grad_y when overwritten
  Write grad_x_write = Write::overwrite;
  void* grad_gamma = nullptr;  // may be null
  void* grad_beta = nullptr;   // may be null
  Write parameter_write = Write::overwrite;
};

/// (dtype, params, tensors)
inline constinit Kernel<void(DType, const NormalisationParams&, const NormalisationGradients&)>
    normalisation_backward{"normalisation_backward"};

}  // namespace kernels
}  // namespace voxot
