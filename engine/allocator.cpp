#include "engine/allocator.h"

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "kernels/memory.h"

namespace voxot {
namespace {

/// Sizes are rounded up to one of eight steps per power of two: at most 12.5 % is lost.
std::size_t rounded(std::size_t bytes) {
  if (bytes <= 512) return 512;
  const std::size_t step = std::max<std::size_t>(std::bit_floor(bytes - 1) / 8, 1);
  return (bytes + step - 1) / step * step;
}

}  // namespace

class BlockCache {
 public:
  explicit BlockCache(Device device) : device_(device) {}
  ~BlockCache() {
    try {
      release_locked();
    } catch (const Error&) {
      // A device that has failed takes nothing back.
    }
  }
  BlockCache(const BlockCache&) = delete;
  BlockCache& operator=(const BlockCache&) = delete;
  [[nodiscard]] Device device() const { return device_; }

  /// `spare`: another cache to empty when the device has no memory left; may be null.
  void* take(std::size_t bytes, BlockCache* spare) {
    const std::lock_guard lock(mutex_);
    void* block = nullptr;
    auto& list = free_[bytes];
    if (!list.empty()) {
      block = list.back();
      list.pop_back();
    } else {
      block = kernels::device_allocate(device_, bytes);
      if (block == nullptr) {
        release_locked();
        if (spare != nullptr) spare->release();
        block = kernels::device_allocate(device_, bytes);
      }
      VOXOT_CHECK(block != nullptr, "allocator: no memory for {} bytes on {} ({} bytes in use)", bytes,
                  name_of(device_), statistics_.in_use);
      statistics_.held += bytes;
      ++statistics_.system_allocations;
    }
    statistics_.in_use += bytes;
    statistics_.peak = std::max(statistics_.peak, statistics_.in_use);
    return block;
  }

  void give(void* block, std::size_t bytes) {
    const std::lock_guard lock(mutex_);
    free_[bytes].push_back(block);
    statistics_.in_use -= bytes;
  }

  void release() {
    const std::lock_guard lock(mutex_);
    release_locked();
  }

  AllocatorStatistics statistics() {
    const std::lock_guard lock(mutex_);
    return statistics_;
  }

 private:
  void release_locked() {
    for (auto& [bytes, list] : free_) {
      for (void* block : list) kernels::device_free(device_, block);
      statistics_.held -= bytes * list.size();
      list.clear();
    }
  }

  Device device_;
  std::mutex mutex_;
  std::map<std::size_t, std::vector<void*>> free_;
  AllocatorStatistics statistics_;
};

namespace {

using CacheRef = std::shared_ptr<BlockCache>;

/// Never destroyed: tensors with static lifetime may outlive any order of destruction.
const CacheRef& cache(Device device) {
  static const CacheRef* const caches[kDeviceCount] = {
      new CacheRef(std::make_shared<BlockCache>(Device::cpu)),
      new CacheRef(std::make_shared<BlockCache>(Device::cuda))};
  return *caches[static_cast<std::size_t>(device)];
}

/// The pool that this thread takes from; null: the device's own cache.
CacheRef& pool_in_use(Device device) {
  thread_local CacheRef pools[kDeviceCount];
  return pools[static_cast<std::size_t>(device)];
}

}  // namespace

AllocatorStatistics allocator_statistics(Device device) { return cache(device)->statistics(); }
void release_cached_memory(Device device) { cache(device)->release(); }

MemoryPool::MemoryPool(Device device) : cache_(std::make_shared<BlockCache>(device)) {}
AllocatorStatistics MemoryPool::statistics() const { return cache_->statistics(); }

PoolScope::PoolScope(const MemoryPool& pool)
    : before_(std::exchange(pool_in_use(pool.cache_->device()), pool.cache_)),
      device_(pool.cache_->device()) {}
PoolScope::~PoolScope() { pool_in_use(device_) = std::move(before_); }

Storage::Storage(std::size_t bytes, Device device)
    : home_(pool_in_use(device) != nullptr ? pool_in_use(device) : cache(device)),
      data_(home_->take(rounded(bytes), home_ == cache(device) ? nullptr : cache(device).get())),
      bytes_(rounded(bytes)),
      device_(device) {
  kernels::recycle({device, nullptr}, data_, bytes, bytes_);
}
Storage::~Storage() { home_->give(data_, bytes_); }

}  // namespace voxot
