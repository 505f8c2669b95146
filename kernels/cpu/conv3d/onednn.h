#pragma once
// The convolutions of oneDNN, fp32 and bf16; arguments as in kernels/conv3d.h.
#include "kernels/conv3d.h"

namespace voxot::cpu {

/// Without statistics.
void onednn_forward(DType dtype, const Conv3dParams& p, const Conv3dForward& f);
void onednn_grad_input(DType dtype, const Conv3dParams& p, const Conv3dGradInput& g);
/// With scale 1, overwriting.
void onednn_grad_weight(DType dtype, const Conv3dParams& p, const Conv3dGradWeight& g);

/// Whether grad_input is a forward convolution, with mirrored weights: that of mirrored_params().
bool mirrors(const Conv3dParams& p);
Conv3dParams mirrored_params(const Conv3dParams& p);

}  // namespace voxot::cpu
