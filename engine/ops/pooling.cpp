#include "engine/ops/pooling.h"

#include "kernels/sizes.h"

namespace voxot::ops {
namespace {

struct MaxPoolNode : Node {
  PoolParams params;
  std::shared_ptr<Storage> winner;
  SlotRef x_slot;

  void backward(Tensor grad) override {
    const auto to = x_slot->destination();
    kernels::max_pool_backward(grad.stream(), grad.dtype(), params,
                               {.winner = static_cast<const std::uint8_t*>(winner->data()),
                                .grad_y = grad.data(),
                                .grad_x = to.data,
                                .write = to.write});
  }
};

struct AveragePoolNode : Node {
  PoolParams params;
  SlotRef x_slot;

  void backward(Tensor grad) override {
    const auto to = x_slot->destination();
    kernels::average_pool_backward(grad.stream(), grad.dtype(), params, grad.data(), to.data, to.write);
  }
};

PoolParams infer(const char* op, const Tensor& x, const PoolWindow& window) {
  VOXOT_CHECK(x.shape().rank() == 5, "{}: input {} is not N×D×H×W×C", op, x.shape().text());
  PoolParams p;
  p.batch = x.extent(0);
  p.channels = x.extent(4);
  p.in_extent = {x.extent(1), x.extent(2), x.extent(3)};
  p.kernel = window.kernel;
  p.stride = window.stride;
  p.padding = window.padding;
  p.validate();
  return p;
}

Tensor output(const PoolParams& p, const Tensor& x) {
  const auto o = p.out_extent();
  return Tensor::empty({p.batch, o[0], o[1], o[2], p.channels}, x.dtype(), x.device());
}

}  // namespace

Tensor max_pool3d(Tape& tape, const Tensor& x, const PoolWindow& window) {
  const PoolParams p = infer("max_pool3d", x, window);
  Tensor y = output(p, x);
  if (!tape.records(x)) {
    kernels::max_pool_forward(x.stream(), x.dtype(), p, x.data(), y.data(), nullptr);
    return y;
  }
  MaxPoolNode node;
  node.params = p;
  node.winner = std::make_shared<Storage>(to_size(y.count()), x.device());
  node.x_slot = Tape::slot(x);
  kernels::max_pool_forward(x.stream(), x.dtype(), p, x.data(), y.data(),
                            static_cast<std::uint8_t*>(node.winner->data()));
  tape.record(y, std::move(node));
  return y;
}

Tensor average_pool3d(Tape& tape, const Tensor& x, const PoolWindow& window, bool count_padding) {
  PoolParams p = infer("average_pool3d", x, window);
  p.count_padding = count_padding;
  Tensor y = output(p, x);
  kernels::average_pool_forward(x.stream(), x.dtype(), p, x.data(), y.data());
  if (tape.records(x)) {
    AveragePoolNode node;
    node.params = p;
    node.x_slot = Tape::slot(x);
    tape.record(y, std::move(node));
  }
  return y;
}

}  // namespace voxot::ops
