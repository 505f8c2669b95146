#pragma once
// Memory of a device, and copies between devices.
#include "kernels/kernel.h"

namespace voxot::kernels {

/// Bytes aligned to 64 (bytes, where to put the address; null when there is no memory).
inline constinit Kernel<void(std::size_t, void**)> allocate{"allocate"};
inline constinit Kernel<void(void*)> deallocate{"deallocate"};

inline void* device_allocate(Device device, std::size_t bytes) {
  void* block = nullptr;
  allocate({device, nullptr}, bytes, &block);
  return block;
}
inline void device_free(Device device, void* block) { deallocate({device, nullptr}, block); }

}  // namespace voxot::kernels
