#pragma once
// A network and its parameters as one thing: what a solver trains, and what a file is loaded into.
#include <concepts>
#include <memory>
#include <utility>

#include "engine/parameters.h"

namespace voxot {

/// Copies share the network. One of a derived type is one of its base too.
template <std::derived_from<Module> Network>
class Trainable {
 public:
  /// Moves the network's parameters into one buffer of `dtype` on `device` (Parameters).
  explicit Trainable(std::shared_ptr<Network> network, Device device = Device::cpu, DType dtype = DType::f32)
      : network_(std::move(network)), parameters_(std::make_shared<Parameters>(*network_, dtype, device)) {}
  template <std::derived_from<Network> Derived>
  Trainable(const Trainable<Derived>& other)  // NOLINT: as a pointer to a derived class converts
      : network_(other.network_), parameters_(other.parameters_) {}

  [[nodiscard]] Network& operator*() const { return *network_; }
  [[nodiscard]] Network* operator->() const { return network_.get(); }
  [[nodiscard]] Parameters& parameters() const { return *parameters_; }
  [[nodiscard]] Device device() const { return parameters_->values().device(); }

 private:
  template <std::derived_from<Module> Other>
  friend class Trainable;

  std::shared_ptr<Network> network_;
  std::shared_ptr<Parameters> parameters_;
};

/// A new network, its parameters on `device`; their values are those that its layers begin with
/// (Module::initialise draws others).
template <std::derived_from<Module> Network, class Options>
Trainable<Network> make_trainable(const Options& options, Device device = Device::cpu,
                                  DType dtype = DType::f32) {
  return Trainable<Network>(std::make_shared<Network>(options), device, dtype);
}

}  // namespace voxot
