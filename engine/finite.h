#pragma once
// State that is saved or loaded is finite, or refused: a NaN that is written outlives the run that made it.
#include <map>
#include <string>
#include <vector>

#include "engine/host_array.h"
#include "engine/tensor.h"
#include "kernels/finite.h"

namespace voxot {

/// Looks for NaN and infinities in all that was added, in one pass where it lies.
class FiniteCheck {
 public:
  /// All tensors of one check have one dtype and device; they must not change before run().
  void add(std::string name, const Tensor& values);
  /// As the floats that a network would hold. `values` must outlive this object.
  void add(std::string name, const HostArray& values);
  /// Waits for the device. Throws Error that begins with `source` and names the first tensor at fault:
  /// "step-0000100.safetensors: solver.transport.second: 3 of 4096 values are NaN or infinite".
  void run(const std::string& source) const;

 private:
  std::vector<std::string> names_;
  std::vector<Tensor> tensors_;  // owned while they are looked at
  std::vector<std::vector<float>> converted_;
  std::vector<ValueSpan> spans_;
  DType dtype_ = DType::f32;
  Device device_ = Device::cpu;
};

/// `source` of what is refused before it is written.
inline constexpr const char* kNotSaved = "not saved";

}  // namespace voxot
