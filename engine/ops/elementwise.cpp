#include "engine/ops/elementwise.h"

#include "kernels/elementwise.h"
#include "kernels/reduction.h"

namespace voxot::ops {
namespace {

void check_alike(const char* op, const Tensor& x, const Tensor& y) {
  VOXOT_CHECK(x.shape() == y.shape() && x.dtype() == y.dtype(), "{}: {} {} with {} {}", op, x.shape().text(),
              name_of(x.dtype()), y.shape().text(), name_of(y.dtype()));
}

/// slot ← or += factor·grad
void add_scaled(const SlotRef& slot, double factor, const Tensor& grad) {
  if (slot == nullptr) return;
  const auto to = slot->destination();
  kernels::axpby(grad.stream(), grad.dtype(),
                 {.count = grad.count(),
                  .a = factor,
                  .x = grad.data(),
                  .b = to.write == Write::accumulate ? 1.0 : 0.0,
                  .y = to.data});
}

struct LinearCombinationNode : Node {
  double a = 1, b = 1;
  SlotRef x_slot, y_slot;

  void backward(Tensor grad) override {
    add_scaled(x_slot, a, grad);
    if (y_slot != nullptr && b == 1) return y_slot->give(std::move(grad));
    add_scaled(y_slot, b, grad);
  }
};

struct ScaleAddAtNode : Node {
  Buffer<double> factors;
  SlotRef x_slot, y_slot;

  void backward(Tensor grad) override {
    add_scaled(x_slot, 1, grad);
    if (y_slot == nullptr) return;
    Tensor scaled = Tensor::empty(grad.shape(), grad.dtype(), grad.device());
    kernels::linear_combination_at(grad.stream(), grad.dtype(),
                                   {.count = grad.count(),
                                    .factors = factors.data() + 1,
                                    .x = grad.data(),
                                    .y = grad.data(),
                                    .z = scaled.data()});
    y_slot->give(std::move(scaled));
  }
};

struct MulNode : Node {
  Tensor x, y;
  SlotRef x_slot, y_slot;

  void backward(Tensor grad) override {
    const auto put = [&](const SlotRef& slot, const Tensor& other) {
      if (slot == nullptr) return;
      const auto to = slot->destination();
      kernels::multiply(
          grad.stream(), grad.dtype(),
          {.count = grad.count(), .x = grad.data(), .y = other.data(), .z = to.data, .write = to.write});
    };
    put(x_slot, y);
    put(y_slot, x);
  }
};

struct BroadcastAddNode : Node {
  SlotRef x_slot, v_slot;

  void backward(Tensor grad) override {
    if (v_slot != nullptr) {
      Tensor sum = Tensor::empty(v_slot->shape, grad.dtype(), grad.device());
      const std::int64_t rows = grad.count() / sum.count();
      const ReductionParams p{Reduction::sum, sum.extent(0), rows, sum.extent(1)};
      kernels::reduce_forward(grad.stream(), grad.dtype(), p, grad.data(), sum.data());
      v_slot->give(std::move(sum));
    }
    if (x_slot != nullptr) x_slot->give(std::move(grad));
  }
};

struct CastNode : Node {
  SlotRef x_slot;
  void backward(Tensor grad) override { x_slot->give(std::move(grad)); }
};

struct RepeatNode : Node {
  std::int64_t times = 1;
  SlotRef x_slot;

