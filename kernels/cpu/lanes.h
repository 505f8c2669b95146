#pragma once
// The processor's widest vectors as a type: what a kernel writes by hand where the compiler's own vectors
// fall short. Compiles for every target; without AVX a vector is several registers.
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include "kernels/processor.h"
#include "kernels/sizes.h"

namespace voxot::cpu {

// What depends on the instruction set is internal to a source: the copies of the kernels do not share it.

static constexpr std::size_t kVectorBytes =
    kernels::kCompiledFor == kernels::InstructionSet::avx512 ? 64 : 32;

/// A vector of `Bytes` bytes.
template <class T, std::size_t Bytes>
struct Part {
  using Type [[gnu::vector_size(Bytes)]] = T;
};

template <class T>
using Lanes = Part<T, kVectorBytes>;
template <class T>
static constexpr std::int64_t kLanes = static_cast<std::int64_t>(kVectorBytes / sizeof(T));

/// Whole numbers as wide as T.
template <class T>
using LaneBits = Lanes<std::conditional_t<sizeof(T) == 4, std::int32_t, std::int64_t>>;

/// Halves added until 16 bytes are left.
template <class T, std::size_t Bytes = kVectorBytes>
inline typename Part<T, 16>::Type fold(typename Part<T, Bytes>::Type v) {
  if constexpr (Bytes == 16) {
    return v;
  } else {
    const auto halves = std::bit_cast<std::array<typename Part<T, Bytes / 2>::Type, 2>>(v);
    return fold<T, Bytes / 2>(halves[0] + halves[1]);
  }
}

/// Sum of a vector's elements.
template <class T>
inline T lane_sum(typename Lanes<T>::Type v) {
  const auto q = fold<T>(v);
  if constexpr (sizeof(T) == 4) return (q[0] + q[2]) + (q[1] + q[3]);
  return q[0] + q[1];
}

/// From any address; `count` elements of it, the others 0.
template <class T>
inline typename Lanes<T>::Type load(const T* from, std::int64_t count = kLanes<T>) {
  typename Lanes<T>::Type v{};
  if (count >= kLanes<T>) {
    std::memcpy(&v, from, sizeof v);
  } else {
    std::memcpy(&v, from, to_size(count) * sizeof(T));
  }
  return v;
}

/// Holds v in a register: the compiler would load it again for each use, and loads are as scarce as
/// multiply-adds.
template <class V>
inline void keep([[maybe_unused]] V& v) {
#if defined(__AVX__)
  asm("" : "+v"(v));
#endif
}

namespace lanes {

template <class T, std::size_t... I>
inline typename Lanes<T>::Type splat(T value, std::index_sequence<I...>) {
  return typename Lanes<T>::Type{(static_cast<void>(I), value)...};
}

/// The first halves (`From` 0) or the second ones of a and b, element by element.
template <class T, std::size_t From, std::size_t... I>
inline typename Lanes<T>::Type interleave(typename Lanes<T>::Type a, typename Lanes<T>::Type b,
                                          std::index_sequence<I...>) {
  constexpr std::size_t kCount = sizeof...(I);
  return __builtin_shufflevector(a, b, (I % 2 * kCount + From * kCount / 2 + I / 2)...);
}

}  // namespace lanes

/// `value` in every element.
template <class T>
inline typename Lanes<T>::Type splat(T value) {
  return lanes::splat<T>(value, std::make_index_sequence<to_size(kLanes<T>)>{});
}

/// The transpose of as many vectors as one has elements. Each step turns the address of every element, row
/// and column in binary, by one place.
template <class T>
inline void transpose(std::array<typename Lanes<T>::Type, to_size(kLanes<T>)>& v) {
  constexpr auto kCount = to_size(kLanes<T>);
  constexpr auto kAll = std::make_index_sequence<kCount>{};
#pragma GCC unroll 4
  for (std::size_t step = 1; step < kCount; step *= 2) {
    std::array<typename Lanes<T>::Type, kCount> next;
#pragma GCC unroll 8
    for (std::size_t i = 0; i < kCount / 2; ++i) {
      next[2 * i] = lanes::interleave<T, 0>(v[i], v[i + kCount / 2], kAll);
      next[2 * i + 1] = lanes::interleave<T, 1>(v[i], v[i + kCount / 2], kAll);
    }
    v = next;
  }
}

}  // namespace voxot::cpu
