#include "engine/optimizer.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <utility>

#include "engine/finite.h"
#include "kernels/elementwise.h"

namespace voxot {
namespace {

HostArray flat(const Tensor& t) { return HostArray::from_floats({t.count()}, t.to_floats()); }

/// State as it lies in a file: what is added is found, fits and is finite before any of it is taken.
class StoredState {
 public:
  StoredState(const std::map<std::string, HostArray>& arrays, const std::string& prefix,
              const std::string& source)
      : arrays_(arrays), prefix_(prefix), source_(source) {}

  void add(const std::string& name, const Tensor& to) {
    const HostArray& array = find(name);
    VOXOT_CHECK(array.count() == to.count(), "{}: {} has {} elements, expected {}", source_, prefix_ + name,
                array.count(), to.count());
    array.check();
    check_.add(prefix_ + name, array);
    found_.emplace_back(&array, to);
  }
  /// A step count does not fit a float once it passes 2^24, so it is stored as it is.
  [[nodiscard]] std::int64_t whole(const std::string& name) const {
    const HostArray& array = find(name);
    VOXOT_CHECK(array.type == FileType::i64 && array.bytes.size() == sizeof(std::int64_t),
                "{}: {} is {}, expected one i64", source_, prefix_ + name, array.describe());
    std::int64_t value = 0;
    std::copy(array.bytes.begin(), array.bytes.end(), reinterpret_cast<std::byte*>(&value));
    return value;
  }
  void take() const {
    check_.run(source_);
    for (const auto& [array, to] : found_) {
      const std::vector<float> values = array->to_floats();
      to.copy_from(Tensor::from(to.shape(), std::span<const float>(values)));
    }
  }

 private:
  [[nodiscard]] const HostArray& find(const std::string& name) const {
    const auto found = arrays_.find(prefix_ + name);
    VOXOT_CHECK(found != arrays_.end(), "{}: has no {}", source_, prefix_ + name);
    return found->second;
  }

  const std::map<std::string, HostArray>& arrays_;
  const std::string& prefix_;
  const std::string& source_;
  FiniteCheck check_;
  std::vector<std::pair<const HostArray*, Tensor>> found_;
};

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
  kernels::optimizer_step(stream, values.dtype(), options_.params,
                          {.scalars = scalars,
                           .count = values.count(),
                           .gradient = gradients.data(),
                           .parameter = values.data(),
                           .first = first_.defined() ? first_.data() : nullptr,
                           .second = second_.defined() ? second_.data() : nullptr});
  parameters_.zero_gradients();
}

void Optimizer::save(const std::string& prefix, std::map<std::string, HostArray>& arrays) const {
  FiniteCheck check;
  if (first_.defined()) check.add(prefix + "first", first_);
  if (second_.defined()) check.add(prefix + "second", second_);
  check.run(kNotSaved);
  arrays[prefix + "step"] = HostArray::from_int64({1}, {steps_});
  if (first_.defined()) arrays[prefix + "first"] = flat(first_);
  if (second_.defined()) arrays[prefix + "second"] = flat(second_);
}

void Optimizer::load(const std::string& prefix, const std::map<std::string, HostArray>& arrays,
                     const std::string& source) {
  StoredState stored(arrays, prefix, source);
  const std::int64_t steps = stored.whole("step");
  if (first_.defined()) stored.add("first", first_);
  if (second_.defined()) stored.add("second", second_);
  stored.take();
  steps_ = steps;
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

void MovingAverage::save(const std::string& prefix, std::map<std::string, HostArray>& arrays) const {
  VOXOT_CHECK(!swapped_, "moving average: to be saved while the network shows the average");
  const auto buffer = [&](std::size_t i) { return prefix + "buffer." + std::to_string(i); };
  FiniteCheck check;
  check.add(prefix + "average", average_);
  for (std::size_t i = 0; i < buffers_.size(); ++i) check.add(buffer(i), buffers_[i]);
  check.run(kNotSaved);
  arrays[prefix + "updates"] = HostArray::from_int64({1}, {updates_});
  arrays[prefix + "average"] = flat(average_);
  for (std::size_t i = 0; i < buffers_.size(); ++i) arrays[buffer(i)] = flat(buffers_[i]);
}

void MovingAverage::load(const std::string& prefix, const std::map<std::string, HostArray>& arrays,
                         const std::string& source) {
  StoredState stored(arrays, prefix, source);
  const std::int64_t updates = stored.whole("updates");
  stored.add("average", average_);
  for (std::size_t i = 0; i < buffers_.size(); ++i) stored.add("buffer." + std::to_string(i), buffers_[i]);
  stored.take();
  updates_ = updates;
}

}  // namespace voxot
