#include "engine/tape.h"

#include <algorithm>

namespace voxot {

void Tape::backward(const Tensor& loss, double seed) {
  VOXOT_CHECK(loss.count() == 1, "backward: the loss has shape {}, expected one element",
              loss.shape().text());
  const auto made_here = [&](const std::unique_ptr<Node>& node) { return node->output == loss.gradient(); };
  VOXOT_CHECK(wants(loss) && std::any_of(nodes_.rbegin(), nodes_.rend(), made_here),
              "backward: the loss was not recorded on this tape, or has been run backward already");
  loss.gradient()->give(Tensor::full(loss.shape(), seed, loss.dtype(), loss.device()));
  while (!nodes_.empty()) {
    const std::unique_ptr<Node> node = std::move(nodes_.back());
    nodes_.pop_back();
    Tensor grad = node->output->take();
    if (grad.defined()) node->backward(std::move(grad));
  }
}

}  // namespace voxot
