#pragma once
// Neural optimal transport, strong and weak (Korotin, Selikhanovych, Burnaev, ICLR 2023, arXiv 2201.12220):
//   sup_f inf_T  E C(x, T_x#S) − E f(T(x, z)) + E f(y)
// One outer iteration: K_T transport steps, each on a fresh batch, then one potential step. T(X) is computed
// once in a transport step; no weight gradient of a frozen network is computed; T(X) is detached in the
// potential step. The solver knows neither the networks' architecture nor the data set.
// An outer iteration is a static step: it draws its batches itself, or finds them in fixed places in the
// device's memory, as every number that changes, so that a GPU records it once as a graph; the host only
// fills those places, and runs ahead.
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <variant>

#include "engine/graph.h"
#include "engine/optimizer.h"
#include "engine/staging.h"
#include "models/noise.h"
#include "solvers/costs.h"

namespace voxot {

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
  // Standard deviation of Gaussian noise on x in transport steps, so that T is asked for between the samples
  // of a small data set too; the potential step and the map see x as it is. 0: none.
  double source_noise = 0;
  double drift_penalty = 0;  // ε of ε·E f² over mapped and real samples (Karras et al. 2018); 0: none
  std::uint64_t seed = 0;
  bool graph = true;  // record the iteration where the device can
};

/// A batch of `count` samples, N×D×H×W×C fp32: a pure function of the draw's number. A HostSampler returns it
/// on the host or on the networks' device. A DeviceSampler queues its making on their device, where the
/// number lies in memory, and is part of the recorded iteration: it may neither wait nor keep what it
/// allocates.
using HostSampler = std::function<Tensor(std::uint64_t draw, std::int64_t count)>;
using DeviceSampler = std::function<Tensor(const std::uint64_t* draw, std::int64_t count)>;
using Sampler = std::variant<HostSampler, DeviceSampler>;

/// Losses of one outer iteration; transport figures are means over its inner steps.
struct NeuralOtLosses {
  double transport = 0;  // cost − mean f(T(x))
  double cost = 0;
  double potential = 0;  // mean f(T(x)) − mean f(y)
  double slope = 0;  // with a gradient penalty: E D·‖∇f‖²/4, at the optimum the cost, for ∇f = ∇_y c
};

class NeuralOt {
 public:
  NeuralOt(const NeuralOtOptions& options, Parameters& transport, Parameters& potential, TransportMap& map,
           Potential& f, const Cost& cost, const OptimizerOptions& transport_optimizer,
           const OptimizerOptions& potential_optimizer, Sampler source, Sampler target);

  /// One outer iteration and its losses.
  NeuralOtLosses step() {
    advance();
    return losses();
  }
  /// Queues one outer iteration; the host waits only where it has run too far ahead. Throws what losses()
  /// does, at the latest kLossRows steps after the one at fault.
  void advance();
  /// Waits for what is queued; the losses of the last iteration. Throws Error naming the first step whose
  /// loss is not finite, and again whenever it is asked.
  NeuralOtLosses losses();
  /// Iterations whose losses the device's memory holds until the host fetches them.
  static constexpr std::int64_t kLossRows = 16;
  /// Outer iterations queued.
  [[nodiscard]] std::int64_t steps() const { return step_; }
  /// The single steps of which an outer iteration is made, for tests and for benchmarks.
  double transport_step(const Tensor& x, std::uint64_t draw, double* cost = nullptr);
  double potential_step(const Tensor& x, const Tensor& y, std::uint64_t draw);

  /// T(x) with averaged weights (where there is an average) in evaluation mode, for draws that name the
  /// noise; x anywhere, the result on the networks' device.
  Tensor map(const Tensor& x, const RandomState& noise);
  [[nodiscard]] MovingAverage* average() { return average_.get(); }
  [[nodiscard]] double gamma() const;

  /// Optimizers, average and counters under "solver.", for checkpoints (networks are saved beside them).
  /// Reads the losses first and throws what losses() does, and throws Error for state that is not finite: a
  /// run that has diverged leaves no checkpoint.
  void save(std::map<std::string, HostArray>& arrays);
  /// Throws Error for state that does not fit or is not finite; `source` begins the message.
  void load(const std::map<std::string, HostArray>& arrays, const std::string& source = "checkpoint");

 private:
  /// What changes from one transport or potential step to the next, as it lies in the device's memory.
  struct StepScalars {
    OptimizerScalars optimizer;
    std::array<double, 2> average{};
    CostFactors cost{};
    std::uint64_t draw = 0;         // of x and of the noise
    std::uint64_t target_draw = 0;  // of y
  };
  /// A copy of the ring of losses on its way to the host, for the steps after `before` up to `last`.
  struct LossCopy {
    std::int64_t before;
    std::int64_t last;
    std::size_t slot;
  };

  [[nodiscard]] Device device() const { return transport_.values().device(); }
  Tensor noise_for(const Tensor& x, const RandomState& state);
  Tensor with_source_noise(const Tensor& x, const RandomState& state);
  [[nodiscard]] StepScalars* scalars(std::int64_t index) const { return scalars_.as<StepScalars>() + index; }
  void send(const std::vector<StepScalars>& scalars);
  void send_iteration(std::uint64_t first_draw);
  [[nodiscard]] Tensor source_batch(std::int64_t index) const;
  [[nodiscard]] Tensor target_batch() const;
  void queue_iteration();
  void queue_transport_step(const Tensor& batch, std::int64_t index);
  void queue_potential_step(const Tensor& x, const Tensor& y, std::int64_t index);
  void queue_gradient_penalty(Tensor& mapped, Tensor& y);
  Tensor mean_square(const Tensor& values);
  void run_iteration();
  void fetch_losses();
  void read_losses();

  NeuralOtOptions options_;
  Parameters& transport_;
  Parameters& potential_;
  TransportMap& map_;
  Potential& f_;
  const Cost& cost_;
  Optimizer transport_optimizer_;
  Optimizer potential_optimizer_;
  std::unique_ptr<MovingAverage> average_;
  Sampler source_;
  Sampler target_;
  Tape tape_;
  std::int64_t step_ = 0;

  // K_T transport steps, then the potential step.
  Tensor scalars_;
  PinnedRing scalar_ring_;
  StaticInputs batches_;  // of host samplers; the last is the target's
  Tensor step_losses_;    // fp64: loss and cost of each transport step, the potential's loss and slope
  Tensor loss_ring_;      // the same of kLossRows iterations; an iteration writes its row itself
  PinnedRing loss_copies_;
  std::deque<LossCopy> fetched_;
  std::int64_t last_fetched_ = 0;  // step
  NeuralOtLosses last_;
  std::vector<std::int64_t> counted_;  // by how much an iteration moves each counter of the networks
  StepGraph graph_;
};

}  // namespace voxot
