#pragma once
// bf16 convolutions where the processor has no products of bf16: volumes become fp32 ones, the fp32 form
// runs, and its result is rounded once. Slower than fp32, with the values that bf16 stands for.
#include "kernels/conv3d.h"

namespace voxot::cpu {

/// The three convolutions of fp32.
struct Conv3dFloat {
  void (*forward)(const Conv3dParams&, const Conv3dForward&);
  void (*grad_input)(const Conv3dParams&, const Conv3dGradInput&);
  void (*grad_weight)(const Conv3dParams&, const Conv3dGradWeight&);
};

/// As the contracts of kernels/conv3d.h for bf16, without the statistics; weights are rounded to bf16 first.
void widened_forward(const Conv3dFloat& run, const Conv3dParams& p, const Conv3dForward& f);
void widened_grad_input(const Conv3dFloat& run, const Conv3dParams& p, const Conv3dGradInput& g);
void widened_grad_weight(const Conv3dFloat& run, const Conv3dParams& p, const Conv3dGradWeight& g);

}  // namespace voxot::cpu
