#pragma once
// Arithmetic on the tape. Operands have one shape and one type, else Error is thrown.
#include "engine/buffer.h"
#include "engine/tape.h"

namespace voxot::ops {

/// a·x + b·y of equal shapes; add, sub and the residual scale-and-add are cases of it.
Tensor linear_combination(Tape& tape, double a, const Tensor& x, double b, const Tensor& y);
/// x + b·y with b in the device's memory, for static steps: `factors` holds 1, b, 0. The forward pass
/// reads the first two, the gradient of y, which is b·grad + 0, the last two.
Tensor scale_add_at(Tape& tape, const Tensor& x, const Buffer<double>& factors, const Tensor& y);
inline Tensor add(Tape& tape, const Tensor& x, const Tensor& y) {
  return linear_combination(tape, 1, x, 1, y);
}
inline Tensor sub(Tape& tape, const Tensor& x, const Tensor& y) {
  return linear_combination(tape, 1, x, -1, y);
}
/// x + scale·y
inline Tensor scale_add(Tape& tape, const Tensor& x, double scale, const Tensor& y) {
  return linear_combination(tape, 1, x, scale, y);
}
/// factor·x
Tensor scale(Tape& tape, const Tensor& x, double factor);
/// x·y, element by element.
Tensor mul(Tape& tape, const Tensor& x, const Tensor& y);
/// x + v for each sample and channel: x N×…×C, v N×C of the same type. Throws Error for other shapes.
Tensor broadcast_add(Tape& tape, const Tensor& x, const Tensor& v);
/// The same values in another storage type; the gradient comes back in x's.
Tensor cast(Tape& tape, const Tensor& x, DType dtype);
/// The same values under another shape.
Tensor reshape(Tape& tape, const Tensor& x, const Shape& shape);
/// x repeated `times` along the first axis, copy by copy: [x_1 … x_N, x_1 … x_N, …].
Tensor repeat(Tape& tape, const Tensor& x, std::int64_t times);

}  // namespace voxot::ops
