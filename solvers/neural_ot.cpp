#include "solvers/neural_ot.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "engine/ops/elementwise.h"
#include "engine/ops/reduction.h"
#include "kernels/sizes.h"

namespace voxot {
namespace {

// The gradient penalty's derivative along the gradient is a central difference: over this share of
// D·∇f/2, which at the optimum is the way that the map has moved the sample.
constexpr double kPenaltyStep = 0.1;

/// The losses of an iteration from a row of the ring. Throws Error where one is not finite.
NeuralOtLosses checked_losses(std::span<const double> values, std::int64_t step) {
  const auto check = [&](double loss, const char* name) {
    VOXOT_CHECK(std::isfinite(loss), "neural_ot: the {} loss is {} at step {}", name, loss, step);
  };
  const std::size_t inner_steps = values.size() / 2 - 1;
  const auto share = 1 / static_cast<double>(inner_steps);
  NeuralOtLosses losses;
  for (std::size_t k = 0; k < inner_steps; ++k) {
    check(values[2 * k], "transport");
    losses.transport += share * values[2 * k];
    losses.cost += share * values[2 * k + 1];
  }
  losses.potential = values[2 * inner_steps];
  check(losses.potential, "potential");
  losses.slope = values[2 * inner_steps + 1];
  return losses;
}

}  // namespace

NeuralOt::NeuralOt(const NeuralOtOptions& options, NeuralOtParts parts)
    : options_(options),
      parts_(std::move(parts)),
      transport_optimizer_(parts_.transport.parameters(), parts_.transport_optimizer),
      potential_optimizer_(parts_.potential.parameters(), parts_.potential_optimizer),
      average_(options.ema > 0 ? std::make_unique<MovingAverage>(parts_.transport.parameters(), options.ema)
                               : nullptr),
      transport_(parts_.transport, options.noise, average_.get()),
      iteration_({.inputs = to_size(options.inner_steps + 2),
                  .losses = 2 * options.inner_steps + 2,
                  .graph = options.graph},
                 options.inner_steps + 1, {&parts_.transport.parameters(), &parts_.potential.parameters()},
                 [this](std::int64_t step, std::span<const double> losses) {
                   last_ = checked_losses(losses, step);
                 }) {
  VOXOT_CHECK(options.inner_steps >= 1 && options.batch_size >= 1 && options.noise_samples >= 1,
              "neural_ot: inner steps {}, batch {} and noise samples {} must be positive",
              options.inner_steps, options.batch_size, options.noise_samples);
}

double NeuralOt::gamma() const {
  if (options_.gamma_steps <= 0) return options_.gamma;
  return options_.gamma *
         std::min(1.0, static_cast<double>(steps()) / static_cast<double>(options_.gamma_steps));
}

Tensor NeuralOt::map(const Tensor& x, const std::uint64_t* draw) {
  TransportMap& network = *parts_.transport;
  return network.forward(
      tape_, x, draw_noise(tape_, network, x, options_.noise, {options_.seed, Purpose::noise, 0, draw}));
}

Tensor NeuralOt::with_source_noise(const Tensor& x, const RandomState& state) {
  if (options_.source_noise <= 0) return x;
  const NoRecord quiet(tape_);
  return ops::scale_add(tape_, x, options_.source_noise,
                        Tensor::normal(x.shape(), state, 0, 1, x.dtype(), x.device()));
}

void NeuralOt::queue_transport_step(const Tensor& batch, std::int64_t index) {
  StepScalars* const now = iteration_.scalars(index);
  const Freeze frozen(parts_.potential.parameters());
  const Tensor x = with_source_noise(batch, {options_.seed, Purpose::source_noise, 0, &now->draw});
  const Tensor copies = options_.noise_samples == 1 ? x : ops::repeat(tape_, x, options_.noise_samples);
  const Tensor mapped = map(copies, &now->draw);
  const Tensor price = parts_.cost->evaluate(
      tape_, x, mapped, iteration_.part(now->cost.data(), std::tuple_size_v<CostFactors>));
  const Tensor loss = ops::sub(tape_, price, ops::mean(tape_, parts_.potential->forward(tape_, mapped)));
  tape_.backward(loss);
  transport_optimizer_.update(&now->optimizer);
  iteration_.loss(2 * index).copy_from(loss);
  iteration_.loss(2 * index + 1).copy_from(price);
}

void NeuralOt::queue_potential_step(const Tensor& x, const Tensor& y, std::int64_t index) {
  StepScalars* const now = iteration_.scalars(index);
  parts_.potential->iterate_spectra();
  Tensor mapped;
  {
    const NoRecord quiet(tape_);
    const Freeze frozen(parts_.transport.parameters(), options_.freeze_batchnorm);
    mapped = map(x, &now->draw);
  }
  Tensor fake_points = mapped.detached();
  Tensor real_points = y.detached();
  if (options_.gradient_penalty > 0) {
    fake_points.require_gradient();
    real_points.require_gradient();
  }
  const Tensor fake = parts_.potential->forward(tape_, fake_points);
  const Tensor real = parts_.potential->forward(tape_, real_points);
  const Tensor loss = ops::sub(tape_, ops::mean(tape_, fake), ops::mean(tape_, real));
  if (options_.gradient_penalty > 0) {
    tape_.backward(loss);
    queue_gradient_penalty(fake_points, real_points);
  } else if (options_.drift_penalty > 0) {
    const Tensor squares = ops::add(tape_, mean_square(fake), mean_square(real));
    tape_.backward(ops::scale_add(tape_, loss, options_.drift_penalty / 2, squares));
  } else {
    tape_.backward(loss);
  }
  potential_optimizer_.update(&now->optimizer);
  iteration_.loss(2 * options_.inner_steps).copy_from(loss);
}

Tensor NeuralOt::mean_square(const Tensor& values) {
  return ops::mean(tape_, ops::mul(tape_, values, values));
}

// With g = ∇f at a point y, the penalty's parameter gradient is λ·D·∂_θ⟨∇f, g⟩, the derivative of ∇_θ f along
// g: a central difference of first-order gradients at y ± η·δ with δ = D·g/2, so that nothing is
// differentiated twice. The points' gradients are those of mean f(T(x)) − mean f(y): ±g/N. Half of each batch
// is enough for an unbiased penalty, and makes it cost what the step without it does. A drift penalty as well
// is taken at these points, a tenth of the way to either side: at y itself it would mix into the points'
// gradients.
void NeuralOt::queue_gradient_penalty(Tensor& mapped, Tensor& y) {
  const std::int64_t n = mapped.extent(0);
  const double dimensions = static_cast<double>(mapped.count()) / static_cast<double>(n);
  const Shape half{(n + 1) / 2, mapped.extent(1), mapped.extent(2), mapped.extent(3), mapped.extent(4)};
  Tensor differences;
  Tensor squares;
  Tensor slope;
  const auto add_to = [&](Tensor& sum, const Tensor& part) {
    sum = sum.defined() ? ops::linear_combination(tape_, 0.5, sum, 0.5, part) : part;
  };
  for (const auto& [points, sign] : {std::pair(&mapped, 1.0), std::pair(&y, -1.0)}) {
    const Tensor gradient = points->gradient()->take().window(0, half);
    const Tensor move = ops::scale(tape_, gradient, sign * static_cast<double>(n) * dimensions / 2);
    const Tensor here = points->detached().window(0, half);
    const Tensor up = parts_.potential->forward(tape_, ops::scale_add(tape_, here, kPenaltyStep, move));
    const Tensor down = parts_.potential->forward(tape_, ops::scale_add(tape_, here, -kPenaltyStep, move));
    add_to(differences, ops::sub(tape_, ops::mean(tape_, up), ops::mean(tape_, down)));
    if (options_.drift_penalty > 0)
      add_to(squares, ops::linear_combination(tape_, 0.5, mean_square(up), 0.5, mean_square(down)));
    add_to(slope, mean_square(move));
  }
  const double weight = options_.gradient_penalty / kPenaltyStep;
  if (squares.defined()) {
    tape_.backward(ops::linear_combination(tape_, weight, differences, options_.drift_penalty, squares));
  } else {
    tape_.backward(differences, weight);
  }
  iteration_.loss(2 * options_.inner_steps + 1).copy_from(slope);
}

double NeuralOt::transport_step(const Tensor& x, std::uint64_t draw, double* cost) {
  StepScalars now;
  now.optimizer = transport_optimizer_.next();
  now.cost = parts_.cost->factors(gamma(), options_.noise_samples);
  now.draw = draw;
  iteration_.send({&now, 1});
  queue_transport_step(x.to(device()), 0);
  if (cost != nullptr) *cost = iteration_.loss(1).item();
  return iteration_.loss(0).item();
}

double NeuralOt::potential_step(const Tensor& x, const Tensor& y, std::uint64_t draw) {
  StepScalars now;
  now.optimizer = potential_optimizer_.next();
  now.draw = draw;
  iteration_.send({&now, 1});
  queue_potential_step(x.to(device()), y.to(device()), 0);
  return iteration_.loss(2 * options_.inner_steps).item();
}

std::vector<NeuralOt::StepScalars> NeuralOt::next_scalars() {
  std::vector<StepScalars> all(to_size(options_.inner_steps) + 1);
  for (std::size_t k = 0; k < all.size(); ++k) {
    const bool transport = k + 1 < all.size();
    all[k].optimizer = transport ? transport_optimizer_.next() : potential_optimizer_.next();
    all[k].cost = parts_.cost->factors(gamma(), options_.noise_samples);
    if (transport && average_ != nullptr) all[k].average = average_->next();
    all[k].draw = static_cast<std::uint64_t>(steps()) * all.size() + k;
    all[k].target_draw = static_cast<std::uint64_t>(steps());
  }
  return all;
}

Tensor NeuralOt::source_batch(std::int64_t index) const {
  return queue_batch(iteration_, to_size(index), parts_.source, &iteration_.scalars(index)->draw,
                     options_.batch_size);
}

void NeuralOt::queue_iteration() {
  const std::int64_t inner = options_.inner_steps;
  for (std::int64_t k = 0; k < inner; ++k) {
    queue_transport_step(source_batch(k), k);
    if (average_ != nullptr) average_->update(iteration_.scalars(k)->average.data());
  }
  queue_potential_step(source_batch(inner),
                       queue_batch(iteration_, to_size(inner) + 1, parts_.target,
                                   &iteration_.scalars(inner)->target_draw, options_.batch_size),
                       inner);
}

void NeuralOt::advance() {
  const std::vector<StepScalars> scalars = next_scalars();
  for (std::size_t k = 0; k < scalars.size(); ++k)
    set_batch(iteration_, k, parts_.source, scalars[k].draw, options_.batch_size);
  set_batch(iteration_, scalars.size(), parts_.target, scalars.back().target_draw, options_.batch_size);
  iteration_.run(scalars, [this] { queue_iteration(); });
}

NeuralOtLosses NeuralOt::last_losses() {
  iteration_.read_losses();
  return last_;
}

std::vector<Metric> NeuralOt::losses() {
  const NeuralOtLosses now = last_losses();
  std::vector<Metric> named{
      {"transport_loss", now.transport}, {"cost", now.cost}, {"potential_loss", now.potential}};
  if (options_.noise_samples > 1) named.push_back({"gamma", gamma()});
  if (options_.gradient_penalty > 0) named.push_back({"slope", now.slope});
  return named;
}

std::vector<NetworkRole> NeuralOt::networks() {
  return {{"transport", &parts_.transport.parameters(), average_.get()},
          {"potential", &parts_.potential.parameters(), nullptr}};
}

void NeuralOt::save(std::map<std::string, HostArray>& arrays) {
  (void)last_losses();
  iteration_.save("solver.step", arrays);
  transport_optimizer_.save("solver.transport.", arrays);
  potential_optimizer_.save("solver.potential.", arrays);
  if (average_ != nullptr) average_->save("solver.average.", arrays);
}

void NeuralOt::load(const std::map<std::string, HostArray>& arrays, const std::string& source) {
  iteration_.load("solver.step", arrays, source);
  transport_optimizer_.load("solver.transport.", arrays, source);
  potential_optimizer_.load("solver.potential.", arrays, source);
  if (average_ != nullptr) average_->load("solver.average.", arrays, source);
}

}  // namespace voxot
