#pragma once
// Reductions and losses on the tape (kernels/reduction.h).
#include "engine/buffer.h"
#include "engine/tape.h"
#include "kernels/reduction.h"

namespace voxot::ops {

/// Reduction over one axis, which disappears. The variance is unbiased and needs at least two elements.
Tensor reduce(Tape& tape, const Tensor& x, Reduction kind, std::size_t axis);
/// Reduction over all elements to shape {1}.
Tensor reduce_all(Tape& tape, const Tensor& x, Reduction kind);
inline Tensor mean(Tape& tape, const Tensor& x) { return reduce_all(tape, x, Reduction::mean); }
inline Tensor sum(Tape& tape, const Tensor& x) { return reduce_all(tape, x, Reduction::sum); }

/// mean (a − b)² over all elements, shape {1}.
Tensor mean_squared_error(Tape& tape, const Tensor& a, const Tensor& b);
/// Mean over rows of −log softmax(x)[label]: x N×classes, labels on the host. Throws Error for a label out of
/// range.
Tensor cross_entropy(Tape& tape, const Tensor& x, std::span<const std::int32_t> labels);
/// The same with labels in the memory of x's device, for static steps; their range is the caller's care.
Tensor cross_entropy(Tape& tape, const Tensor& x, const Buffer<std::int32_t>& labels);

}  // namespace voxot::ops
