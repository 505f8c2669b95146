#pragma once
// oneDNN's engine, stream and the pieces that cached primitives share.
#include <oneapi/dnnl/dnnl.hpp>

#include <vector>

#include "kernels/device.h"

namespace voxot::cpu {

inline dnnl::engine& onednn_engine() {
  static dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

inline dnnl::stream& onednn_stream() {
  static dnnl::stream stream(onednn_engine());
  return stream;
}

inline dnnl::memory::data_type onednn_type(DType dtype) {
  return dtype == DType::bf16 ? dnnl::memory::data_type::bf16 : dnnl::memory::data_type::f32;
}

/// A primitive with its arguments bound once; a call only points the memories at new data.
class Bound {
 public:
  Bound() = default;
  explicit Bound(dnnl::primitive primitive) : primitive_(std::move(primitive)) {}

  /// Declares argument `arg` with memory of its own, or (`owned` false) one that point() aims.
  void declare(int arg, const dnnl::memory::desc& desc, bool owned = false) {
    memories_.push_back(owned ? dnnl::memory(desc, onednn_engine())
                              : dnnl::memory(desc, onednn_engine(), DNNL_MEMORY_NONE));
    arguments_.push_back({arg, memories_.back().get()});
  }
  void point(std::size_t index, const void* data) {
    memories_[index].set_data_handle(const_cast<void*>(data));
  }
  [[nodiscard]] void* data(std::size_t index) const { return memories_[index].get_data_handle(); }

  void run() const {
    const dnnl_status_t status = dnnl_primitive_execute(
        primitive_.get(), onednn_stream().get(), static_cast<int>(arguments_.size()), arguments_.data());
    VOXOT_CHECK(status == dnnl_success, "oneDNN: a primitive failed with status {}",
                static_cast<int>(status));
  }

 private:
  dnnl::primitive primitive_;
  std::vector<dnnl::memory> memories_;
  std::vector<dnnl_exec_arg_t> arguments_;
};

}  // namespace voxot::cpu
