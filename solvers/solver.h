#pragma once
// What the rest of the program knows of a solver: it advances, counts its steps, names its losses, lists its
// networks by role, is saved and loaded whole, and has capabilities, which may be missing.
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "engine/optimizer.h"
#include "engine/run_log.h"
#include "models/network.h"

namespace voxot {

/// Capability: carries samples of the source to the target.
class Transport {
 public:
  virtual ~Transport() = default;
  /// T(x, z) for x N×D×H×W×C, anywhere; the result has x's shape and lies on the networks' device. `noise`
  /// names the draw of z.
  virtual Tensor apply(const Tensor& x, const RandomState& noise) = 0;
  /// Whether T depends on z: every draw of the noise gives another result.
  [[nodiscard]] virtual bool stochastic() const = 0;
  /// The standard deviation of z from now on, where T depends on it.
  virtual void set_noise_deviation(double) {}
};

/// Capability: draws from the learned coupling of the source and the target.
class PairSampler {
 public:
  virtual ~PairSampler() = default;
  /// `count` pairs, x and y N×D×H×W×C of one shape, on the networks' device: a pure function of the state.
  virtual TensorPair sample(std::int64_t count, const RandomState& state) = 0;
};

/// Capability: says which class a sample of the target is of.
class Labeller {
 public:
  virtual ~Labeller() = default;
  /// The class of each of y N×D×H×W×C, which lies anywhere; −1 where no class is the likeliest.
  virtual std::vector<int> label(const Tensor& y) = 0;
};

/// Null where there is none.
struct Capabilities {
  Transport* transport = nullptr;
  PairSampler* pairs = nullptr;
  Labeller* labels = nullptr;
};

/// What has been trained: a solver, or its networks alone, loaded from a file. The same networks with the
/// same weights give the same answers in both.
class Trained {
 public:
  Trained() = default;
  Trained(const Trained&) = delete;
  Trained& operator=(const Trained&) = delete;
  virtual ~Trained() = default;
  /// Valid as long as this object.
  [[nodiscard]] virtual Capabilities capabilities() = 0;
};

/// One network of a solver. Its state is saved under "ROLE.", as a table of the config is called.
struct NetworkRole {
  std::string name;                  // "transport"
  Parameters* parameters = nullptr;  // and through them the module
  MovingAverage* average = nullptr;  // whose weights stand for the trained network; null: its own
};

/// What trains networks, one step after another.
class Solver : public Trained {
 public:
  /// Queues one step, of as many iterations as the solver's schedule says; the host waits only where it has
  /// run too far ahead. Throws what losses() does, at the latest StaticIterationBase::kLossRows iterations
  /// after the one at fault.
  virtual void advance() = 0;
  /// Steps queued: outer iterations, as a config's `steps` counts them.
  [[nodiscard]] virtual std::int64_t steps() const = 0;
  /// Waits for what is queued; the losses of the last step, and what else the solver has to say of it, by
  /// name and always in the same order. Throws Error naming the first step whose loss is not finite, and
  /// again whenever it is asked.
  [[nodiscard]] virtual std::vector<Metric> losses() = 0;
  /// In a fixed order.
  [[nodiscard]] virtual std::vector<NetworkRole> networks() = 0;

  /// Optimizers, averages and counters under "solver.", the steps as "solver.step"; networks are saved beside
  /// them. Reads the losses first and throws what losses() does, and throws Error for state that is not
  /// finite: a run that has diverged leaves no checkpoint.
  virtual void save(std::map<std::string, HostArray>& arrays) = 0;
  /// Throws Error for state that does not fit or is not finite; `source` begins the message. Random numbers
  /// are functions of the counters: a run that goes on from here has the bits of one that never stopped.
  virtual void load(const std::map<std::string, HostArray>& arrays,
                    const std::string& source = "checkpoint") = 0;
};

}  // namespace voxot
