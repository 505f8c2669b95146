#include "engine/ops/pairwise_cost.h"

namespace voxot::ops {
namespace {

struct PairwiseCostNode : Node {
  PairwiseCostParams params;
  Tensor x, y;
  SlotRef x_slot, y_slot;

  void backward(Tensor grad) override {
    // The two may be one tensor, whose slot then is written twice: one after the other.
    if (x_slot != nullptr) {
      const auto to = x_slot->destination();
      kernels::pairwise_cost_backward(grad.stream(), grad.dtype(), params,
                                      {.x = x.data(),
                                       .y = y.data(),
                                       .grad_cost = grad.data(),
                                       .grad_x = to.data,
                                       .grad_x_write = to.write});
    }
    if (y_slot != nullptr) {
      const auto to = y_slot->destination();
      kernels::pairwise_cost_backward(grad.stream(), grad.dtype(), params,
                                      {.x = x.data(),
                                       .y = y.data(),
                                       .grad_cost = grad.data(),
                                       .grad_y = to.data,
                                       .grad_y_write = to.write});
    }
  }
};

}  // namespace

Tensor pairwise_cost(Tape& tape, const Tensor& x, const Tensor& y, GroundCost cost) {
  VOXOT_CHECK(x.defined() && y.defined(), "pairwise_cost: a set of features is missing");
  const std::size_t rank = x.shape().rank();
  VOXOT_CHECK(
      (rank == 2 || rank == 3) && y.shape().rank() == rank && x.shape().back() == y.shape().back() &&
          (rank == 2 || x.extent(0) == y.extent(0)) && x.dtype() == y.dtype() && x.device() == y.device(),
      "pairwise_cost: features {} {} on {} with {} {} on {}; expected n×D with m×D or B×n×D with B×m×D",
      x.shape().text(), name_of(x.dtype()), name_of(x.device()), y.shape().text(), name_of(y.dtype()),
      name_of(y.device()));
  const PairwiseCostParams p{cost, rank == 3 ? x.extent(0) : 1, x.extent(rank - 2), y.extent(rank - 2),
                             x.shape().back()};
  p.validate();
  VOXOT_CHECK(x.dtype() != DType::bf16, "pairwise_cost: features in bf16; expected fp32 or fp64");
  Tensor costs = rank == 3 ? Tensor::empty({p.batch, p.rows, p.columns}, x.dtype(), x.device())
                           : Tensor::empty({p.rows, p.columns}, x.dtype(), x.device());
  kernels::pairwise_cost(x.stream(), x.dtype(), p, x.data(), y.data(), costs.data());
  if (tape.records(x, y)) {
    PairwiseCostNode node;
    node.params = p;
    node.x = x.detached();
    node.y = y.detached();
    node.x_slot = Tape::slot(x);
    node.y_slot = Tape::slot(y);
    tape.record(costs, std::move(node));
  }
  return costs;
}

}  // namespace voxot::ops