  void backward(Tensor grad) override {
    Tensor sum = Tensor::empty(x_slot->shape, grad.dtype(), grad.device());
    const ReductionParams p{Reduction::sum, 1, times, sum.count()};
    kernels::reduce_forward(grad.stream(), grad.dtype(), p, grad.data(), sum.data());
    x_slot->give(std::move(sum));
  }
};

}  // namespace

Tensor linear_combination(Tape& tape, double a, const Tensor& x, double b, const Tensor& y) {
  check_alike("linear_combination", x, y);
  Tensor z = Tensor::empty(x.shape(), x.dtype(), x.device());
  kernels::linear_combination(
      x.stream(), x.dtype(),
      {.count = x.count(), .a = a, .x = x.data(), .b = b, .y = y.data(), .z = z.data()});
  if (tape.records(x, y)) {
    LinearCombinationNode node;
    node.a = a;
    node.b = b;
    node.x_slot = Tape::slot(x);
    node.y_slot = Tape::slot(y);
    tape.record(z, std::move(node));
  }
  return z;
}

Tensor scale_add_at(Tape& tape, const Tensor& x, const Buffer<double>& factors, const Tensor& y) {
  check_alike("scale_add_at", x, y);
  VOXOT_CHECK(factors.count() == 3 && factors.device() == x.device(),
              "scale_add_at: {} factors on {}, expected three on {}", factors.count(),
              name_of(factors.device()), name_of(x.device()));
  Tensor z = Tensor::empty(x.shape(), x.dtype(), x.device());
  kernels::linear_combination_at(
      x.stream(), x.dtype(),
      {.count = x.count(), .factors = factors.data(), .x = x.data(), .y = y.data(), .z = z.data()});
  if (tape.records(x, y)) {
    ScaleAddAtNode node;
    node.factors = factors;
    node.x_slot = Tape::slot(x);
    node.y_slot = Tape::slot(y);
    tape.record(z, std::move(node));
  }
  return z;
}

Tensor scale(Tape& tape, const Tensor& x, double factor) {
  Tensor z = Tensor::empty(x.shape(), x.dtype(), x.device());
  kernels::axpby(x.stream(), x.dtype(),
                 {.count = x.count(), .a = factor, .x = x.data(), .b = 0, .y = z.data()});
  if (tape.records(x)) {
    LinearCombinationNode node;
    node.a = factor;
    node.x_slot = Tape::slot(x);
    tape.record(z, std::move(node));
  }
  return z;
}

Tensor mul(Tape& tape, const Tensor& x, const Tensor& y) {
  check_alike("mul", x, y);
  Tensor z = Tensor::empty(x.shape(), x.dtype(), x.device());
  kernels::multiply(x.stream(), x.dtype(), {.count = x.count(), .x = x.data(), .y = y.data(), .z = z.data()});
  if (tape.records(x, y)) {
    MulNode node;
    node.x_slot = Tape::slot(x);
    node.y_slot = Tape::slot(y);
    if (node.y_slot != nullptr) node.x = x.detached();
    if (node.x_slot != nullptr) node.y = y.detached();
    tape.record(z, std::move(node));
  }
  return z;
}

Tensor broadcast_add(Tape& tape, const Tensor& x, const Tensor& v) {
  VOXOT_CHECK(x.shape().rank() >= 2 && v.shape() == Shape({x.extent(0), x.shape().back()}) &&
                  v.dtype() == x.dtype() && v.device() == x.device(),
              "broadcast_add: {} {} on {} to {} {} on {}; expected N×C to N×…×C", v.shape().text(),
              name_of(v.dtype()), name_of(v.device()), x.shape().text(), name_of(x.dtype()),
              name_of(x.device()));
  Tensor y = Tensor::empty(x.shape(), x.dtype(), x.device());
  kernels::broadcast_add(x.stream(), x.dtype(),
                         {.outer = v.extent(0),
                          .rows = x.count() / v.count(),
                          .channels = v.extent(1),
                          .x = x.data(),
                          .v = v.data(),
                          .y = y.data()});
  if (tape.records(x, v)) {
    BroadcastAddNode node;
    node.x_slot = Tape::slot(x);
    node.v_slot = Tape::slot(v);
    tape.record(y, std::move(node));
  }
  return y;
}

Tensor cast(Tape& tape, const Tensor& x, DType dtype) {
  if (x.dtype() == dtype) return x;
  Tensor y = x.to(dtype);
  if (tape.records(x)) {
    CastNode node;
    node.x_slot = Tape::slot(x);
    tape.record(y, std::move(node));
  }
  return y;
}

Tensor reshape(Tape& tape, const Tensor& x, const Shape& shape) {
  Tensor y = x.reshaped(shape);
  if (tape.records(x)) {
    CastNode node;
    node.x_slot = Tape::slot(x);
    tape.record(y, std::move(node));
  }
  return y;
}

Tensor repeat(Tape& tape, const Tensor& x, std::int64_t times) {
  VOXOT_CHECK(times >= 1 && x.shape().rank() >= 1, "repeat: {} times of {}", times, x.shape().text());
  std::vector<std::int64_t> extents(x.shape().extents().begin(), x.shape().extents().end());
  extents[0] *= times;
  Tensor y = Tensor::empty(Shape(extents), x.dtype(), x.device());
  for (std::int64_t i = 0; i < times; ++i) y.window(i * x.count(), x.shape()).copy_from(x);
  if (tape.records(x)) {
    RepeatNode node;
    node.times = times;
    node.x_slot = Tape::slot(x);
    tape.record(y, std::move(node));
  }
  return y;
}

}  // namespace voxot::ops
