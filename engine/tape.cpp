#include "engine/tape.h"

namespace voxot {

void Tape::backward(const Tensor& loss, double seed) {
  VOXOT_CHECK(loss.count() == 1, "backward: the loss has shape {}, expected one element", loss.shape().text());
  VOXOT_CHECK(wants(loss), "backward: the loss was not recorded on this tape");
  loss.gradient()->give(Tensor::full(loss.shape(), seed, loss.dtype(), loss.device()));
  while (!nodes_.empty()) {
    const std::unique_ptr<Node> node = std::move(nodes_.back());
    nodes_.pop_back();
    Tensor grad = node->output->take();
    if (grad.defined()) node->backward(std::move(grad));
  }
}

}  // namespace voxot
