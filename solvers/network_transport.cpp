#include "solvers/network_transport.h"

namespace voxot {

Tensor NetworkTransport::apply(const Tensor& x, const RandomState& noise) {
  const NoRecord quiet(tape_);
  const Averaged averaged(average_);
  const EvaluationMode evaluation(*map_);
  const Tensor here = x.to(map_.device());
  return map_->forward(tape_, here, draw_noise(tape_, *map_, here, noise_, noise));
}

}  // namespace voxot
