#include "solvers/neural_ot.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <utility>

#include "engine/ops/elementwise.h"
#include "engine/ops/reduction.h"
#include "kernels/elementwise.h"

namespace voxot {
namespace {

// Uploads on their way at once: how far the host may run ahead.
constexpr std::size_t kScalarSlots = 4;
// Losses are fetched after half a ring and read after the other half, when they have long arrived.
constexpr std::int64_t kFetchEvery = NeuralOt::kLossRows / 2;
constexpr std::size_t kLossCopies = 2;

// The gradient penalty's derivative along the gradient is a central difference: over this share of
// D·∇f/2, which at the optimum is the way that the map has moved the sample.
constexpr double kPenaltyStep = 0.1;

/// The losses of an iteration from a row of the ring. Throws Error where one is not finite.
NeuralOtLosses checked_losses(const std::vector<double>& values, std::int64_t step) {
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

template <class Visit>
void each_counter(const Parameters& parameters, Visit visit) {
  for (const NamedTensor& entry : parameters.named()) {
    if (entry.counter != nullptr) visit(*entry.counter);
  }
}

}  // namespace

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
      target_(std::move(target)),
      scalars_(Tensor::empty(
          {(options.inner_steps + 1) * static_cast<std::int64_t>(sizeof(StepScalars) / sizeof(double))},
          DType::f64, device())),
      scalar_ring_(device(), static_cast<std::size_t>(options.inner_steps + 1) * sizeof(StepScalars),
                   kScalarSlots),
      batches_(device(), static_cast<std::size_t>(options.inner_steps + 2)),
      step_losses_(Tensor::full({2 * options.inner_steps + 2}, 0, DType::f64, device())),
      loss_ring_(Tensor::full({kLossRows, step_losses_.count()}, 0, DType::f64, device())),
      loss_copies_(device(), static_cast<std::size_t>(loss_ring_.count()) * sizeof(double), kLossCopies),
      graph_(device(), options.graph) {
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

Tensor NeuralOt::noise_for(const Tensor& x, const RandomState& state) {
  return draw_noise(tape_, map_, x, options_.noise, state);
}

Tensor NeuralOt::with_source_noise(const Tensor& x, const RandomState& state) {
  if (options_.source_noise <= 0) return x;
  const NoRecord quiet(tape_);
  return ops::scale_add(tape_, x, options_.source_noise,
                        Tensor::normal(x.shape(), state, 0, 1, x.dtype(), x.device()));
}

void NeuralOt::send(const std::vector<StepScalars>& scalars) {
  const std::size_t bytes = scalars.size() * sizeof(StepScalars);
  const std::size_t slot = scalar_ring_.acquire();
  std::memcpy(scalar_ring_.data(slot), scalars.data(), bytes);
  kernels::copy_bytes(scalars_.stream(), scalars_.data(), scalar_ring_.data(slot), bytes);
  scalar_ring_.mark(slot);
}

void NeuralOt::queue_transport_step(const Tensor& batch, std::int64_t index) {
  constexpr std::int64_t kWords = sizeof(StepScalars) / sizeof(double);
  constexpr std::int64_t kCostWord = offsetof(StepScalars, cost) / sizeof(double);
  StepScalars* const now = scalars(index);
  const Freeze frozen(potential_);
  const Tensor x = with_source_noise(batch, {options_.seed, Purpose::source_noise, 0, &now->draw});
  const Tensor copies = options_.noise_samples == 1 ? x : ops::repeat(tape_, x, options_.noise_samples);
  const Tensor mapped =
      map_.forward(tape_, copies, noise_for(copies, {options_.seed, Purpose::noise, 0, &now->draw}));
  const Tensor price = cost_.evaluate(tape_, x, mapped, scalars_.window(index * kWords + kCostWord, {3}));
  const Tensor loss = ops::sub(tape_, price, ops::mean(tape_, f_.forward(tape_, mapped)));
  tape_.backward(loss);
  transport_optimizer_.update(&now->optimizer);
  step_losses_.window(2 * index, {1}).copy_from(loss);
  step_losses_.window(2 * index + 1, {1}).copy_from(price);
}

void NeuralOt::queue_potential_step(const Tensor& x, const Tensor& y, std::int64_t index) {
  StepScalars* const now = scalars(index);
  potential_.module().iterate_spectra();
  Tensor mapped;
  {
    const NoRecord quiet(tape_);
    const Freeze frozen(transport_, options_.freeze_batchnorm);
    mapped = map_.forward(tape_, x, noise_for(x, {options_.seed, Purpose::noise, 0, &now->draw}));
  }
  Tensor fake_points = mapped.detached();
  Tensor real_points = y.detached();
  if (options_.gradient_penalty > 0) {
    fake_points.require_gradient();
    real_points.require_gradient();
  }
  const Tensor fake = f_.forward(tape_, fake_points);
  const Tensor real = f_.forward(tape_, real_points);
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
  step_losses_.window(2 * options_.inner_steps, {1}).copy_from(loss);
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
    const Tensor up = f_.forward(tape_, ops::scale_add(tape_, here, kPenaltyStep, move));
    const Tensor down = f_.forward(tape_, ops::scale_add(tape_, here, -kPenaltyStep, move));
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
  step_losses_.window(2 * options_.inner_steps + 1, {1}).copy_from(slope);
}

double NeuralOt::transport_step(const Tensor& x, std::uint64_t draw, double* cost) {
  StepScalars now;
  now.optimizer = transport_optimizer_.next();
  now.cost = cost_.factors(gamma(), options_.noise_samples);
  now.draw = draw;
  send({now});
  queue_transport_step(x.to(device()), 0);
  if (cost != nullptr) *cost = step_losses_.window(1, {1}).item();
  return step_losses_.window(0, {1}).item();
}

double NeuralOt::potential_step(const Tensor& x, const Tensor& y, std::uint64_t draw) {
  StepScalars now;
  now.optimizer = potential_optimizer_.next();
  now.draw = draw;
  send({now});
  queue_potential_step(x.to(device()), y.to(device()), 0);
  return step_losses_.window(2 * options_.inner_steps, {1}).item();
}

void NeuralOt::send_iteration(std::uint64_t first_draw) {
  std::vector<StepScalars> all(static_cast<std::size_t>(options_.inner_steps) + 1);
  for (std::size_t k = 0; k < all.size(); ++k) {
    const bool transport = k + 1 < all.size();
    all[k].optimizer = transport ? transport_optimizer_.next() : potential_optimizer_.next();
    all[k].cost = cost_.factors(gamma(), options_.noise_samples);
    if (transport && average_ != nullptr) all[k].average = average_->next();
    all[k].draw = first_draw + k;
    all[k].target_draw = static_cast<std::uint64_t>(step_);
  }
  send(all);
}

Tensor NeuralOt::source_batch(std::int64_t index) const {
  if (const auto* queue = std::get_if<DeviceSampler>(&source_))
    return (*queue)(&scalars(index)->draw, options_.batch_size);
  return batches_[static_cast<std::size_t>(index)];
}

Tensor NeuralOt::target_batch() const {
  if (const auto* queue = std::get_if<DeviceSampler>(&target_))
    return (*queue)(&scalars(options_.inner_steps)->target_draw, options_.batch_size);
  return batches_[static_cast<std::size_t>(options_.inner_steps) + 1];
}

void NeuralOt::queue_iteration() {
  for (std::int64_t k = 0; k < options_.inner_steps; ++k) {
    queue_transport_step(source_batch(k), k);
    if (average_ != nullptr) average_->update(scalars(k)->average.data());
  }
  queue_potential_step(source_batch(options_.inner_steps), target_batch(), options_.inner_steps);
  // The target's draw is the number of iterations before this one.
  kernels::store_in_ring(step_losses_.stream(), kLossRows, step_losses_.count(),
                         &scalars(options_.inner_steps)->target_draw, step_losses_.as<double>(),
                         loss_ring_.as<double>());
}

void NeuralOt::run_iteration() {
  std::vector<std::int64_t> before;
  const auto note = [&](std::int64_t& counter) { before.push_back(counter); };
  each_counter(transport_, note);
  each_counter(potential_, note);
  const bool called = graph_.run([this] { queue_iteration(); });
  // A replay does not pass through the modules, whose counters the host keeps.
  counted_.resize(before.size());
  std::size_t i = 0;
  const auto count = [&](std::int64_t& counter) {
    if (called) {
      counted_[i] = counter - before[i];
    } else {
      counter += counted_[i];
    }
    ++i;
  };
  each_counter(transport_, count);
  each_counter(potential_, count);
}

void NeuralOt::advance() {
  const auto inner = static_cast<std::uint64_t>(options_.inner_steps);
  const std::uint64_t first = static_cast<std::uint64_t>(step_) * (inner + 1);
  if (const auto* draw = std::get_if<HostSampler>(&source_)) {
    for (std::uint64_t k = 0; k <= inner; ++k) batches_.set(k, (*draw)(first + k, options_.batch_size));
  }
  if (const auto* draw = std::get_if<HostSampler>(&target_))
    batches_.set(inner + 1, (*draw)(static_cast<std::uint64_t>(step_), options_.batch_size));
  send_iteration(first);
  run_iteration();
  ++step_;
  if (step_ - last_fetched_ < kFetchEvery) return;
  read_losses();
  fetch_losses();
}

void NeuralOt::fetch_losses() {
  const std::size_t slot = loss_copies_.acquire();
  kernels::copy_bytes(loss_ring_.stream(), loss_copies_.data(slot), loss_ring_.data(), loss_copies_.bytes());
  loss_copies_.mark(slot);
  fetched_.push_back({last_fetched_, step_, slot});
  last_fetched_ = step_;
}

void NeuralOt::read_losses() {
  const auto width = static_cast<std::size_t>(step_losses_.count());
  std::vector<double> values(width);
  for (; !fetched_.empty(); fetched_.pop_front()) {
    const LossCopy& copy = fetched_.front();  // stays where a loss is not finite: it says so again
    loss_copies_.wait(copy.slot);
    for (std::int64_t step = copy.before + 1; step <= copy.last; ++step) {
      const auto row = static_cast<std::size_t>((step - 1) % kLossRows);
      std::memcpy(values.data(), loss_copies_.data(copy.slot) + row * width * sizeof(double),
                  width * sizeof(double));
      last_ = checked_losses(values, step);
    }
  }
}

NeuralOtLosses NeuralOt::losses() {
  read_losses();
  if (step_ > last_fetched_) fetch_losses();
  read_losses();
  return last_;
}

Tensor NeuralOt::map(const Tensor& x, const RandomState& noise) {
  const NoRecord quiet(tape_);
  const Averaged averaged(average_.get());
  const EvaluationMode evaluation(map_);
  const Tensor here = x.to(device());
  return map_.forward(tape_, here, noise_for(here, noise));
}

void NeuralOt::save(std::map<std::string, HostArray>& arrays) {
  (void)losses();
  arrays["solver.step"] = HostArray::from_int64({1}, {step_});
  transport_optimizer_.save("solver.transport.", arrays);
  potential_optimizer_.save("solver.potential.", arrays);
  if (average_ != nullptr) average_->save("solver.average.", arrays);
}

void NeuralOt::load(const std::map<std::string, HostArray>& arrays, const std::string& source) {
  const auto found = arrays.find("solver.step");
  VOXOT_CHECK(found != arrays.end() && found->second.type == FileType::i64 && found->second.count() == 1,
              "{}: solver.step is missing or not one i64", source);
  transport_optimizer_.load("solver.transport.", arrays, source);
  potential_optimizer_.load("solver.potential.", arrays, source);
  if (average_ != nullptr) average_->load("solver.average.", arrays, source);
  std::copy(found->second.bytes.begin(), found->second.bytes.end(), reinterpret_cast<std::byte*>(&step_));
  fetched_.clear();
  last_fetched_ = step_;
}

}  // namespace voxot
