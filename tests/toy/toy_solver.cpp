#include "tests/toy/toy_solver.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "engine/ops/elementwise.h"
#include "engine/ops/reduction.h"
#include "engine/ops/resample.h"
#include "kernels/sizes.h"

namespace voxot::toy {
namespace {

constexpr Activation kRelu{ActivationKind::relu, 0};
constexpr Activation kLeakyRelu{ActivationKind::leaky_relu, 0.2F};
// Latents of the two kinds of iterations are draws of their own.
constexpr std::uint64_t kCriticLatents = 0;
constexpr std::uint64_t kGeneratorLatents = std::uint64_t{1} << 40;

std::int64_t values_of(const std::array<std::int64_t, 4>& volume) {
  return volume[0] * volume[1] * volume[2] * volume[3];
}

std::vector<std::int32_t> classes_of(std::int64_t count) {
  std::vector<std::int32_t> classes(to_size(count));
  for (std::size_t i = 0; i < classes.size(); ++i) classes[i] = static_cast<std::int32_t>(i % 2);
  return classes;
}

/// N×1: −1 for class 0, 1 for class 1.
Tensor signs_of(std::int64_t count, Device device) {
  std::vector<float> signs;
  for (const std::int32_t c : classes_of(count)) signs.push_back(c == 0 ? -1.0F : 1.0F);
  return Tensor::from({count, 1}, std::span<const float>(signs), DType::f32, device);
}

/// N×L: the signs, then normal numbers.
Tensor latents(Tape& tape, const Tensor& signs, std::int64_t length, const RandomState& state) {
  const Tensor noise = Tensor::normal({signs.extent(0), length - 1}, state, 0, 1, DType::f32, signs.device());
  return ops::concat_channels(tape, signs, noise);
}

std::vector<Metric> checked(std::initializer_list<Metric> losses, std::int64_t step) {
  for (const Metric& m : losses)
    VOXOT_CHECK(std::isfinite(m.value), "toy: {} is {} at step {}", m.name, m.value, step);
  return losses;
}

}  // namespace

Generator::Generator(std::int64_t latent, std::int64_t hidden, const std::array<std::int64_t, 4>& volume)
    : latent_(latent),
      volume_(volume),
      shared_(latent, hidden),
      to_x_(hidden, values_of(volume)),
      to_y_(hidden, values_of(volume)) {
  add(shared_, "shared");
  add(to_x_, "to_x");
  add(to_y_, "to_y");
}

TensorPair Generator::forward(Tape& tape, const Tensor& z) {
  const Tensor h = shared_(tape, z, kRelu);
  const Shape shape{z.extent(0), volume_[0], volume_[1], volume_[2], volume_[3]};
  return {ops::reshape(tape, to_x_(tape, h), shape), ops::reshape(tape, to_y_(tape, h), shape)};
}

Critic::Critic(std::int64_t values, std::int64_t hidden)
    : trunk_(values, hidden), score_(hidden, 1), logits_(hidden, kClasses) {
  add(trunk_, "trunk");
  add(score_, "score");
  add(logits_, "logits");
  use_spectral_norm();
}

ClassifyingCritic::Result Critic::forward(Tape& tape, const Tensor& y) {
  const Tensor flat = ops::reshape(tape, y, {y.extent(0), y.count() / y.extent(0)});
  const Tensor h = trunk_(tape, flat, kLeakyRelu);
  return {score_(tape, h), logits_(tape, h)};
}

TensorPair Coupling::sample(std::int64_t count, const RandomState& state) {
  const NoRecord quiet(tape_);
  const EvaluationMode evaluation(*generator_);
  const Tensor signs = signs_of(count, generator_.device());
  return generator_->forward(tape_, latents(tape_, signs, generator_->latent(), state));
}

std::vector<int> Coupling::label(const Tensor& y) {
  const NoRecord quiet(tape_);
  const EvaluationMode evaluation(*critic_);
  const std::vector<float> logits = critic_->forward(tape_, y.to(critic_.device())).logits.to_floats();
  std::vector<int> labels;
  for (auto row = logits.begin(); row != logits.end(); row += critic_->classes()) {
    const auto end = row + critic_->classes();
    const bool finite = std::all_of(row, end, [](float v) { return std::isfinite(v); });
    labels.push_back(finite ? static_cast<int>(std::max_element(row, end) - row) : -1);
  }
  return labels;
}

ToySolver::ToySolver(const Options& options, Parts parts)
    : options_(options),
      parts_(std::move(parts)),
      generator_optimizer_(parts_.generator.parameters(), parts_.generator_optimizer),
      critic_x_optimizer_(parts_.critic_x.parameters(), parts_.critic_x_optimizer),
      critic_y_optimizer_(parts_.critic_y.parameters(), parts_.critic_y_optimizer),
      coupling_(parts_.generator, parts_.critic_y),
      signs_(signs_of(options.batch_size, parts_.generator.device())),
      classes_(Buffer<std::int32_t>::from(classes_of(options.batch_size), parts_.generator.device())),
      critic_iteration_(
          {.inputs = 2, .losses = 3, .graph = options.graph}, 1,
          {&parts_.generator.parameters(), &parts_.critic_x.parameters(), &parts_.critic_y.parameters()},
          [this](std::int64_t run, std::span<const double> l) { read_critic(run, l); }),
      generator_iteration_(
          {.losses = 2, .graph = options.graph}, 1,
          {&parts_.generator.parameters(), &parts_.critic_x.parameters(), &parts_.critic_y.parameters()},
          [this](std::int64_t run, std::span<const double> l) { read_generator(run, l); }) {}

void ToySolver::queue_critic_step() {
  CriticScalars* const now = critic_iteration_.scalars(0);
  const std::int64_t n = options_.batch_size;
  const Tensor x = queue_batch(critic_iteration_, 0, parts_.source, &now->draw, n);
  const Tensor y = queue_batch(critic_iteration_, 1, parts_.target, &now->draw, n);
  parts_.critic_x->iterate_spectra();
  parts_.critic_y->iterate_spectra();
  TensorPair fake;
  {
    const NoRecord quiet(tape_);
    const Freeze frozen(parts_.generator.parameters());
    fake = parts_.generator->forward(tape_,
                                     latents(tape_, signs_, parts_.generator->latent(),
                                             {options_.seed, Purpose::noise, kCriticLatents, &now->draw}));
  }
  const auto loss_of = [&](ClassifyingCritic& critic, const Tensor& real, const Tensor& made,
                           Tensor* logits) {
    const auto of_made = critic.forward(tape_, made.detached());
    if (logits != nullptr) *logits = of_made.logits;
    return ops::sub(tape_, ops::mean(tape_, of_made.score),
                    ops::mean(tape_, critic.forward(tape_, real.detached()).score));
  };
  Tensor logits;
  const Tensor loss_x = loss_of(*parts_.critic_x, x, fake.x, nullptr);
  const Tensor loss_y = loss_of(*parts_.critic_y, y, fake.y, &logits);
  const Tensor label_loss = ops::cross_entropy(tape_, logits, classes_);
  tape_.backward(ops::add(tape_, ops::add(tape_, loss_x, loss_y), label_loss));
  critic_x_optimizer_.update(&now->x);
  critic_y_optimizer_.update(&now->y);
  critic_iteration_.loss(0).copy_from(loss_x);
  critic_iteration_.loss(1).copy_from(loss_y);
  critic_iteration_.loss(2).copy_from(label_loss);
}

void ToySolver::queue_generator_step() {
  GeneratorScalars* const now = generator_iteration_.scalars(0);
  const Freeze x_frozen(parts_.critic_x.parameters());
  const Freeze y_frozen(parts_.critic_y.parameters());
  const TensorPair made = parts_.generator->forward(
      tape_, latents(tape_, signs_, parts_.generator->latent(),
                     {options_.seed, Purpose::noise, kGeneratorLatents, &now->draw}));
  const Tensor cost = ops::mean_squared_error(tape_, made.x, made.y);
  const Tensor scores = ops::add(tape_, ops::mean(tape_, parts_.critic_x->forward(tape_, made.x).score),
                                 ops::mean(tape_, parts_.critic_y->forward(tape_, made.y).score));
  const Tensor loss = ops::linear_combination(tape_, options_.weight, cost, -1, scores);
  tape_.backward(loss);
  generator_optimizer_.update(&now->optimizer);
  generator_iteration_.loss(0).copy_from(loss);
  generator_iteration_.loss(1).copy_from(cost);
}

void ToySolver::advance() {
  const std::int64_t critics = options_.critic_steps * (steps() < options_.warm_steps ? 2 : 1);
  for (std::int64_t k = 0; k < critics; ++k) {
    const auto draw = static_cast<std::uint64_t>(critic_iteration_.runs());
    set_batch(critic_iteration_, 0, parts_.source, draw, options_.batch_size);
    set_batch(critic_iteration_, 1, parts_.target, draw, options_.batch_size);
    const CriticScalars now{critic_x_optimizer_.next(), critic_y_optimizer_.next(), draw};
    critic_iteration_.run({&now, 1}, [this] { queue_critic_step(); });
  }
  const GeneratorScalars now{generator_optimizer_.next(), static_cast<std::uint64_t>(steps())};
  generator_iteration_.run({&now, 1}, [this] { queue_generator_step(); });
}

void ToySolver::read_critic(std::int64_t run, std::span<const double> l) {
  critic_losses_ = checked({{"critic_x_loss", l[0]}, {"critic_y_loss", l[1]}, {"label_loss", l[2]}}, run);
}

void ToySolver::read_generator(std::int64_t run, std::span<const double> l) {
  generator_losses_ = checked({{"generator_loss", l[0]}, {"pair_cost", l[1]}}, run);
}

std::vector<Metric> ToySolver::losses() {
  critic_iteration_.read_losses();
  generator_iteration_.read_losses();
  std::vector<Metric> all = critic_losses_;
  all.insert(all.end(), generator_losses_.begin(), generator_losses_.end());
  return all;
}

std::vector<NetworkRole> ToySolver::networks() {
  return {{"generator", &parts_.generator.parameters(), nullptr},
          {"critic_x", &parts_.critic_x.parameters(), nullptr},
          {"critic_y", &parts_.critic_y.parameters(), nullptr}};
}

void ToySolver::save(std::map<std::string, HostArray>& arrays) {
  (void)losses();
  generator_iteration_.save("solver.step", arrays);
  critic_iteration_.save("solver.critic_runs", arrays);
  generator_optimizer_.save("solver.generator.", arrays);
  critic_x_optimizer_.save("solver.critic_x.", arrays);
  critic_y_optimizer_.save("solver.critic_y.", arrays);
}

void ToySolver::load(const std::map<std::string, HostArray>& arrays, const std::string& source) {
  generator_iteration_.load("solver.step", arrays, source);
  critic_iteration_.load("solver.critic_runs", arrays, source);
  generator_optimizer_.load("solver.generator.", arrays, source);
  critic_x_optimizer_.load("solver.critic_x.", arrays, source);
  critic_y_optimizer_.load("solver.critic_y.", arrays, source);
}

}  // namespace voxot::toy
