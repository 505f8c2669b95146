#pragma once
// Neural optimal transport, strong and weak (Korotin, Selikhanovych, Burnaev, ICLR 2023, arXiv 2201.12220):
//   sup_f inf_T  E C(x, T_x#S) − E f(T(x, z)) + E f(y)
// One outer iteration: K_T transport steps, each on a fresh batch, then one potential step. T(X) is computed
// once in a transport step; no weight gradient of a frozen network is computed; T(X) is detached in the
// potential step. The solver knows neither the networks' architecture nor the data set.
// An outer iteration is a static step: it draws its batches itself, or finds them in fixed places in the
// device's memory, as every number that changes, so that a GPU records it once as a graph; the host only
// fills those places, and runs ahead.
#include <array>
#include <memory>

#include "engine/static_iteration.h"
#include "models/trainable.h"
#include "solvers/costs.h"
#include "solvers/network_transport.h"
#include "solvers/sampler.h"
#include "solvers/solver.h"

namespace voxot {

/// The form of the problem and of its steps.
struct NeuralOtOptions {
  std::int64_t inner_steps = 10;  // K_T
  std::int64_t batch_size = 16;
  std::int64_t noise_samples = 1;  // Z: copies of each x in a transport step (1 for the strong form)
  NoiseOptions noise;
  double gamma = 0;              // final γ of the weak cost
  std::int64_t gamma_steps = 0;  // γ rises linearly from 0 over this many potential steps
  bool freeze_batchnorm = true;  // T's BatchNorm in evaluation mode in the potential step
  double ema = 0;                // decay of the map's moving average; 0: none
  double gradient_penalty = 0;   // λ of ½·λ·D·E‖∇f‖² over mapped and real samples; 0: none
  // Standard deviation of Gaussian noise on x in transport steps, so that T is trained between the samples of
  // a small data set too; the potential step and the trained map take x without it. 0: none.
  double source_noise = 0;
  double drift_penalty = 0;  // ε of ε·E f² over mapped and real samples (Karras et al. 2018); 0: none
  std::uint64_t seed = 0;
  bool graph = true;  // record the iteration where the device can
};

/// Losses of one outer iteration; transport figures are means over its inner steps.
struct NeuralOtLosses {
  double transport = 0;  // cost − mean f(T(x))
  double cost = 0;
  double potential = 0;  // mean f(T(x)) − mean f(y)
  double slope = 0;  // with a gradient penalty: E D·‖∇f‖²/4, at the optimum the cost, for ∇f = ∇_y c
};

/// What the solver works with. Optimizers count their own steps: K_T of the map's in an outer iteration, one
/// of the potential's.
struct NeuralOtParts {
  Trainable<TransportMap> transport;
  Trainable<Potential> potential;
  std::shared_ptr<const Cost> cost;
  OptimizerOptions transport_optimizer;
  OptimizerOptions potential_optimizer;
  Sampler source;
  Sampler target;
};

/// The solver above.
class NeuralOt final : public Solver {
 public:
  /// Throws Error unless steps, batch and copies are positive.
  NeuralOt(const NeuralOtOptions& options, NeuralOtParts parts);

  /// One outer iteration and its losses.
  NeuralOtLosses step() {
    advance();
    return last_losses();
  }
  void advance() override;
  /// As losses(), which names them transport_loss, cost, potential_loss, with a weak cost gamma (the next
  /// step's), with a gradient penalty slope.
  NeuralOtLosses last_losses();
  [[nodiscard]] std::vector<Metric> losses() override;
  [[nodiscard]] std::int64_t steps() const override { return iteration_.runs(); }
  /// The single steps of which an outer iteration is made, for tests and for benchmarks.
  double transport_step(const Tensor& x, std::uint64_t draw, double* cost = nullptr);
  double potential_step(const Tensor& x, const Tensor& y, std::uint64_t draw);

  /// "transport", with averaged weights where there is an average, and "potential".
  [[nodiscard]] std::vector<NetworkRole> networks() override;
  [[nodiscard]] Capabilities capabilities() override { return {.transport = &transport_}; }
  [[nodiscard]] double gamma() const;

  void save(std::map<std::string, HostArray>& arrays) override;
  void load(const std::map<std::string, HostArray>& arrays,
            const std::string& source = "checkpoint") override;

 private:
  /// What changes from one transport or potential step to the next.
  struct StepScalars {
    OptimizerScalars optimizer;
    std::array<double, 2> average{};
    CostFactors cost{};
    std::uint64_t draw = 0;         // of x and of the noise
    std::uint64_t target_draw = 0;  // of y
  };

  [[nodiscard]] Device device() const { return iteration_.device(); }
  Tensor map(const Tensor& x, const std::uint64_t* draw);
  Tensor with_source_noise(const Tensor& x, const RandomState& state);
  std::vector<StepScalars> next_scalars();
  [[nodiscard]] Tensor source_batch(std::int64_t index) const;
  void queue_iteration();
  void queue_transport_step(const Tensor& batch, std::int64_t index);
  void queue_potential_step(const Tensor& x, const Tensor& y, std::int64_t index);
  void queue_gradient_penalty(Tensor& mapped, Tensor& y);
  Tensor mean_square(const Tensor& values);

  NeuralOtOptions options_;
  NeuralOtParts parts_;
  Optimizer transport_optimizer_;
  Optimizer potential_optimizer_;
  std::unique_ptr<MovingAverage> average_;
  NetworkTransport transport_;
  Tape tape_;
  // Records: K_T transport steps, then the potential step. Inputs, of host samplers: their sources, then the
  // target. Losses: loss and cost of each transport step, the potential's loss and slope.
  StaticIteration<StepScalars> iteration_;
  NeuralOtLosses last_;
};

}  // namespace voxot
