#pragma once
// A small solver that has what solvers may have: two generators that share layers, two critics of which one
// also classifies, several critic steps for each generator step, more at first, and no map: it samples pairs
// and labels. An example for CONTRIBUTING's "A solver"; nobody needs its results.
//   critics:    max  E f_x(x) − E f_x(G_x(z)) + E f_y(y) − E f_y(G_y(z)) − cross entropy(class of z,
//   h_y(G_y(z))) generator:  min  −E f_x(G_x(z)) − E f_y(G_y(z)) + λ·E (G_x(z) − G_y(z))²
#include <memory>

#include "engine/static_iteration.h"
#include "models/trainable.h"
#include "solvers/sampler.h"
#include "solvers/solver.h"

namespace voxot::toy {

/// z → ReLU layer, shared → a linear layer for x, another for y.
class Generator final : public PairGenerator {
 public:
  /// `volume`: D, H, W, C.
  Generator(std::int64_t latent, std::int64_t hidden, const std::array<std::int64_t, 4>& volume);
  TensorPair forward(Tape& tape, const Tensor& z) override;
  [[nodiscard]] std::int64_t latent() const override { return latent_; }

 private:
  std::int64_t latent_;
  std::array<std::int64_t, 4> volume_;
  Linear shared_, to_x_, to_y_;
};

/// Flattened y → LeakyReLU layer → a score and logits, all spectrally normalised.
class Critic final : public ClassifyingCritic {
 public:
  static constexpr std::int64_t kClasses = 2;
  Critic(std::int64_t values, std::int64_t hidden);
  Result forward(Tape& tape, const Tensor& y) override;
  [[nodiscard]] std::int64_t classes() const override { return kClasses; }

 private:
  Linear trunk_, score_, logits_;
};

struct Options {
  std::int64_t batch_size = 16;
  std::int64_t critic_steps = 2;  // for each generator step; twice as many in the first `warm_steps`
  std::int64_t warm_steps = 2;
  double weight = 0.1;  // λ
  std::uint64_t seed = 0;
  bool graph = true;
};

struct Parts {
  Trainable<PairGenerator> generator;
  Trainable<ClassifyingCritic> critic_x, critic_y;
  OptimizerOptions generator_optimizer, critic_x_optimizer, critic_y_optimizer;
  Sampler source, target;
};

/// What the trained networks can do: of the solver, and of a run's checkpoint.
class Coupling final : public PairSampler, public Labeller {
 public:
  Coupling(const Trainable<PairGenerator>& generator, const Trainable<ClassifyingCritic>& critic)
      : generator_(generator), critic_(critic) {}
  TensorPair sample(std::int64_t count, const RandomState& state) override;
  std::vector<int> label(const Tensor& y) override;

 private:
  Trainable<PairGenerator> generator_;
  Trainable<ClassifyingCritic> critic_;
  Tape tape_;
};

class TrainedCoupling final : public Trained {
 public:
  TrainedCoupling(const Trainable<PairGenerator>& generator, const Trainable<ClassifyingCritic>& critic)
      : coupling_(generator, critic) {}
  [[nodiscard]] Capabilities capabilities() override { return {.pairs = &coupling_, .labels = &coupling_}; }

 private:
  Coupling coupling_;
};

class ToySolver final : public Solver {
 public:
  ToySolver(const Options& options, Parts parts);

  void advance() override;
  [[nodiscard]] std::int64_t steps() const override { return generator_iteration_.runs(); }
  /// critic_x_loss, critic_y_loss, label_loss of the last critic step; generator_loss, pair_cost.
  [[nodiscard]] std::vector<Metric> losses() override;
  [[nodiscard]] std::vector<NetworkRole> networks() override;
  [[nodiscard]] Capabilities capabilities() override { return {.pairs = &coupling_, .labels = &coupling_}; }
  void save(std::map<std::string, HostArray>& arrays) override;
  void load(const std::map<std::string, HostArray>& arrays, const std::string& source) override;
  [[nodiscard]] std::int64_t critic_runs() const { return critic_iteration_.runs(); }

 private:
  struct CriticScalars {
    OptimizerScalars x, y;
    std::uint64_t draw = 0;  // of both batches and of z
  };
  struct GeneratorScalars {
    OptimizerScalars optimizer;
    std::uint64_t draw = 0;  // of z
  };
  void queue_critic_step();
  void queue_generator_step();
  void read_critic(std::int64_t run, std::span<const double> losses);
  void read_generator(std::int64_t run, std::span<const double> losses);

  Options options_;
  Parts parts_;
  Optimizer generator_optimizer_, critic_x_optimizer_, critic_y_optimizer_;
  Coupling coupling_;
  // Of a batch, whose classes alternate.
  Tensor signs_;
  Buffer<std::int32_t> classes_;
  Tape tape_;
  StaticIteration<CriticScalars> critic_iteration_;
  StaticIteration<GeneratorScalars> generator_iteration_;
  std::vector<Metric> critic_losses_, generator_losses_;
};

}  // namespace voxot::toy
