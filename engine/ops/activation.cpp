#include "engine/ops/activation.h"

namespace voxot::ops {
namespace {

struct ActivationNode : Node {
  Activation act;
  Tensor saved;
  SlotRef x_slot;

  void backward(Tensor grad) override {
    const bool in_place = !x_slot->ready && !x_slot->persistent && grad.exclusive();
    const auto to =
        in_place ? GradientSlot::Destination{grad.data(), Write::overwrite} : x_slot->destination();
    kernels::activation_backward(grad.stream(), grad.dtype(),
                                 {.activation = act,
                                  .count = grad.count(),
                                  .saved = saved.data(),
                                  .grad_y = grad.data(),
                                  .grad_x = to.data,
                                  .write = to.write});
    if (in_place) x_slot->give(std::move(grad));
  }
};

struct PreluNode : Node {
  Tensor x, slope;
  SlotRef x_slot, slope_slot;

  void backward(Tensor grad) override {
    GradientSlot::Destination gx{nullptr, Write::overwrite};
    GradientSlot::Destination gs{nullptr, Write::overwrite};
    if (x_slot != nullptr) gx = x_slot->destination();
    if (slope_slot != nullptr) gs = slope_slot->destination();
    const std::int64_t channels = x.shape().back();
    kernels::prelu_backward(x.stream(), x.dtype(),
                            {.rows = x.count() / channels, .channels = channels, .slopes = slope.count()},
                            {.x = x.data(),
                             .slope = slope.data(),
                             .grad_y = grad.data(),
                             .grad_x = gx.data,
                             .grad_x_write = gx.write,
                             .grad_slope = gs.data,
                             .grad_slope_write = gs.write});
  }
};

}  // namespace

Tensor activation(Tape& tape, const Tensor& x, Activation act) {
  Tensor y = Tensor::empty(x.shape(), x.dtype(), x.device());
  kernels::activation_forward(x.stream(), x.dtype(), act, x.count(), x.data(), y.data());
  if (tape.records(x)) {
    ActivationNode node;
    node.act = act;
    node.saved = act.saves_input() ? x.detached() : y.detached();
    node.x_slot = Tape::slot(x);
    tape.record(y, std::move(node));
  }
  return y;
}

Tensor relu(Tape& tape, const Tensor& x) { return activation(tape, x, {ActivationKind::relu, 0}); }
Tensor leaky_relu(Tape& tape, const Tensor& x, float slope) {
  return activation(tape, x, {ActivationKind::leaky_relu, slope});
}

Tensor prelu(Tape& tape, const Tensor& x, const Tensor& slope) {
  const std::int64_t channels = x.shape().back();
  VOXOT_CHECK(slope.count() == 1 || slope.count() == channels, "prelu: {} slopes for {} channels (input {})",
              slope.count(), channels, x.shape().text());
  Tensor y = Tensor::empty(x.shape(), x.dtype(), x.device());
  kernels::prelu_forward(x.stream(), x.dtype(),
                         {.rows = x.count() / channels, .channels = channels, .slopes = slope.count()},
                         x.data(), slope.data(), y.data());
  if (tape.records(x, slope)) {
    PreluNode node;
    node.x = x.detached();
    node.slope = slope.detached();
    node.x_slot = Tape::slot(x);
    node.slope_slot = Tape::slot(slope);
    tape.record(y, std::move(node));
  }
  return y;
}

}  // namespace voxot::ops
