#pragma once
// Memory of a device, copies between devices, waiting, and graphs of queued work.
#include "kernels/kernel.h"

namespace voxot::kernels {

/// Bytes aligned to 64 (bytes, where to put the address; null when there is no memory).
inline constinit Kernel<void(std::size_t, void**)> allocate{"allocate"};
inline constinit Kernel<void(void*)> deallocate{"deallocate"};
/// A block that a cache hands out again: its first bytes are undefined now, the rest out of bounds (block,
/// bytes, capacity). Tells checkers; costs nothing without one.
inline constinit Kernel<void(void*, std::size_t, std::size_t)> recycle{"recycle"};

/// to ← from, queued in the stream; on cuda either side may be host memory (to, from, bytes).
inline constinit Kernel<void(void*, const void*, std::size_t)> copy_bytes{"copy_bytes"};
/// Waits for all that is queued in the stream.
inline constinit Kernel<void()> synchronize{"synchronize"};
/// The stream in which the engine queues its work (where to put the handle).
inline constinit Kernel<void(void**)> main_stream{"main_stream"};

/// Host memory that the device reaches without a wait (bytes, where to put the address; null when there is
/// none).
inline constinit Kernel<void(std::size_t, void**)> allocate_pinned{"allocate_pinned"};
inline constinit Kernel<void(void*)> free_pinned{"free_pinned"};

/// Events: points in a stream's work (where to put the handle; the handle).
inline constinit Kernel<void(void**)> create_event{"create_event"};
inline constinit Kernel<void(void*)> destroy_event{"destroy_event"};
inline constinit Kernel<void(void*)> record_event{"record_event"};
/// Returns when everything queued before the event's last record is done; at once when there was none.
inline constinit Kernel<void(void*)> wait_event{"wait_event"};
/// Seconds from one passed event to a later one (earlier, later, where to put them).
inline constinit Kernel<void(void*, void*, double*)> event_seconds{"event_seconds"};
/// Bytes of the device's memory that every program together has in use; 0 on an emulated device (where to put
/// them).
inline constinit Kernel<void(std::size_t*)> memory_in_use{"memory_in_use"};
/// Bytes of the device's last cache before its memory (where to put them).
inline constinit Kernel<void(std::size_t*)> last_cache_bytes{"last_cache_bytes"};

/// Graphs: what is queued in the stream between begin and end is recorded, not run (where to put the handle).
/// Addresses and plain arguments are those of the recording.
inline constinit Kernel<void()> begin_capture{"begin_capture"};
inline constinit Kernel<void(void**)> end_capture{"end_capture"};
inline constinit Kernel<void(void*)> launch_graph{"launch_graph"};
inline constinit Kernel<void(void*)> destroy_graph{"destroy_graph"};

/// A block of device memory. Throws Error when there is none; device_free() returns it.
inline void* device_allocate(Device device, std::size_t bytes) {
  void* block = nullptr;
  allocate({device, nullptr}, bytes, &block);
  return block;
}
/// Gives a block of device_allocate() back.
inline void device_free(Device device, void* block) { deallocate({device, nullptr}, block); }

/// The engine's stream of a device.
inline Stream stream_of(Device device) {
  if (device == Device::cpu) return {};
  static void* const handle = [] {
    void* stream = nullptr;
    main_stream({Device::cuda, nullptr}, &stream);
    return stream;
  }();
  return {device, handle};
}

}  // namespace voxot::kernels
