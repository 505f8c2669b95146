#include "engine/optimizer.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "engine/stored_state.h"
#include "kernels/elementwise.h"

namespace voxot {

double Schedule::factor(std::int64_t step) const {
  const double warm =
      warmup > 0 && step < warmup ? static_cast<double>(step + 1) / static_cast<double>(warmup) : 1.0;
  const double progress =
      total > 0 ? std::min(1.0, static_cast<double>(step) / static_cast<double>(total)) : 0.0;
  switch (kind) {
    case ScheduleKind::constant:
      return warm;
    case ScheduleKind::linear:
      return warm * (1 - progress * (1 - final_scale));
    case ScheduleKind::cosine:
      return warm * (final_scale + (1 - final_scale) * 0.5 * (1 + std::cos(std::numbers::pi * progress)));
    case ScheduleKind::steps: {
      const auto passed =
          std::count_if(milestones.begin(), milestones.end(), [&](std::int64_t m) { return step >= m; });
      return warm * std::pow(decay, static_cast<double>(passed));
    }
  }
  return warm;
}

Optimizer::Optimizer(Parameters& parameters, const OptimizerOptions& options)
    : parameters_(parameters), options_(options) {
  const DType dtype = parameters.values().dtype();
  const Device device = parameters.values().device();
  const OptimizerParams& p = options.params;
  const bool adaptive = p.kind == OptimizerKind::adam || p.kind == OptimizerKind::adamw;
  if (adaptive || p.momentum != 0) first_ = Tensor::full({parameters.count()}, 0, dtype, device);
  if (adaptive || p.kind == OptimizerKind::rmsprop)
    second_ = Tensor::full({parameters.count()}, 0, dtype, device);
  scalars_ = Tensor::empty({sizeof(OptimizerScalars) / sizeof(double)}, DType::f64, device);
}

OptimizerScalars Optimizer::next() {
  OptimizerScalars scalars;
  scalars.learning_rate = options_.learning_rate * options_.schedule.factor(steps_);
  scalars.step = ++steps_;
  return scalars;
}

void Optimizer::step() {
  const OptimizerScalars scalars = next();
  kernels::copy_bytes(scalars_.stream(), scalars_.data(), &scalars, sizeof scalars);
  update(scalars_.as<OptimizerScalars>());
}

void Optimizer::update(OptimizerScalars* scalars) {
  const Tensor& values = parameters_.values();
  const Tensor& gradients = parameters_.gradients();
  const Stream stream = values.stream();
  if (options_.clip_norm > 0) {
    kernels::clip_factor(stream, values.dtype(), values.count(), gradients.data(), options_.clip_norm,
                         scalars);
  }
  kernels::optimizer_step(stream, values.dtype(), options_.params,
                          {.scalars = scalars,
                           .count = values.count(),
                           .gradient = gradients.data(),
                           .parameter = values.data(),
                           .first = first_.defined() ? first_.data() : nullptr,
                           .second = second_.defined() ? second_.data() : nullptr});
  parameters_.zero_gradients();
}

std::vector<Optimizer::Kept> Optimizer::kept() const {
  const OptimizerKind kind = options_.params.kind;
  const bool adaptive = kind == OptimizerKind::adam || kind == OptimizerKind::adamw;
  std::vector<Kept> kept;
  if (first_.defined()) kept.push_back({adaptive ? "exp_avg" : "momentum_buffer", "first", first_});
  if (second_.defined()) kept.push_back({adaptive ? "exp_avg_sq" : "square_avg", "second", second_});
  return kept;
}

void Optimizer::save(const std::string& prefix, std::map<std::string, HostArray>& arrays) const {
  StateWriter state(prefix);
  state.add("step", steps_);
  for (const Kept& buffer : kept()) {
    for (const auto& [entry, values] : parameters_.parts(buffer.values))
      state.add(buffer.name + ("." + entry.name), entry, values);
  }
  state.write(arrays);
}

void Optimizer::load(const std::string& prefix, const std::map<std::string, HostArray>& arrays,
                     const std::string& source) {
  StateReader state(arrays, prefix, source);
  state.add("step", steps_);
  const bool flat = state.has("first") || state.has("second");
  for (const Kept& buffer : kept()) {
    if (flat) {
      state.add_flat(buffer.flat_name, buffer.values);
      continue;
    }
    for (const auto& [entry, values] : parameters_.parts(buffer.values))
      state.add(buffer.name + ("." + entry.name), entry, values);
  }
  state.take();
}

MovingAverage::MovingAverage(Parameters& parameters, double decay)
    : parameters_(parameters),
      decay_(decay),
      factors_(Tensor::empty({2}, DType::f64, parameters.values().device())),
      average_(parameters.values().clone()) {
  for (const NamedTensor& entry : parameters.named()) {
    if (!entry.parameter && entry.tensor != nullptr) buffers_.push_back(entry.tensor->clone());
  }
}

std::array<double, 2> MovingAverage::next() {
  VOXOT_CHECK(!swapped_, "moving average: an update while the network shows the average");
  const auto t = static_cast<double>(updates_);
  const double keep = updates_ == 0 ? 0.0 : std::min(decay_, (1 + t) / (10 + t));
  ++updates_;
  return {1 - keep, keep};
}

void MovingAverage::update() {
  const std::array<double, 2> factors = next();
  kernels::copy_bytes(factors_.stream(), factors_.data(), factors.data(), sizeof factors);
  update(factors_.as<double>());
}

void MovingAverage::update(const double* factors) {
  const auto blend = [factors](const Tensor& from, const Tensor& to) {
    kernels::linear_combination_at(
        to.stream(), to.dtype(),
        {.count = to.count(), .factors = factors, .x = from.data(), .y = to.data(), .z = to.data()});
  };
  blend(parameters_.values(), average_);
  std::size_t i = 0;
  for (const NamedTensor& entry : parameters_.named()) {
    if (!entry.parameter && entry.tensor != nullptr) blend(*entry.tensor, buffers_[i++]);
  }
}

void MovingAverage::swap() {
  const auto exchange = [](const Tensor& a, const Tensor& b) {
    const Tensor copy = a.clone();
    a.copy_from(b);
    b.copy_from(copy);
  };
  exchange(parameters_.values(), average_);
  std::size_t i = 0;
  for (const NamedTensor& entry : parameters_.named()) {
    if (!entry.parameter && entry.tensor != nullptr) exchange(*entry.tensor, buffers_[i++]);
  }
  swapped_ = !swapped_;
}

std::vector<Parameters::Part> MovingAverage::parts() const {
  std::vector<Parameters::Part> parts = parameters_.parts(average_);
  std::size_t i = 0;
  for (const NamedTensor& entry : parameters_.named()) {
    if (!entry.parameter && entry.tensor != nullptr) parts.push_back({entry, buffers_[i++]});
  }
  return parts;
}

void MovingAverage::save(const std::string& prefix, std::map<std::string, HostArray>& arrays) const {
  VOXOT_CHECK(!swapped_, "moving average: to be saved while the network shows the average");
  StateWriter state(prefix);
  state.add("n_averaged", updates_);
  for (const auto& [entry, values] : parts()) state.add("module." + entry.name, entry, values);
  state.write(arrays);
}

void MovingAverage::load(const std::string& prefix, const std::map<std::string, HostArray>& arrays,
                         const std::string& source) {
  StateReader state(arrays, prefix, source);
  if (state.has("average")) {
    state.add("updates", updates_);
    state.add_flat("average", average_);
    for (std::size_t i = 0; i < buffers_.size(); ++i)
      state.add_flat("buffer." + std::to_string(i), buffers_[i]);
  } else {
    state.add("n_averaged", updates_);
    for (const auto& [entry, values] : parts()) state.add("module." + entry.name, entry, values);
  }
  state.take();
}

}  // namespace voxot
