#pragma once
// Storage types on the CPU, their conversions, and dispatch from DType to type.
#include <bit>
#include <cstdint>
#include <type_traits>

#include "kernels/dispatch.h"

namespace voxot::cpu {

struct bf16 {
  std::uint16_t bits;
};

inline float load(bf16 v) { return std::bit_cast<float>(static_cast<std::uint32_t>(v.bits) << 16); }
inline float load(float v) { return v; }
inline double load(double v) { return v; }

/// Rounds to nearest even; NaN stays NaN.
inline void store(bf16& to, float v) {
  const auto u = std::bit_cast<std::uint32_t>(v);
  const std::uint32_t rounded = (u + 0x7FFF + ((u >> 16) & 1)) >> 16;
  const std::uint32_t quiet = (u >> 16) | 0x40;
  to.bits = static_cast<std::uint16_t>((u & 0x7FFFFFFF) > 0x7F800000 ? quiet : rounded);
}
inline void store(float& to, float v) { to = v; }
inline void store(float& to, double v) { to = static_cast<float>(v); }
inline void store(double& to, double v) { to = v; }

template <Write W, class T, class F>
inline void put(T& to, F v) {
  if constexpr (W == Write::accumulate) v += load(to);
  store(to, v);
}

/// Calls body.operator()<T>() with the storage type of `dtype`.
template <class Body>
void with_type(DType dtype, Body&& body) {
  voxot::with_type<bf16>(dtype, std::forward<Body>(body));
}

/// Elements below which a loop stays on one thread: waking the others costs about as much.
inline constexpr std::int64_t kParallelGrain = 8192;

/// body(i) for every i of [0, count): blocks over threads, vectors within. The body is copied into each
/// block: behind the reference that OpenMP's shared variables are, its members would be read again at every
/// element.
template <class Body>
void each(std::int64_t count, const Body& shared) {
  constexpr std::int64_t kBlock = 4096;
#pragma omp parallel for schedule(static) if (count > kParallelGrain)
  for (std::int64_t first = 0; first < count; first += kBlock) {
    const Body body = shared;
    const std::int64_t last = first + kBlock < count ? first + kBlock : count;
#pragma omp simd
    for (std::int64_t i = first; i < last; ++i) body(i);
  }
}

}  // namespace voxot::cpu
