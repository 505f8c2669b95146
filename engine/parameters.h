#pragma once
// All parameters of a network in one flat buffer, and their gradients in another: what the fused optimizers,
// the clipping, the moving average and the checkpoints work on.
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/host_array.h"
#include "engine/module.h"

namespace voxot {

/// The parameters of one network, flat, and their gradients.
class Parameters {
 public:
  /// Moves the module's parameters into one buffer of `dtype` (f32, or f64 to check gradients) on `device`,
  /// its other tensors there too, and gives each parameter a gradient slot. The module must outlive this
  /// object; only one Parameters may hold a module.
  explicit Parameters(Module& module, DType dtype = DType::f32, Device device = Device::cpu);

  [[nodiscard]] std::int64_t count() const { return values_.count(); }
  [[nodiscard]] const Tensor& values() const { return values_; }
  /// The flat gradient; slots that nothing reached are zeroed first.
  [[nodiscard]] const Tensor& gradients();
  void zero_gradients();
  [[nodiscard]] const std::vector<NamedTensor>& named() const { return named_; }
  [[nodiscard]] Module& module() { return module_; }

  /// What belongs to one parameter in a flat buffer that is laid out as values().
  struct Part {
    const NamedTensor& entry;
    Tensor values;  // in the buffer's memory, shaped as the parameter
  };
  /// One for each parameter, in order.
  [[nodiscard]] std::vector<Part> parts(const Tensor& flat) const;

 private:
  Module& module_;
  std::vector<NamedTensor> named_;
  Tensor values_;
  Tensor gradients_;
};

/// While it lives, no gradient of any of the network's parameters is computed or kept; `evaluation` also puts
/// the network into evaluation mode. Then every parameter and every module is as it was found.
class Freeze {
 public:
  explicit Freeze(Parameters& parameters, bool evaluation = false);
  ~Freeze();
  Freeze(const Freeze&) = delete;
  Freeze& operator=(const Freeze&) = delete;

 private:
  std::vector<std::shared_ptr<GradientSlot>> thawed_;  // of the parameters that wanted a gradient
  std::optional<EvaluationMode> evaluation_;
};

/// A module's parameters and buffers in PyTorch's names and axis order, behind `prefix`. Throws Error naming
/// the first that is not finite (engine/finite.h).
std::map<std::string, HostArray> state_dict(const Module& module, const std::string& prefix = {});
/// Throws as load_state_dict does, but for values; the module may have been made under OutlineOnly.
void check_state_dict(const Module& module, const std::map<std::string, HostArray>& arrays,
                      const std::string& source);
/// Loads every parameter and buffer. Throws Error naming what is missing, unexpected, of another shape, or
/// not finite; `source` begins the message. Nothing is changed when it throws.
void load_state_dict(Module& module, const std::map<std::string, HostArray>& arrays,
                     const std::string& source);

}  // namespace voxot
