#pragma once
// Caching allocator: freed blocks are kept by size and handed out again, so that a steady-state step asks the
// system for nothing. One per device; thread-safe.
#include <cstddef>
#include <cstdint>
#include <memory>

#include "kernels/device.h"

namespace voxot {

struct AllocatorStatistics {
  std::size_t in_use = 0;                // bytes handed out now
  std::size_t held = 0;                  // bytes asked from the system and not returned
  std::size_t peak = 0;                  // most bytes handed out at once
  std::uint64_t system_allocations = 0;  // blocks asked from the system so far
};

AllocatorStatistics allocator_statistics(Device device);
/// Returns every cached block to the system.
void release_cached_memory(Device device);

/// One block, aligned to 64 bytes, given back to the cache when it dies.
class Storage {
 public:
  /// Throws Error with the size when there is no memory.
  Storage(std::size_t bytes, Device device);
  ~Storage();
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;

  [[nodiscard]] void* data() const { return data_; }
  [[nodiscard]] Device device() const { return device_; }

 private:
  void* data_;
  std::size_t bytes_;
  Device device_;
};

}  // namespace voxot
