#pragma once
// Uninitialised memory that begins at a vector.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>

#include "kernels/sizes.h"

namespace voxot::cpu {

inline constexpr std::size_t kAlignment = 64;

template <class T>
struct FreeAligned {
  void operator()(T* p) const { ::operator delete[](p, std::align_val_t{kAlignment}); }
};

template <class T>
using Aligned = std::unique_ptr<T[], FreeAligned<T>>;

template <class T>
Aligned<T> aligned(std::int64_t count) {
  return Aligned<T>(
      static_cast<T*>(::operator new[](to_size(count) * sizeof(T), std::align_val_t{kAlignment})));
}

/// Memory that a thread keeps and that grows.
template <class T>
class AlignedScratch {
 public:
  T* get(std::int64_t count) {
    if (count > count_) {
      memory_ = aligned<T>(count);
      count_ = count;
    }
    return memory_.get();
  }

 private:
  Aligned<T> memory_;
  std::int64_t count_ = 0;
};

}  // namespace voxot::cpu
