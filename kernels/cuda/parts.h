#pragma once
// One block of memory in parts.
#include <cstddef>
#include <cstdint>

#include "kernels/sizes.h"

namespace voxot::cuda {

/// Parts of one block of device memory, each aligned to 16 bytes.
class Parts {
 public:
  template <class T>
  T* take(std::int64_t count) {
    T* const part = reinterpret_cast<T*>(base_ + bytes_);
    bytes_ += (to_size(count) * sizeof(T) + 15) / 16 * 16;
    return part;
  }
  /// Of all that was taken; call the same takes again after base().
  [[nodiscard]] std::size_t bytes() const { return bytes_; }
  void base(void* block) {
    base_ = static_cast<std::byte*>(block);
    bytes_ = 0;
  }

 private:
  std::byte* base_ = nullptr;
  std::size_t bytes_ = 0;
};

}  // namespace voxot::cuda
