#pragma once
// The kinds of solvers that a config may name. The rest of apps/ knows a solver through SolverSettings (its
// keys, roles and checks, and how it is made from them) and solvers/solver.h alone.
#include <array>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "apps/optimizer_config.h"
#include "engine/host_array.h"
#include "solvers/sampler.h"
#include "solvers/solver.h"

namespace voxot {

struct RunConfig;
struct Checkpoint;

/// D, H, W, C of the samples that a config describes.
using SampleShape = std::array<std::int64_t, 4>;

/// What a solver is made with besides its config.
struct SolverInputs {
  SampleShape shape;
  Device device = Device::cpu;
  Sampler source, target;  // of the training split
};

/// Whether a config's text or an override gives a key.
using GivesKey = std::function<bool(const std::string& key)>;

/// The settings of one kind of solver: what its keys in [solver] and the tables of its roles say.
class SolverSettings {
 public:
  virtual ~SolverSettings() = default;
  [[nodiscard]] virtual std::unique_ptr<SolverSettings> clone() const = 0;

  /// Its networks as configs and files call them, in the order of the file: tables [ROLE] and
  /// [optimizer.ROLE].
  [[nodiscard]] virtual std::vector<std::string> roles() const = 0;
  /// Null for a network that has no optimizer of its own.
  [[nodiscard]] virtual OptimizerConfig* optimizer(const std::string& role) = 0;
  [[nodiscard]] const OptimizerConfig* optimizer(const std::string& role) const {
    return const_cast<SolverSettings*>(this)->optimizer(role);
  }
  /// Its own keys in [solver].
  virtual void visit_solver(ConfigVisitor& visitor) = 0;
  /// The tables of its roles' networks; those of their optimizers are visited by whoever calls this.
  virtual void visit_networks(ConfigVisitor& visitor) = 0;
  /// Defaults that follow from other keys.
  virtual void resolve(const GivesKey&) {}
  /// Throws UsageError for settings that contradict each other or the rest of the config.
  virtual void check(const RunConfig&) const {}
  /// Throws UsageError for samples that its networks do not take.
  virtual void check_shape(const RunConfig&, const SampleShape&) const {}

  /// Its own keys that what has been trained depends on, besides the networks' ("solver.noise_std"): those
  /// cannot be changed under a checkpoint.
  [[nodiscard]] virtual std::vector<std::string> lasting_keys() const { return {}; }
  /// What a report calls the run ("strong"); the kind's name where it has no forms.
  [[nodiscard]] virtual std::string form() const { return {}; }
  /// Whether its optimum is the optimal map of the quadratic cost, so that it can be scored against one.
  [[nodiscard]] virtual bool seeks_optimal_map() const { return false; }
};

/// A row of the table: the name, the settings, and what is made of a config whose settings are these.
struct SolverKind {
  const char* name;  // the word of solver.kind
  std::unique_ptr<SolverSettings> (*settings)();
  /// Networks with their initial values, and the solver that trains them.
  std::unique_ptr<Solver> (*make)(const RunConfig& config, SolverInputs inputs);
  /// The networks of a checkpoint alone, with averaged weights where there are any, and no more than its
  /// capabilities need. `config`: the one that the checkpoint was made with, in the precision that is wanted.
  /// Throws Error for a checkpoint that does not fit.
  std::unique_ptr<Trained> (*load)(const RunConfig& config, const SampleShape& shape, Device device,
                                   const Checkpoint& checkpoint);
  /// Metadata with which the network of a role is written as a file of its own, RUN/ROLE.safetensors; nothing
  /// for a role that is of no use alone.
  std::map<std::string, std::string> (*export_metadata)(const RunConfig& config, const SampleShape& shape,
                                                        const std::string& role);
};

/// All kinds, the default first. A program may add its own before it reads a config.
std::vector<SolverKind>& solver_kinds();

/// Throws UsageError for a name that no kind has.
const SolverKind& solver_kind(const std::string& name);

// One function for each row of the table, in the file of its name.
SolverKind neural_ot_kind();

}  // namespace voxot
