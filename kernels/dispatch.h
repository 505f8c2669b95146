#pragma once
// From values known at run time to template arguments: storage type, way of writing, activation. Every
// backend's.
#include <type_traits>
#include <utility>

#include "kernels/activation.h"

namespace voxot {

/// The type in which a kernel computes with values stored as T, and in which parameters are kept.
template <class T>
using Compute = std::conditional_t<std::is_same_v<T, double>, double, float>;

/// Calls body.operator()<T>() with the storage type of `dtype`; the backend names its bf16.
template <class Bf16, class Body>
void with_type(DType dtype, Body&& body) {
  switch (dtype) {
    case DType::f32:
      return body.template operator()<float>();
    case DType::bf16:
      return body.template operator()<Bf16>();
    case DType::f64:
      return body.template operator()<double>();
  }
}

/// Calls body.operator()<write>().
template <class Body>
void with_write(Write write, Body&& body) {
  if (write == Write::overwrite) return body.template operator()<Write::overwrite>();
  body.template operator()<Write::accumulate>();
}

/// Calls body(functor) with the activation's functor.
template <class F, class Body>
void with_activation(Activation a, Body&& body) {
  const auto slope = static_cast<F>(a.slope);
  switch (a.kind) {
    case ActivationKind::none:
      return body(ActivationFunctor<ActivationKind::none, F>{slope});
    case ActivationKind::relu:
      return body(ActivationFunctor<ActivationKind::relu, F>{slope});
    case ActivationKind::leaky_relu:
      return body(ActivationFunctor<ActivationKind::leaky_relu, F>{slope});
    case ActivationKind::silu:
      return body(ActivationFunctor<ActivationKind::silu, F>{slope});
    case ActivationKind::tanh:
      return body(ActivationFunctor<ActivationKind::tanh, F>{slope});
    case ActivationKind::sigmoid:
      return body(ActivationFunctor<ActivationKind::sigmoid, F>{slope});
    case ActivationKind::softplus:
      return body(ActivationFunctor<ActivationKind::softplus, F>{slope});
  }
}

}  // namespace voxot
