#include "engine/optimizer.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <utility>

#include "kernels/elementwise.h"

namespace voxot {
namespace {

HostArray flat(const Tensor& t) { return HostArray::from_floats({t.count()}, t.to_floats()); }

const HostArray& find(const std::map<std::string, HostArray>& arrays, const std::string& name) {
  const auto found = arrays.find(name);
  VOXOT_CHECK(found != arrays.end(), "checkpoint: has no {}", name);
  return found->second;
}

void fill_from(const Tensor& t, const std::map<std::string, HostArray>& arrays, const std::string& name) {
  const HostArray& array = find(arrays, name);
  VOXOT_CHECK(array.count() == t.count(), "checkpoint: {} has {} elements, expected {}", name, array.count(),
              t.count());
  const std::vector<float> values = array.to_floats();
  t.copy_from(Tensor::from(t.shape(), std::span<const float>(values)));
}

/// A step count does not fit a float once it passes 2^24, so it is stored as it is.
std::int64_t whole(const std::map<std::string, HostArray>& arrays, const std::string& name) {
  const HostArray& array = find(arrays, name);
  VOXOT_CHECK(array.type == FileType::i64 && array.bytes.size() == sizeof(std::int64_t),
              "checkpoint: {} is {}, expected one i64", name, array.describe());
  std::int64_t value = 0;
  std::copy(array.bytes.begin(), array.bytes.end(), reinterpret_cast<std::byte*>(&value));
  return value;
}

}  // namespace

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
  kernels::optimizer_step(stream, values.dtype(), options_.params, scalars, values.count(), gradients.data(),
                          values.data(), first_.defined() ? first_.data() : nullptr,
                          second_.defined() ? second_.data() : nullptr);
  parameters_.zero_gradients();
}

void Optimizer::save(const std::string& prefix, std::map<std::string, HostArray>& arrays) const {
  arrays[prefix + "step"] = HostArray::from_int64({1}, {steps_});
  if (first_.defined()) arrays[prefix + "first"] = flat(first_);
  if (second_.defined()) arrays[prefix + "second"] = flat(second_);
}

void Optimizer::load(const std::string& prefix, const std::map<std::string, HostArray>& arrays) {
  steps_ = whole(arrays, prefix + "step");
  if (first_.defined()) fill_from(first_, arrays, prefix + "first");
  if (second_.defined()) fill_from(second_, arrays, prefix + "second");
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
    kernels::linear_combination_at(to.stream(), to.dtype(), to.count(), factors, from.data(), to.data(),
                                   to.data());
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
}

void MovingAverage::save(const std::string& prefix, std::map<std::string, HostArray>& arrays) const {
  arrays[prefix + "updates"] = HostArray::from_int64({1}, {updates_});
  arrays[prefix + "average"] = flat(average_);
  for (std::size_t i = 0; i < buffers_.size(); ++i)
    arrays[prefix + "buffer." + std::to_string(i)] = flat(buffers_[i]);
}

void MovingAverage::load(const std::string& prefix, const std::map<std::string, HostArray>& arrays) {
  updates_ = whole(arrays, prefix + "updates");
  fill_from(average_, arrays, prefix + "average");
  for (std::size_t i = 0; i < buffers_.size(); ++i) {
    fill_from(buffers_[i], arrays, prefix + "buffer." + std::to_string(i));
  }
}

}  // namespace voxot
