#pragma once
// The convolutions of oneDNN, fp32 and bf16; arguments as in kernels/conv3d.h.
#include "kernels/conv3d.h"

namespace voxot::cpu {

/// Without statistics.
void onednn_forward(DType dtype, const Conv3dParams& p, const void* x, const void* w, const Conv3dEpilogue& e,
                    void* y);
void onednn_grad_input(DType dtype, const Conv3dParams& p, const void* grad_y, const void* w, float scale,
                       void* grad_x, Write write);
/// Overwrites grad_weight and grad_bias (may be null).
void onednn_grad_weight(DType dtype, const Conv3dParams& p, const void* x, const void* grad_y,
                        float* grad_weight, float* grad_bias);

/// Whether grad_input is a forward convolution, with mirrored weights: that of mirrored_params().
bool mirrors(const Conv3dParams& p);
Conv3dParams mirrored_params(const Conv3dParams& p);

}  // namespace voxot::cpu
