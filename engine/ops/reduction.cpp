#include "engine/ops/reduction.h"

namespace voxot::ops {
namespace {

struct ReductionNode : Node {
  ReductionParams params;
  Tensor x;
  SlotRef x_slot;

  void backward(Tensor grad) override {
    const auto to = x_slot->destination();
    kernels::reduce_backward(
        grad.stream(), grad.dtype(), params,
        {.x = x.defined() ? x.data() : nullptr, .grad_y = grad.data(), .grad_x = to.data, .write = to.write});
  }
};

struct MeanSquaredErrorNode : Node {
  Tensor a, b;
  SlotRef a_slot, b_slot;

  void backward(Tensor grad) override {
    const auto put = [&](const SlotRef& slot, double sign) {
      if (slot == nullptr) return;
      const auto to = slot->destination();
      kernels::mean_squared_error_backward(a.stream(), a.dtype(),
                                           {.count = a.count(),
                                            .a = a.data(),
                                            .b = b.data(),
                                            .grad_loss = grad.data(),
                                            .sign = sign,
                                            .gradient = to.data,
                                            .write = to.write});
    };
    put(a_slot, 1);
    put(b_slot, -1);
  }
};

struct CrossEntropyNode : Node {
  Tensor probabilities;
  Buffer<std::int32_t> labels;
  SlotRef x_slot;

  void backward(Tensor grad) override {
    const auto to = x_slot->destination();
    kernels::cross_entropy_backward(grad.stream(), grad.dtype(),
                                    {.rows = probabilities.extent(0),
                                     .classes = probabilities.extent(1),
                                     .probabilities = probabilities.data(),
                                     .labels = labels.data(),
                                     .grad_loss = grad.data(),
                                     .grad_x = to.data,
                                     .write = to.write});
  }
};

Tensor reduce_view(Tape& tape, const Tensor& x, const ReductionParams& p, const Shape& shape) {
  VOXOT_CHECK(p.axis >= (p.kind == Reduction::variance ? 2 : 1), "reduce: {} elements along the axis of {}",
              p.axis, x.shape().text());
  Tensor y = Tensor::empty(shape, x.dtype(), x.device());
  kernels::reduce_forward(x.stream(), x.dtype(), p, x.data(), y.data());
  if (tape.records(x)) {
    ReductionNode node;
    node.params = p;
    if (p.kind == Reduction::variance) node.x = x.detached();
    node.x_slot = Tape::slot(x);
    tape.record(y, std::move(node));
  }
  return y;
}

}  // namespace

Tensor reduce(Tape& tape, const Tensor& x, Reduction kind, std::size_t axis) {
  VOXOT_CHECK(axis < x.shape().rank(), "reduce: axis {} of {}", axis, x.shape().text());
  ReductionParams p{kind, 1, x.extent(axis), 1};
  std::vector<std::int64_t> extents;
  for (std::size_t a = 0; a < x.shape().rank(); ++a) {
    if (a < axis) p.outer *= x.extent(a);
    if (a > axis) p.inner *= x.extent(a);
    if (a != axis) extents.push_back(x.extent(a));
  }
  return reduce_view(tape, x, p, Shape(extents));
}

Tensor reduce_all(Tape& tape, const Tensor& x, Reduction kind) {
  return reduce_view(tape, x, {kind, 1, x.count(), 1}, Shape{1});
}

Tensor mean_squared_error(Tape& tape, const Tensor& a, const Tensor& b) {
  VOXOT_CHECK(a.shape() == b.shape() && a.dtype() == b.dtype(), "mean_squared_error: {} {} with {} {}",
              a.shape().text(), name_of(a.dtype()), b.shape().text(), name_of(b.dtype()));
  Tensor loss = Tensor::empty({1}, a.dtype(), a.device());
  kernels::mean_squared_error_forward(a.stream(), a.dtype(), a.count(), a.data(), b.data(), loss.data());
  if (tape.records(a, b)) {
    MeanSquaredErrorNode node;
    node.a = a.detached();
    node.b = b.detached();
    node.a_slot = Tape::slot(a);
    node.b_slot = Tape::slot(b);
    tape.record(loss, std::move(node));
  }
  return loss;
}

Tensor cross_entropy(Tape& tape, const Tensor& x, std::span<const std::int32_t> labels) {
  VOXOT_CHECK(x.shape().rank() == 2 && std::ssize(labels) == x.extent(0),
              "cross_entropy: {} labels for input {}", labels.size(), x.shape().text());
  for (std::size_t r = 0; r < labels.size(); ++r) {
    VOXOT_CHECK(labels[r] >= 0 && labels[r] < x.extent(1),
                "cross_entropy: label {} of row {} is outside [0, {})", labels[r], r, x.extent(1));
  }
  return cross_entropy(tape, x, Buffer<std::int32_t>::from(labels, x.device()));
}

Tensor cross_entropy(Tape& tape, const Tensor& x, const Buffer<std::int32_t>& labels) {
  VOXOT_CHECK(x.shape().rank() == 2 && labels.count() == x.extent(0) && labels.device() == x.device(),
              "cross_entropy: {} labels on {} for input {} on {}", labels.count(), name_of(labels.device()),
              x.shape().text(), name_of(x.device()));
  CrossEntropyNode node;
  node.probabilities = Tensor::empty(x.shape(), x.dtype(), x.device());
  node.labels = labels;
  Tensor loss = Tensor::empty({1}, x.dtype(), x.device());
  kernels::cross_entropy_forward(x.stream(), x.dtype(),
                                 {.rows = x.extent(0),
                                  .classes = x.extent(1),
                                  .x = x.data(),
                                  .labels = node.labels.data(),
                                  .probabilities = node.probabilities.data(),
                                  .loss = loss.data()});
  if (tape.records(x)) {
    node.x_slot = Tape::slot(x);
    tape.record(loss, std::move(node));
  }
  return loss;
}

}  // namespace voxot::ops
