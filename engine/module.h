#pragma once
// Modules: networks as trees of named parameters and buffers, and the layers they are made of.
#include <array>
#include <optional>
#include <string>
#include <vector>

#include "engine/ops/conv3d.h"
#include "engine/tape.h"

namespace voxot {

/// How a tensor's axes change on the way to a file (PyTorch's order) and back.
enum class FileLayout : std::uint8_t {
  plain,          // as it is
  channels_last,  // [A, kD, kH, kW, B] here, [A, B, kD, kH, kW] there
  volume,         // a matrix whose columns (or a vector whose elements) run D, H, W, C here, C, D, H, W there
};

/// One named parameter or buffer of a module.
struct NamedTensor {
  std::string name;
  Tensor* tensor = nullptr;
  FileLayout layout = FileLayout::plain;
  std::array<std::int64_t, 4> volume{};  // D, H, W, C of FileLayout::volume
  bool parameter = true;                 // false: a buffer (running statistics)
  std::int64_t* counter = nullptr;       // a whole number in place of a tensor (num_batches_tracked)
};

/// Named initial distributions. `pytorch_default`: U(±1/√fan_in) for weights and biases. The others set
/// weights and leave biases zero: Kaiming normal (fan-out, gain √2), Xavier normal, N(0, 0.02²).
enum class Initialisation : std::uint8_t { pytorch_default, kaiming, xavier, normal };

/// Draws initial values; every parameter has a stream of its own.
class Initialiser {
 public:
  Initialiser(Initialisation kind, std::uint64_t seed, std::uint32_t network)
      : kind_(kind), seed_(seed), network_(network) {}
  /// `fan_in` and `fan_out` count connections; bias may be undefined.
  void weights(const Tensor& weight, const Tensor& bias, std::int64_t fan_in, std::int64_t fan_out);
  /// N(0, 1), whatever the kind.
  void standard_normal(const Tensor& vector);

 private:
  RandomState next() { return {seed_, Purpose::initialisation, (std::uint64_t{network_} << 32) | count_++}; }
  Initialisation kind_;
  std::uint64_t seed_;
  std::uint32_t network_;
  std::uint32_t count_ = 0;
};

/// A network or a part of one: tensors and modules under the names that a state dict has.
class Module {
 public:
  Module() = default;
  Module(const Module&) = delete;
  Module& operator=(const Module&) = delete;
  virtual ~Module() = default;

  /// Parameters and buffers of this module and all below it, in order, with full names
  /// ("inc.double_conv.0.weight").
  [[nodiscard]] std::vector<NamedTensor> named_tensors() const;
  /// Draws new values for the parameters of this module and of all below it, in order.
  void initialise(Initialiser& initialiser);
  [[nodiscard]] bool training() const { return training_; }
  /// Also switches every module below.
  void set_training(bool training);

  /// Every WeightLayer below has its weight spectrally normalised from now on; to be called while a network
  /// is made, before its tensors are named.
  virtual void use_spectral_norm();
  /// One power iteration of every spectrally normalised weight below. PyTorch does one in each training
  /// forward; here whoever trains asks for one before each step of the optimizer, so that all forwards of a
  /// step see one weight (as under torch.nn.utils.parametrize.cached), and a frozen network keeps its own.
  virtual void iterate_spectra();

 protected:
  Tensor& add(Tensor& member, const std::string& name, const Shape& shape,
              FileLayout layout = FileLayout::plain);
  void add_buffer(Tensor& member, const std::string& name, const Shape& shape);
  void add_counter(std::int64_t& member, const std::string& name);
  void add(Module& child, const std::string& name) { children_.push_back({name, &child}); }
  NamedTensor& last_own() { return own_.back(); }
  NamedTensor& first_own() { return own_.front(); }
  /// Sets this module's own parameters; children are visited by initialise().
  virtual void reset(Initialiser&) {}

 private:
  friend class EvaluationMode;
  void collect(const std::string& prefix, std::vector<NamedTensor>& all) const;

  struct Child {
    std::string name;
    Module* module;
  };
  std::vector<NamedTensor> own_;
  std::vector<Child> children_;
  bool training_ = true;
};

/// While it lives, modules that this thread makes have the names and shapes of their tensors and no memory:
/// what a file is compared with before a network of its size is made (check_state_dict).
class OutlineOnly {
 public:
  OutlineOnly();
  ~OutlineOnly();
  OutlineOnly(const OutlineOnly&) = delete;
  OutlineOnly& operator=(const OutlineOnly&) = delete;
};

/// A module and all below it are in evaluation mode (running statistics) while it lives, then each in the
/// mode that it was in.
class EvaluationMode {
 public:
  explicit EvaluationMode(Module& module) { enter(module); }
  ~EvaluationMode();
  EvaluationMode(const EvaluationMode&) = delete;
  EvaluationMode& operator=(const EvaluationMode&) = delete;

