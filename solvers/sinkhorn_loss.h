#pragma once
// Entropic transport as a loss: values on the tape, with gradients with respect to costs, points and weights
// by the envelope theorem (Feydy, Séjourné, Vialard, Amari, Trouvé, Peyré, AISTATS 2019). The potentials are
// solved for and then held: ∂value/∂C = P, ∂value/∂a = f up to a constant. So a gradient is as exact as the
// potentials are converged, and memory does not grow with the iterations.
#include "engine/tape.h"
#include "solvers/sinkhorn.h"

namespace voxot {

/// Weights of the two sets, n and m numbers ≥ 0 in the costs' type and on their device; undefined: uniform.
/// Under hard marginals they are normalised to sum 1, and the gradient is that of the normalised ones.
struct WeightTensors {
  Tensor source{};
  Tensor target{};
};

/// The dual value of the objective (kernels/sinkhorn.h) for costs n×m, fp32 or fp64; one element. It is
/// solved where the costs lie, waits for them, and the weights pass through the host.
/// Throws Error as sinkhorn does, and when the problem does not converge: its gradient would be of something
/// else. A relative ε counts as a constant.
Tensor sinkhorn_value(Tape& tape, const Tensor& cost, const SinkhornOptions& options = {},
                      const WeightTensors& weights = {});

/// The debiased divergence S = OT(a, b) − ½·OT(a, a) − ½·OT(b, b) + ½·ε·(m_a − m_b)², m the masses, between x
/// n×D and y m×D; 0 for equal measures (Feydy et al. 2019; Séjourné et al., arXiv 1910.12958, for relaxed
/// marginals). A relative ε is taken from the costs between x and y. Throws Error as above, and where the
/// marginals are relaxed unequally.
Tensor sinkhorn_divergence(Tape& tape, const Tensor& x, const Tensor& y, GroundCost cost,
                           const SinkhornOptions& options = {}, const WeightTensors& weights = {});

}  // namespace voxot
