#pragma once
// Activations on the tape. Results have the shape and type of x.
#include "engine/tape.h"
#include "kernels/activation.h"

namespace voxot::ops {

/// y = act(x), any shape.
Tensor activation(Tape& tape, const Tensor& x, Activation act);
Tensor relu(Tape& tape, const Tensor& x);
Tensor leaky_relu(Tape& tape, const Tensor& x, float slope);
/// y = x > 0 ? x : slope·x; `slope` has 1 or C elements.
Tensor prelu(Tape& tape, const Tensor& x, const Tensor& slope);

}  // namespace voxot::ops
