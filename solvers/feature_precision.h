#pragma once
// Whether fp32 can stand for features whose costs are squared distances. An origin amid the points is
// subtracted first, so that the distances between points count, not their distance from 0.
#include "engine/tensor.h"

namespace voxot {

/// fp64 features N×D and M×D in fp32, both less one vector.
struct Fp32Features {
  Tensor source;
  Tensor target;
  bool exact = false;  // no number was rounded, the differences neither
};
/// `centred` false subtracts nothing, as a cosine needs, which depends on the origin. CPU.
Fp32Features fp32_features(const Tensor& source, const Tensor& target, bool centred);

/// Whether fp32 holds the squared distances of these fp32 features, on the CPU: the largest neither overflows
/// nor is so small that it, or others beside it, lose digits.
bool fp32_squares(const Tensor& source, const Tensor& target);

}  // namespace voxot
