#pragma once
// Storage types on the device, their conversions, and dispatch from DType to type.
#include "kernels/dispatch.h"
#include "kernels/simt/simt.h"

namespace voxot::cuda {

using simt::Bf16;

VOXOT_DEVICE float load(Bf16 v) { return static_cast<float>(v); }
VOXOT_DEVICE float load(float v) { return v; }
VOXOT_DEVICE double load(double v) { return v; }

/// A computed value as it is stored.
template <class T, class F>
VOXOT_DEVICE T stored(F v) {
  if constexpr (std::is_same_v<T, Bf16>) {
    return Bf16(static_cast<float>(v));
  } else {
    return static_cast<T>(v);
  }
}

template <Write W, class T, class F>
VOXOT_DEVICE void put(T& to, F v) {
  if constexpr (W == Write::accumulate) v += load(to);
  to = stored<T>(v);
}

/// Calls body.operator()<T>() with the storage type of `dtype`.
template <class Body>
void with_type(DType dtype, Body&& body) {
  voxot::with_type<Bf16>(dtype, std::forward<Body>(body));
}

}  // namespace voxot::cuda
