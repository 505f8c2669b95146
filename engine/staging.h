#pragma once
// The border between host and device, crossed without waiting: page-locked memory in a ring, and tensors
// whose place stays while their values change.
#include <vector>

#include "engine/tensor.h"

namespace voxot {

/// Slots of page-locked host memory, handed out in turn. A slot is handed out again when the device has done
/// the work that was queued at its mark().
class PinnedRing {
 public:
  /// Throws Error when there is no memory.
  PinnedRing(Device device, std::size_t bytes, std::size_t slots);
  ~PinnedRing();
  PinnedRing(const PinnedRing&) = delete;
  PinnedRing& operator=(const PinnedRing&) = delete;

  /// The next slot; waits until the device has finished with it.
  std::size_t acquire();
  [[nodiscard]] std::byte* data(std::size_t slot) const { return slots_[slot].data; }
  [[nodiscard]] std::size_t bytes() const { return bytes_; }
  [[nodiscard]] std::size_t size() const { return slots_.size(); }
  /// Everything queued so far may use the slot.
  void mark(std::size_t slot);
  /// Returns when what was queued at the slot's mark is done.
  void wait(std::size_t slot) const;

 private:
  struct Slot {
    std::byte* data = nullptr;
    void* event = nullptr;
  };
  Stream stream_;
  std::size_t bytes_;
  std::size_t next_ = 0;
  std::vector<Slot> slots_;
};

/// Inputs of a static step: set() queues new values into the same memory. On the CPU, where nothing is
/// recorded, an input is simply the tensor that was set.
class StaticInputs {
 public:
  StaticInputs(Device device, std::size_t count) : device_(device), inputs_(count) {}
  /// From the host through page-locked memory, from the device directly. Throws Error when the shape is not
  /// that of the first time.
  void set(std::size_t input, const Tensor& value);
  [[nodiscard]] const Tensor& operator[](std::size_t input) const { return inputs_[input]; }

 private:
  Device device_;
  std::vector<Tensor> inputs_;
  std::unique_ptr<PinnedRing> ring_;
};

}  // namespace voxot
