#pragma once
// Optimizers, learning-rate schedules, gradient clipping and the moving average of weights. Each works on the
// flat buffer of one network (engine/parameters.h), one fused kernel a step.
#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "engine/parameters.h"
#include "kernels/optimizer.h"

namespace voxot {

/// How the learning rate changes: not, linearly, by a half cosine, or by a factor at milestones.
enum class ScheduleKind : std::uint8_t { constant, linear, cosine, steps };

/// The factor on the learning rate at a step counted from 0.
struct Schedule {
  ScheduleKind kind = ScheduleKind::constant;
  std::int64_t total = 0;   // steps over which linear and cosine go from 1 to final_scale
  std::int64_t warmup = 0;  // steps over which the factor first rises from 1/warmup to 1
  double final_scale = 0;
  std::vector<std::int64_t> milestones;  // steps: the factor is multiplied by `decay` at each
  double decay = 0.1;

  /// Of the step counted from 0, warm-up included.
  [[nodiscard]] double factor(std::int64_t step) const;
};

/// One network's optimizer: its update, rate, clipping and schedule.
struct OptimizerOptions {
  OptimizerParams params;
  double learning_rate = 1e-4;
  double clip_norm = 0;  // 0: no clipping of the gradient's 2-norm
  Schedule schedule;
};

/// Updates the parameters of one network, and holds the state that needs.
class Optimizer {
 public:
  Optimizer(Parameters& parameters, const OptimizerOptions& options);
  /// One update from the gathered gradients, which are then cleared.
  void step();
  /// A step in two halves, for static steps: next() counts an update and says its numbers, update() queues it
  /// with numbers that lie in the device's memory.
  OptimizerScalars next();
  void update(OptimizerScalars* scalars);
  /// Updates counted so far.
  [[nodiscard]] std::int64_t steps() const { return steps_; }

  /// State under `prefix` ("optimizer.transport."), for checkpoints: "step", and what the kind keeps of each
  /// parameter under PyTorch's name for it, in PyTorch's axis order ("exp_avg.inc.double_conv.0.weight";
  /// exp_avg and exp_avg_sq of Adam, momentum_buffer, square_avg of RMSprop). Throws Error where it is not
  /// finite.
  void save(const std::string& prefix, std::map<std::string, HostArray>& arrays) const;
  /// Also from the form that voxot wrote before it stored names: "first" and "second", each one flat buffer
  /// in the order of this program's memory. Throws Error naming the tensor, before anything is changed, when
  /// the state does not fit this network or is not finite; `source` begins the message.
  void load(const std::string& prefix, const std::map<std::string, HostArray>& arrays,
            const std::string& source = "checkpoint");

 private:
  struct Kept {
    const char* name;
    const char* flat_name;  // of the form without parameters' names
    Tensor values;
  };
  [[nodiscard]] std::vector<Kept> kept() const;

  Parameters& parameters_;
  OptimizerOptions options_;
  std::int64_t steps_ = 0;
  Tensor scalars_;  // of step(), as bytes
  Tensor first_, second_;
};

/// Exponential moving average of a network's parameters and buffers. The decay warms up as
/// min(decay, (1 + t)/(10 + t)), and the first update copies, so the random initial weights leave no trace.
class MovingAverage {
 public:
  MovingAverage(Parameters& parameters, double decay);
  /// One update from the network as it is.
  void update();
  /// An update in two halves, as Optimizer's: the factors of the weights and of the average, and the queued
  /// work.
  std::array<double, 2> next();
  void update(const double* factors);
  [[nodiscard]] bool ready() const { return updates_ > 0; }
  /// As Optimizer's, under the names of torch.optim.swa_utils.AveragedModel: "n_averaged", and parameters and
  /// buffers behind "module.". The form without names has "updates", "average" and "buffer.0", "buffer.1", …
  void save(const std::string& prefix, std::map<std::string, HostArray>& arrays) const;
  void load(const std::string& prefix, const std::map<std::string, HostArray>& arrays,
            const std::string& source = "checkpoint");
  /// Exchanges the network's values with the average; a second call brings them back.
  void swap();
  /// The network holds the average now (an odd number of swaps).
  [[nodiscard]] bool swapped() const { return swapped_; }

 private:
  [[nodiscard]] std::vector<Parameters::Part> parts() const;

  Parameters& parameters_;
  double decay_;
  std::int64_t updates_ = 0;
  bool swapped_ = false;
  Tensor factors_;  // of update()
  Tensor average_;
  std::vector<Tensor> buffers_;
};

/// The network shows its averaged weights while this lives: nothing happens before the first update, and
/// where it shows them already.
class Averaged {
 public:
  explicit Averaged(MovingAverage* average)
      : average_(average != nullptr && average->ready() && !average->swapped() ? average : nullptr) {
    if (average_ != nullptr) average_->swap();
  }
  ~Averaged() {
    if (average_ != nullptr) average_->swap();
  }
  Averaged(const Averaged&) = delete;
  Averaged& operator=(const Averaged&) = delete;

 private:
  MovingAverage* average_;
};

}  // namespace voxot
