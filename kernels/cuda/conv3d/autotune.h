#pragma once
// The choice among a convolution's variants (kernels/autotune.h).
#include <string>

#include "kernels/autotune.h"
#include "kernels/cuda/conv3d/variants.h"

namespace voxot::cuda {

/// What a decision depends on: pass, type, geometry.
std::string describe(const ConvCall& call);

/// The variant that a rule of thumb gives: tiles as wide as the result, unless too few blocks would be left.
const ConvVariant& rule_of_thumb(const ConvCall& call);

/// The variant to run; measures when that is wanted, possible and not done before.
const ConvVariant& choose(const Stream& stream, const ConvCall& call);

void configure(const kernels::AutotuneOptions& options);
std::vector<kernels::KernelChoice> choices();

}  // namespace voxot::cuda
