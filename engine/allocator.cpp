#include "engine/allocator.h"

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <map>
#include <mutex>
#include <vector>

#include "kernels/memory.h"

namespace voxot {
namespace {

/// Sizes are rounded up to one of eight steps per power of two: at most 12.5 % is lost.
std::size_t rounded(std::size_t bytes) {
  if (bytes <= 512) return 512;
  const std::size_t step = std::bit_floor(bytes - 1) / 8;
  return (bytes + step - 1) / step * step;
}

class Cache {
 public:
  explicit Cache(Device device) : device_(device) {}

  void* take(std::size_t bytes) {
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

/// Never destroyed: tensors with static lifetime may outlive any order of destruction.
Cache& cache(Device device) {
  static Cache* const caches[kDeviceCount] = {new Cache(Device::cpu), new Cache(Device::cuda)};
  return *caches[static_cast<std::size_t>(device)];
}

}  // namespace

AllocatorStatistics allocator_statistics(Device device) { return cache(device).statistics(); }
void release_cached_memory(Device device) { cache(device).release(); }

Storage::Storage(std::size_t bytes, Device device)
    : data_(cache(device).take(rounded(bytes))), bytes_(rounded(bytes)), device_(device) {
  kernels::recycle({device, nullptr}, data_, bytes, bytes_);
}
Storage::~Storage() { cache(device_).give(data_, bytes_); }

}  // namespace voxot
