#pragma once
// The tape: what was computed, in order; backward() runs it in reverse and frees as it goes.
//
// An op reads: validate → infer shape → allocate → call kernel → record node. A node is a struct whose
// members are exactly what is saved. Nodes ask which gradients are wanted before each launch: a frozen
// network costs none.
#include <memory>
#include <utility>
#include <vector>

#include "engine/tensor.h"

namespace voxot {

/// The gradient of a tensor if it is wanted now, else null.
using SlotRef = std::shared_ptr<GradientSlot>;

/// One op that was computed: what its gradient needs, and where that goes.
class Node {
 public:
  Node() = default;
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;
  Node(Node&&) = default;
  Node& operator=(Node&&) = default;
  virtual ~Node() = default;
  /// Reads the output's gradient and writes those of the inputs.
  virtual void backward(Tensor grad_output) = 0;

  SlotRef output;
};

/// The ops that were computed, in order.
class Tape {
 public:
  [[nodiscard]] bool recording() const { return recording_; }
  [[nodiscard]] std::size_t size() const { return nodes_.size(); }

  /// True when recording and at least one of the tensors wants a gradient.
  template <class... Tensors>
  [[nodiscard]] bool records(const Tensors&... tensors) const {
    return recording_ && (... || wants(tensors));
  }
  /// The slot to keep in a node: null when the tensor's gradient is not wanted.
  [[nodiscard]] static SlotRef slot(const Tensor& t) { return wants(t) ? t.gradient() : nullptr; }

  /// Records a node whose output is y.
  template <class N>
  void record(Tensor& y, N node) {
    y.require_gradient();
    node.output = y.gradient();
    nodes_.push_back(std::make_unique<N>(std::move(node)));
  }

  /// Seeds the gradient of `loss` (one element) with `seed` and runs the tape in reverse, emptying it.
  /// Throws Error when the loss has more than one element, or was not recorded here, or was run backward
  /// already.
  void backward(const Tensor& loss, double seed = 1);
  void clear() { nodes_.clear(); }

 private:
  friend class NoRecord;
  static bool wants(const Tensor& t) { return t.gradient() != nullptr && t.gradient()->required; }

  bool recording_ = true;
  std::vector<std::unique_ptr<Node>> nodes_;
};

/// While it lives, ops on the tape compute and record nothing.
class NoRecord {
 public:
  explicit NoRecord(Tape& tape) : tape_(tape), before_(std::exchange(tape.recording_, false)) {}
  ~NoRecord() { tape_.recording_ = before_; }
  NoRecord(const NoRecord&) = delete;
  NoRecord& operator=(const NoRecord&) = delete;

 private:
  Tape& tape_;
  bool before_;
};

}  // namespace voxot
