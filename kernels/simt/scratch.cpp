// What both forms of runtime.h share. The one block of memory for intermediate results. Work is queued
// in one stream, so that a kernel's results are read before the next kernel writes there.
#include <algorithm>
#include <mutex>

#include "kernels/simt/runtime.h"

namespace voxot::simt {

bool has_code(std::span<const int> architectures, int major, int minor) {
  return std::any_of(architectures.begin(), architectures.end(),
                     [&](int a) { return a / 100 == major && a % 100 / 10 <= minor; });
}

void* scratch(std::size_t bytes) {
  static std::mutex mutex;
  static void* block = nullptr;
  static std::size_t capacity = 0;
  const std::lock_guard lock(mutex);
  if (bytes > capacity) {
    // A graph may hold the old block's address, so it is kept; doubling bounds what that wastes.
    const std::size_t wanted = std::max({bytes, 2 * capacity, std::size_t{1} << 20});
    block = allocate(wanted);
    VOXOT_CHECK(block != nullptr, "cuda: no memory for {} bytes of intermediate results", wanted);
    capacity = wanted;
  }
  recycle(block, bytes, capacity);
  return block;
}

}  // namespace voxot::simt
