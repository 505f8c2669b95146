#pragma once
// Caching allocator: freed blocks are kept by size and handed out again, so that a steady-state step asks the
// system for nothing. One per device; thread-safe.
#include <cstddef>
#include <cstdint>
#include <memory>

#include "kernels/device.h"

namespace voxot {

/// What an allocator has handed out and holds.
struct AllocatorStatistics {
  std::size_t in_use = 0;                // bytes handed out now
  std::size_t held = 0;                  // bytes asked from the system and not returned
  std::size_t peak = 0;                  // most bytes handed out at once
  std::uint64_t system_allocations = 0;  // blocks asked from the system so far
};

/// Of the device's own cache, without pools.
AllocatorStatistics allocator_statistics(Device device);
/// Returns every cached block to the system.
void release_cached_memory(Device device);

class BlockCache;

/// Memory of its own for work that will be replayed: a replay writes the blocks again, so nobody else may
/// have them while the pool lives. Blocks that are still in use when it dies keep their memory.
class MemoryPool {
 public:
  explicit MemoryPool(Device device);
  [[nodiscard]] AllocatorStatistics statistics() const;

 private:
  friend class PoolScope;
  std::shared_ptr<BlockCache> cache_;
};

/// While it lives, this thread's new storage on the pool's device comes from the pool.
class PoolScope {
 public:
  explicit PoolScope(const MemoryPool& pool);
  ~PoolScope();
  PoolScope(const PoolScope&) = delete;
  PoolScope& operator=(const PoolScope&) = delete;

 private:
  std::shared_ptr<BlockCache> before_;
  Device device_;
};

/// One block, aligned to 64 bytes, given back to where it came from when it dies.
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
  std::shared_ptr<BlockCache> home_;
  void* data_;
  std::size_t bytes_;
  Device device_;
};

}  // namespace voxot
