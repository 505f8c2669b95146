#include "engine/graph.h"

#include "kernels/memory.h"

namespace voxot {

StepGraph::StepGraph(Device device, bool capture)
    : device_(device), capture_(capture && device != Device::cpu), memory_(device) {}

StepGraph::~StepGraph() {
  if (graph_ == nullptr) return;
  try {
    const Stream stream = kernels::stream_of(device_);
    kernels::synchronize(stream);  // a launch may be on its way
    kernels::destroy_graph(stream, graph_);
  } catch (const Error&) {
    // A device that has failed takes nothing back.
  }
}

bool StepGraph::run(const std::function<void()>& step) {
  if (!capture_) {
    step();
    return true;
  }
  const Stream stream = kernels::stream_of(device_);
  const bool called = graph_ == nullptr;
  if (!warm_) {
    const PoolScope scope(memory_);
    step();
    warm_ = true;
    return true;
  }
  if (called) record(step);
  kernels::launch_graph(stream, graph_);
  return called;
}

void StepGraph::record(const std::function<void()>& step) {
  const Stream stream = kernels::stream_of(device_);
  const PoolScope scope(memory_);
  kernels::begin_capture(stream);
  void* graph = nullptr;
  try {
    step();
  } catch (...) {
    // The stream must leave the capture; what the step said matters more than how that goes.
    try {
      kernels::end_capture(stream, &graph);
      kernels::destroy_graph(stream, graph);
    } catch (const Error&) {
    }
    throw;
  }
  kernels::end_capture(stream, &graph);
  graph_ = graph;
}

}  // namespace voxot
