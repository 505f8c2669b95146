#include "solvers/neural_ot.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "engine/ops/elementwise.h"
#include "engine/ops/reduction.h"

namespace voxot {

NeuralOt::NeuralOt(const NeuralOtOptions& options, Parameters& transport, Parameters& potential,
                   TransportMap& map, Potential& f, const Cost& cost,
                   const OptimizerOptions& transport_optimizer, const OptimizerOptions& potential_optimizer,
                   Sampler source, Sampler target)
    : options_(options),
      transport_(transport),
      potential_(potential),
      map_(map),
      f_(f),
      cost_(cost),
      transport_optimizer_(transport, transport_optimizer),
      potential_optimizer_(potential, potential_optimizer),
      source_(std::move(source)),
      target_(std::move(target)) {
  VOXOT_CHECK(options.inner_steps >= 1 && options.batch_size >= 1 && options.noise_samples >= 1,
              "neural_ot: inner steps {}, batch {} and noise samples {} must be positive",
              options.inner_steps, options.batch_size, options.noise_samples);
  if (options.ema > 0) average_ = std::make_unique<MovingAverage>(transport, options.ema);
}

double NeuralOt::gamma() const {
  if (options_.gamma_steps <= 0) return options_.gamma;
  return options_.gamma *
         std::min(1.0, static_cast<double>(step_) / static_cast<double>(options_.gamma_steps));
}

Tensor NeuralOt::noise_for(const Tensor& x, const RandomState& state) const {
  const std::int64_t channels = map_.noise_channels();
  if (channels == 0) return {};
  return Tensor::normal({x.extent(0), x.extent(1), x.extent(2), x.extent(3), channels}, state, 0,
                        options_.noise_deviation, x.dtype(), x.device());
}

double NeuralOt::transport_step(const Tensor& x, std::uint64_t draw, double* cost) {
  const Freeze frozen(potential_);
  const Tensor copies = options_.noise_samples == 1 ? x : ops::repeat(tape_, x, options_.noise_samples);
  const Tensor mapped = map_.forward(tape_, copies, noise_for(copies, {options_.seed, Purpose::noise, draw}));
  const Tensor price = cost_(tape_, x, mapped, gamma());
  const Tensor loss = ops::sub(tape_, price, ops::mean(tape_, f_.forward(tape_, mapped)));
  tape_.backward(loss);
  transport_optimizer_.step();
  if (cost != nullptr) *cost = price.item();
  return loss.item();
}

double NeuralOt::potential_step(const Tensor& x, const Tensor& y, std::uint64_t draw) {
  Tensor mapped;
  {
    const NoRecord quiet(tape_);
    const Freeze frozen(transport_, options_.freeze_batchnorm);
    mapped = map_.forward(tape_, x, noise_for(x, {options_.seed, Purpose::noise, draw}));
  }
  const Tensor fake = ops::mean(tape_, f_.forward(tape_, mapped));
  const Tensor loss = ops::sub(tape_, fake, ops::mean(tape_, f_.forward(tape_, y)));
  tape_.backward(loss);
  potential_optimizer_.step();
  return loss.item();
}

NeuralOtLosses NeuralOt::step() {
  NeuralOtLosses losses;
  const auto check = [this](double loss, const char* name) {
    VOXOT_CHECK(std::isfinite(loss), "neural_ot: the {} loss is {} at step {}", name, loss, step_ + 1);
  };
  const std::uint64_t first =
      static_cast<std::uint64_t>(step_) * static_cast<std::uint64_t>(options_.inner_steps + 1);
  const auto share = 1 / static_cast<double>(options_.inner_steps);
  for (std::int64_t k = 0; k < options_.inner_steps; ++k) {
    const std::uint64_t draw = first + static_cast<std::uint64_t>(k);
    double cost = 0;
    const double loss = transport_step(source_(draw, options_.batch_size), draw, &cost);
    check(loss, "transport");
    losses.transport += share * loss;
    losses.cost += share * cost;
    if (average_ != nullptr) average_->update();
  }
  const std::uint64_t last = first + static_cast<std::uint64_t>(options_.inner_steps);
  losses.potential = potential_step(source_(last, options_.batch_size),
                                    target_(static_cast<std::uint64_t>(step_), options_.batch_size), last);
  check(losses.potential, "potential");
  ++step_;
  return losses;
}

Tensor NeuralOt::map(const Tensor& x, const RandomState& noise) {
  const NoRecord quiet(tape_);
  const Averaged averaged(average_.get());
  const EvaluationMode evaluation(map_);
  return map_.forward(tape_, x, noise_for(x, noise));
}

void NeuralOt::save(std::map<std::string, HostArray>& arrays) const {
  arrays["solver.step"] = HostArray::from_int64({1}, {step_});
  transport_optimizer_.save("solver.transport.", arrays);
  potential_optimizer_.save("solver.potential.", arrays);
  if (average_ != nullptr) average_->save("solver.average.", arrays);
}

void NeuralOt::load(const std::map<std::string, HostArray>& arrays) {
  const auto found = arrays.find("solver.step");
  VOXOT_CHECK(found != arrays.end() && found->second.type == FileType::i64 && found->second.count() == 1,
              "checkpoint: solver.step is missing or not one i64");
  transport_optimizer_.load("solver.transport.", arrays);
  potential_optimizer_.load("solver.potential.", arrays);
  if (average_ != nullptr) average_->load("solver.average.", arrays);
  std::copy(found->second.bytes.begin(), found->second.bytes.end(), reinterpret_cast<std::byte*>(&step_));
}

}  // namespace voxot
