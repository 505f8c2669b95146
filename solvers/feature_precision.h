#pragma once
// Whether fp32 can stand for features whose costs are squared distances: an origin amid the points goes off
// first, so that what counts is how far they lie apart, not how far away.
#include "engine/tensor.h"

namespace voxot {

/// fp64 features N×D and M×D in fp32, both less one vector.
struct Fp32Features {
  Tensor source;
  Tensor target;
  bool exact = false;  // no number was rounded, the differences neither
};
/// `centred` false: nothing goes off, as for a cosine, whose origin is what it is. CPU.
Fp32Features fp32_features(const Tensor& source, const Tensor& target, bool centred);

/// Whether fp32 holds the squared distances of these fp32 features, on the CPU: the largest is neither beyond
/// it nor so small that digits of it, or of others beside it, are lost.
bool fp32_squares(const Tensor& source, const Tensor& target);

}  // namespace voxot
