#include "engine/module.h"

#include <algorithm>
#include <cmath>

#include "engine/ops/activation.h"
#include "engine/ops/spectral_norm.h"
#include "kernels/elementwise.h"

namespace voxot {
namespace {

constexpr int kFirstIterations = 15;  // PyTorch's

thread_local int outlines = 0;

}  // namespace

OutlineOnly::OutlineOnly() { ++outlines; }
OutlineOnly::~OutlineOnly() { --outlines; }

void Module::collect(const std::string& prefix, std::vector<NamedTensor>& all) const {
  for (NamedTensor entry : own_) {
    entry.name = prefix + entry.name;
    all.push_back(std::move(entry));
  }
  for (const Child& child : children_) child.module->collect(prefix + child.name + ".", all);
}

std::vector<NamedTensor> Module::named_tensors() const {
  std::vector<NamedTensor> all;
  collect("", all);
  return all;
}

void Module::initialise(Initialiser& initialiser) {
  reset(initialiser);
  for (const Child& child : children_) child.module->initialise(initialiser);
}

void Module::set_training(bool training) {
  training_ = training;
  for (const Child& child : children_) child.module->set_training(training);
}

void EvaluationMode::enter(Module& module) {
  if (module.training_) trained_.push_back(&module);
  module.training_ = false;
  for (const Module::Child& child : module.children_) enter(*child.module);
}

EvaluationMode::~EvaluationMode() {
  for (Module* const module : trained_) module->training_ = true;
}

void Module::use_spectral_norm() {
  for (const Child& child : children_) child.module->use_spectral_norm();
}

void Module::iterate_spectra() {
  for (const Child& child : children_) child.module->iterate_spectra();
}

Tensor& Module::add(Tensor& member, const std::string& name, const Shape& shape, FileLayout layout) {
  member = outlines > 0 ? Tensor::outline(shape) : Tensor::full(shape, 0);
  NamedTensor entry;
  entry.name = name;
  entry.tensor = &member;
  entry.layout = layout;
  own_.push_back(std::move(entry));
  return member;
}

void Module::add_buffer(Tensor& member, const std::string& name, const Shape& shape) {
  add(member, name, shape);
  own_.back().parameter = false;
}

void Module::add_counter(std::int64_t& member, const std::string& name) {
  NamedTensor entry;
  entry.name = name;
  entry.parameter = false;
  entry.counter = &member;
  own_.push_back(std::move(entry));
}

void Initialiser::weights(const Tensor& weight, const Tensor& bias, std::int64_t fan_in,
                          std::int64_t fan_out) {
  const auto in = static_cast<double>(fan_in);
  const auto out = static_cast<double>(fan_out);
  const auto normal = [&](double deviation) {
    kernels::fill_normal(
        weight.stream(), weight.dtype(),
        {.count = weight.count(), .state = next(), .mean = 0, .deviation = deviation, .y = weight.data()});
  };
  if (kind_ == Initialisation::pytorch_default) {
    const double bound = 1 / std::sqrt(in);
    kernels::fill_uniform(
        weight.stream(), weight.dtype(),
        {.count = weight.count(), .state = next(), .low = -bound, .high = bound, .y = weight.data()});
    if (!bias.defined()) return;
    return kernels::fill_uniform(
        bias.stream(), bias.dtype(),
        {.count = bias.count(), .state = next(), .low = -bound, .high = bound, .y = bias.data()});
  }
  if (kind_ == Initialisation::kaiming) normal(std::sqrt(2 / out));
  if (kind_ == Initialisation::xavier) normal(std::sqrt(2 / (in + out)));
  if (kind_ == Initialisation::normal) normal(0.02);
  if (bias.defined()) bias.fill(0);
}

void Initialiser::standard_normal(const Tensor& vector) {
  kernels::fill_normal(
      vector.stream(), vector.dtype(),
      {.count = vector.count(), .state = next(), .mean = 0, .deviation = 1, .y = vector.data()});
}

void WeightLayer::use_spectral_norm() {
  if (u_.defined()) return;
  NamedTensor& own = first_own();
  own.name = "weight_orig";
  const FileLayout layout = own.layout;
  std::array<std::int64_t, 4> volume = own.volume;
  if (layout == FileLayout::channels_last)
    volume = {weight.extent(1), weight.extent(2), weight.extent(3), weight.extent(4)};
  add_buffer(u_, "weight_u", {weight.extent(0)});
  add_buffer(v_, "weight_v", {weight.count() / weight.extent(0)});
  if (layout == FileLayout::plain) return;
  last_own().layout = FileLayout::volume;
  last_own().volume = volume;
}

void WeightLayer::iterate_spectra() {
  if (u_.defined()) ops::iterate_spectrum(weight, u_, v_);
}

Tensor WeightLayer::effective_weight(Tape& tape) const {
  return u_.defined() ? ops::spectral_norm(tape, weight, u_, v_) : weight;
}

void WeightLayer::reset_spectrum(Initialiser& initialiser) {
  if (!u_.defined()) return;
  initialiser.standard_normal(v_);
  ops::iterate_spectrum(weight, u_, v_, kFirstIterations);
}

Conv3d::Conv3d(std::int64_t in, std::int64_t out, const std::array<std::int64_t, 3>& kernel,
               const ops::Conv3dGeometry& geometry, bool with_bias)
    : geometry_(geometry) {
  add(weight, "weight", {out, kernel[0], kernel[1], kernel[2], in}, FileLayout::channels_last);
  if (with_bias) add(bias, "bias", {out});
}

void Conv3d::reset(Initialiser& initialiser) {
  const std::int64_t taps = weight.extent(1) * weight.extent(2) * weight.extent(3);
  initialiser.weights(weight, bias, weight.extent(4) * taps, weight.extent(0) * taps);
  reset_spectrum(initialiser);
}

ConvTranspose3d::ConvTranspose3d(std::int64_t in, std::int64_t out, const std::array<std::int64_t, 3>& kernel,
                                 const ops::Conv3dGeometry& geometry)
    : geometry_(geometry) {
  add(weight, "weight", {in, kernel[0], kernel[1], kernel[2], out}, FileLayout::channels_last);
  add(bias, "bias", {out});
}

void ConvTranspose3d::reset(Initialiser& initialiser) {
  // PyTorch counts the fans of the transposed weight [C_in, C_out, k...] as it stands: fan_in is C_out·k³.
  const std::int64_t taps = weight.extent(1) * weight.extent(2) * weight.extent(3);
  initialiser.weights(weight, bias, weight.extent(4) * taps, weight.extent(0) * taps);
}

Linear::Linear(std::int64_t in, std::int64_t out) {
  add(weight, "weight", {out, in});
  add(bias, "bias", {out});
}

Linear::Linear(const std::array<std::int64_t, 4>& volume, std::int64_t out) {
  add(weight, "weight", {out, volume[0] * volume[1] * volume[2] * volume[3]}, FileLayout::volume);
  last_own().volume = volume;
  add(bias, "bias", {out});
}

void Linear::reset(Initialiser& initialiser) {
  initialiser.weights(weight, bias, weight.extent(1), weight.extent(0));
  reset_spectrum(initialiser);
}

Norm::Norm(NormKind kind, std::int64_t channels)
    : Norm(kind, channels, std::min<std::int64_t>(8, channels)) {}

Norm::Norm(NormKind kind, std::int64_t channels, std::int64_t groups)
    : kind_(kind), groups_(kind == NormKind::group ? groups : channels) {
  VOXOT_CHECK(groups_ >= 1 && channels % groups_ == 0, "Norm: {} channels do not fall into {} groups",
              channels, groups_);
  if (kind == NormKind::none) return;
  add(weight_, "weight", {channels});
  add(bias_, "bias", {channels});
  if (weight_.defined()) weight_.fill(1);
  if (kind != NormKind::batch) return;
  add_buffer(running_mean_, "running_mean", {channels});
  add_buffer(running_variance_, "running_var", {channels});
  add_counter(batches_, "num_batches_tracked");
  if (running_variance_.defined()) running_variance_.fill(1);
}

void Norm::reset(Initialiser&) {
  if (kind_ == NormKind::none) return;
  weight_.fill(1);
  bias_.fill(0);
  if (kind_ != NormKind::batch) return;
  running_mean_.fill(0);
  running_variance_.fill(1);
  batches_ = 0;
}

std::optional<ops::Moments> Norm::moments() const {
  const bool each_sample = kind_ == NormKind::group || kind_ == NormKind::instance;
  if (!each_sample && (kind_ != NormKind::batch || !training())) return std::nullopt;
  return ops::Moments{each_sample, groups_, {}, {}};
}

Tensor Norm::operator()(Tape& tape, const Tensor& x, Activation activation, const ops::Moments& known) {
  if (kind_ == NormKind::none)
    return activation.kind == ActivationKind::none ? x : ops::activation(tape, x, activation);
  ops::BatchNormOptions options;
  options.activation = activation;
  options.moments = known;
  options.training = training();
  if (kind_ != NormKind::batch) return ops::group_norm(tape, x, groups_, weight_, bias_, options);
  if (training()) ++batches_;
  return ops::batch_norm(tape, x, weight_, bias_, running_mean_, running_variance_, options);
}

Tensor conv_norm_act(Tape& tape, const Conv3d& conv, Norm& norm, const Tensor& x, Activation activation) {
  ops::Conv3dFused fused;
  if (norm.kind() == NormKind::none) {
    fused.activation = activation;
    return conv(tape, x, fused);
  }
  std::optional<ops::Moments> moments = norm.moments();
  if (moments) fused.moments = &*moments;
  const Tensor y = conv(tape, x, fused);
  return norm(tape, y, activation, moments.value_or(ops::Moments{}));
}

}  // namespace voxot
