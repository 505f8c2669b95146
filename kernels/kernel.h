#pragma once
// A kernel contract: one name, one signature, an implementation for each device that was linked in.
//
//   kernels/relu.h       inline constinit Kernel<void(const float*, float*, std::int64_t)> relu{"relu"};
//   kernels/cpu/relu.cpp const Implement relu_cpu{relu, Device::cpu, [](const Stream&, ...) {...}};
//   a caller             kernels::relu(stream, x, y, n);
//
// A backend registers when its object file is linked; a call for a device without one throws by name.
#include <array>
#include <cstdint>
#include <utility>

#include "kernels/device.h"
#include "kernels/processor.h"

namespace voxot::kernels {

/// Before a kernel or after it.
enum class Moment : std::uint8_t { begin, end };
/// Called before and after every kernel while set (CPU: around the work; CUDA: around its launch). For
/// profiles.
using ProfileHook = void (*)(const char* name, const Stream& stream, Moment moment);
inline constinit ProfileHook profile_hook = nullptr;

/// A contract; its signature is that of a call, without the stream.
template <class Signature>
class Kernel;

/// The one form there is: a kernel returns nothing.
template <class... Args>
class Kernel<void(Args...)> {
 public:
  /// An implementation for one device.
  using Function = void (*)(const Stream&, Args...);

  constexpr explicit Kernel(const char* name) : name_(name) {}

  /// Runs, or queues, the implementation of the stream's device. Throws Error with the kernel's name where
  /// there is none, and what the implementation throws.
  void operator()(const Stream& stream, Args... args) const {
    const Function function = functions_[static_cast<std::size_t>(stream.device)];
    if (function == nullptr)
      fail("{}: built without {}", name_, stream.device == Device::cuda ? "CUDA" : "CPU kernels");
    const ProfileHook hook = profile_hook;
    if (hook == nullptr) return function(stream, std::forward<Args>(args)...);
    hook(name_, stream, Moment::begin);
    function(stream, std::forward<Args>(args)...);
    hook(name_, stream, Moment::end);
  }

  [[nodiscard]] const char* name() const { return name_; }
  /// Whether this program has an implementation for the device.
  [[nodiscard]] bool implemented(Device device) const {
    return functions_[static_cast<std::size_t>(device)] != nullptr;
  }
  /// Takes the place of another implementation for the device.
  void implement(Device device, Function function) {
    functions_[static_cast<std::size_t>(device)] = function;
  }
  /// What the implementation was compiled for.
  [[nodiscard]] InstructionSet compiled_for(Device device) const {
    return compiled_for_[static_cast<std::size_t>(device)];
  }
  /// The same, unless one for a wider instruction set is there.
  void offer(Device device, Function function, InstructionSet compiled_for) {
    InstructionSet& widest = compiled_for_[static_cast<std::size_t>(device)];
    if (compiled_for < widest) return;
    widest = compiled_for;
    implement(device, function);
  }

 private:
  const char* name_;
  std::array<Function, kDeviceCount> functions_{};
  std::array<InstructionSet, kDeviceCount> compiled_for_{};
};

/// Remembers who implements what, for `voxot info`.
void note_implementation(const char* name, Device device);

/// Registers an implementation during static initialisation.
struct Implement {
  template <class... Args>
  Implement(Kernel<void(Args...)>& kernel, Device device, typename Kernel<void(Args...)>::Function function,
            InstructionSet compiled_for = kCompiledFor) {
    kernel.offer(device, function, compiled_for);
    note_implementation(kernel.name(), device);
  }
};

}  // namespace voxot::kernels
