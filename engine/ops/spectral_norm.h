#pragma once
// Spectral normalisation on the tape (kernels/spectral_norm.h).
#include "engine/tape.h"

namespace voxot::ops {

/// W/σ with σ = uᵀ·W·v, for a weight seen as a matrix W [C_out, rest]; u [C_out] and v [rest] count as
/// constants, and what the gradient needs of them is copied (kernels/spectral_norm.h). fp32 or fp64. Throws
/// Error for vectors that do not fit.
Tensor spectral_norm(Tape& tape, const Tensor& weight, const Tensor& u, const Tensor& v);

/// Power iterations: u and v come nearer to W's first singular vectors, in place.
void iterate_spectrum(const Tensor& weight, const Tensor& u, const Tensor& v, int times = 1);

}  // namespace voxot::ops