 private:
  void enter(Module& module);
  std::vector<Module*> trained_;  // those that were in training mode
};

/// A layer with a weight [C_out, …] and perhaps a bias. With use_spectral_norm() the layer computes with
/// weight/σ (engine/ops/spectral_norm.h) and its state has the names that published spectrally normalised
/// networks have (torch.nn.utils.spectral_norm): weight_orig, weight_u, weight_v. u and v start as 15 power
/// iterations from a random vector, as in torch.nn.utils.parametrizations.spectral_norm.
class WeightLayer : public Module {
 public:
  void use_spectral_norm() override;
  void iterate_spectra() override;
  Tensor weight, bias;

 protected:
  /// The weight that the layer computes with.
  [[nodiscard]] Tensor effective_weight(Tape& tape) const;
  void reset_spectrum(Initialiser& initialiser);

 private:
  Tensor u_, v_;
};

/// y = conv3d(x, weight) + bias with in → out channels; weight [out, kD, kH, kW, in]. Forward as ops::conv3d.
class Conv3d : public WeightLayer {
 public:
  /// kernel: D, H, W.
  Conv3d(std::int64_t in, std::int64_t out, const std::array<std::int64_t, 3>& kernel,
         const ops::Conv3dGeometry& geometry, bool bias = true);
  Conv3d(std::int64_t in, std::int64_t out, std::int64_t kernel, const ops::Conv3dGeometry& geometry,
         bool bias = true)
      : Conv3d(in, out, {kernel, kernel, kernel}, geometry, bias) {}
  Tensor operator()(Tape& tape, const Tensor& x, const ops::Conv3dFused& fused = {}) const {
    return ops::conv3d(tape, x, effective_weight(tape), bias, geometry_, fused);
  }

 protected:
  void reset(Initialiser& initialiser) override;

 private:
  ops::Conv3dGeometry geometry_;
};

/// Transposed convolution with in → out channels; weight [in, kD, kH, kW, out]. Forward as
/// ops::conv_transpose3d.
class ConvTranspose3d : public Module {
 public:
  /// kernel: D, H, W.
  ConvTranspose3d(std::int64_t in, std::int64_t out, const std::array<std::int64_t, 3>& kernel,
                  const ops::Conv3dGeometry& geometry);
  ConvTranspose3d(std::int64_t in, std::int64_t out, std::int64_t kernel, const ops::Conv3dGeometry& geometry)
      : ConvTranspose3d(in, out, {kernel, kernel, kernel}, geometry) {}
  Tensor operator()(Tape& tape, const Tensor& x) const {
    return ops::conv_transpose3d(tape, x, weight, bias, geometry_);
  }
  Tensor weight, bias;

 protected:
  void reset(Initialiser& initialiser) override;

 private:
  ops::Conv3dGeometry geometry_;
};

/// act(x·weightᵀ + bias), N×in → N×out; weight [out, in].
class Linear : public WeightLayer {
 public:
  Linear(std::int64_t in, std::int64_t out);
  /// A layer that reads a flattened volume: files order its columns C, D, H, W, as PyTorch's flatten does.
  Linear(const std::array<std::int64_t, 4>& volume, std::int64_t out);
  Tensor operator()(Tape& tape, const Tensor& x, Activation activation = {}) const {
    return ops::linear(tape, x, effective_weight(tape), bias, activation);
  }

 protected:
  void reset(Initialiser& initialiser) override;
};

/// Over what a normalisation takes mean and variance: batch and voxels, groups of a sample's channels, or
/// each of its channels.
enum class NormKind : std::uint8_t { none, batch, group, instance };

/// A normalisation of N×…×C with its weights, and its running statistics where it is of the batch.
class Norm : public Module {
 public:
  /// `groups` counts for NormKind::group alone. Throws Error where the channels do not fall into them.
  Norm(NormKind kind, std::int64_t channels, std::int64_t groups);
  /// min(8, channels) groups.
  Norm(NormKind kind, std::int64_t channels);
  /// act(norm(x)), shaped as x. `known`: what moments() asks for, where it has been taken.
  Tensor operator()(Tape& tape, const Tensor& x, Activation activation = {}, const ops::Moments& known = {});
  [[nodiscard]] NormKind kind() const { return kind_; }
  /// The moments of x by which it normalises now, not yet taken; none where it needs none.
  [[nodiscard]] std::optional<ops::Moments> moments() const;

 protected:
  void reset(Initialiser&) override;

 private:
  NormKind kind_;
  std::int64_t groups_;
  Tensor weight_, bias_, running_mean_, running_variance_;
  std::int64_t batches_ = 0;
};

/// act(norm(conv(x))): the convolution takes the moments that the normalisation asks for as it writes, and
/// has the activation where there is no normalisation.
Tensor conv_norm_act(Tape& tape, const Conv3d& conv, Norm& norm, const Tensor& x, Activation activation);

}  // namespace voxot
