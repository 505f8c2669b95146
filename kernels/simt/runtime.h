#pragma once
// The host's side of a CUDA device: memory, streams, events, graphs. Implemented by runtime_device.cpp
// on the CUDA runtime and by runtime_emulation.cpp on host memory. Every function throws Error with the
// runtime's own words when it fails.
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>

#include "kernels/device.h"

namespace voxot::simt {

struct DeviceProperties {
  std::string name;
  int major = 0;  // compute capability
  int minor = 0;
  int multiprocessors = 0;
  std::size_t memory = 0;            // bytes
  std::size_t shared_per_block = 0;  // most that a block may ask for
  std::size_t shared_per_multiprocessor = 0;
  std::size_t level2 = 0;  // bytes of the L2 cache
  int clock_khz = 0;
  int memory_clock_khz = 0;
  int memory_bus_bits = 0;
  bool emulated = false;
};

/// Devices that can be used now: 0 when there is no driver or no GPU, and `why` then says which.
int device_count(std::string* why = nullptr);
/// Whether code for one of the architectures (800: sm_80) runs on a device of this compute capability.
bool has_code(std::span<const int> architectures, int major, int minor);
/// Whether kernels run on the host under the emulation's checks.
bool emulated();
const DeviceProperties& device_properties();
/// "NVIDIA H200, sm_90, 132 multiprocessors, driver 13.0"
std::string describe_device();

/// Device memory aligned to 256 bytes; null when there is none left.
void* allocate(std::size_t bytes);
void free(void* block);
/// Bytes of the device's memory in use by every program; 0 on an emulated device.
std::size_t memory_in_use();
/// Page-locked host memory, which copies reach without waiting.
void* allocate_pinned(std::size_t bytes);
void free_pinned(void* block);
/// A block handed out again by a cache: its first `bytes` are undefined, the rest up to `capacity` out of
/// bounds. Does nothing on a real device.
void recycle(void* block, std::size_t bytes, std::size_t capacity);

/// Memory for a kernel's own intermediate results, undefined, valid until the next call in stream order: one
/// block for all kernels, which grows and never moves what a graph has recorded.
void* scratch(std::size_t bytes);

/// Queued in the stream; either address may be of the host or of the device.
void copy(Stream stream, void* to, const void* from, std::size_t bytes);
void clear(Stream stream, void* block, std::size_t bytes);

void* create_stream();
void destroy_stream(void* handle);
/// Waits for everything queued in the stream.
void synchronize(Stream stream);

/// Whether the stream's work is being recorded.
bool capturing(Stream stream);

/// A point in a stream's work.
class Event {
 public:
  Event();
  ~Event();
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  void record(Stream stream);
  void wait() const;
  /// Seconds from an earlier event to this one; both must have passed.
  [[nodiscard]] double seconds_since(const Event& earlier) const;

 private:
  void* handle_;
};

/// Work recorded once and launched many times. Addresses and plain arguments are those of the recording.
class Graph {
 public:
  Graph() = default;
  ~Graph();
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;
  Graph(Graph&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)), nodes_(other.nodes_) {}
  Graph& operator=(Graph&& other) noexcept {
    std::swap(handle_, other.handle_);
    std::swap(nodes_, other.nodes_);
    return *this;
  }
  /// Work queued in the stream from here to end() is recorded, not run.
  static void begin(Stream stream);
  static Graph end(Stream stream);
  void launch(Stream stream) const;
  [[nodiscard]] bool defined() const { return handle_ != nullptr; }
  /// Kernels, copies and fills recorded.
  [[nodiscard]] std::size_t nodes() const { return nodes_; }

 private:
  void* handle_ = nullptr;
  std::size_t nodes_ = 0;
};

}  // namespace voxot::simt
