#pragma once
// Activations in loops that become vectors.
#include "kernels/activation.h"
#include "kernels/cpu/vector_math.h"

namespace voxot::cpu {

/// SiLU without calls of the C library's exp, which took half of a perceptron's step.
template <class F>
struct SiluLanes {
  static constexpr ActivationKind kKind = ActivationKind::silu;

  F value(F x) const { return x / (F{1} + exp_lanes(-x)); }
  F gradient(F x, F g) const {
    const F share = F{1} / (F{1} + exp_lanes(-x));
    return g * (share * (F{1} + x * (F{1} - share)));
  }
  F gradient_at(F x, F g) const { return gradient(x, g); }
};

/// The shared functor, or a form of it for vectors.
template <class Functor>
auto lanes_of(Functor functor) {
  if constexpr (Functor::kKind == ActivationKind::silu) {
    return SiluLanes<decltype(functor.slope)>{};
  } else {
    return functor;
  }
}

}  // namespace voxot::cpu
