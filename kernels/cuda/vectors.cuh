#pragma once
// Accesses of 16 bytes, the widest of a thread, where addresses allow them.
#include <algorithm>

#include "kernels/cuda/scalar.h"

namespace voxot::cuda {

inline constexpr std::size_t kVectorBytes = 16;

/// Elements of one access, so that those of the widest type fill a vector.
template <class... T>
constexpr int vector_size() {
  std::size_t widest = 1;
  ((widest = widest < sizeof(T) ? sizeof(T) : widest), ...);
  return static_cast<int>(kVectorBytes / widest);
}

inline bool aligned(const void* address) {
  return reinterpret_cast<std::uintptr_t>(address) % kVectorBytes == 0;
}

/// Threads of a block when `count` are wanted in all: whole warps, no more than `most`.
inline unsigned threads_for(std::int64_t count, unsigned most) {
  return static_cast<unsigned>(
      std::min<std::int64_t>((count + simt::kWarp - 1) / simt::kWarp * simt::kWarp, most));
}

template <int V, class T>
VOXOT_DEVICE simt::Vector<T, V> load_vector(const T* from) {
  return *reinterpret_cast<const simt::Vector<T, V>*>(from);
}

template <int V, class T>
VOXOT_DEVICE void store_vector(T* to, const simt::Vector<T, V>& values) {
  *reinterpret_cast<simt::Vector<T, V>*>(to) = values;
}

}  // namespace voxot::cuda
