#pragma once
// A static step: work that is the same in every iteration, recorded once as a graph of the device and
// launched as one.
#include <functional>

#include "engine/allocator.h"

namespace voxot {

/// The first run() works eagerly in memory of the graph's own, so that every block and every intermediate
/// result has its place; the second records the step and launches it; later ones only launch. What changes
/// from run to run must therefore lie in device memory, and the host must wait for nothing inside. On the CPU
/// every run() is eager.
class StepGraph {
 public:
  /// `capture` false: every run is eager, on any device.
  StepGraph(Device device, bool capture);
  ~StepGraph();
  StepGraph(const StepGraph&) = delete;
  StepGraph& operator=(const StepGraph&) = delete;

  /// True when `step` was called, false when its recording was launched in its place. Throws Error when the
  /// recorded step asks the system for memory, besides what it throws itself.
  bool run(const std::function<void()>& step);
  [[nodiscard]] const MemoryPool& memory() const { return memory_; }

 private:
  void record(const std::function<void()>& step);

  Device device_;
  bool capture_;
  bool warm_ = false;
  MemoryPool memory_;  // outlives the graph
  void* graph_ = nullptr;
};

}  // namespace voxot
