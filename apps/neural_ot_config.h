#pragma once
// solver.kind = "neural_ot": its keys, defaults and checks. What is made of them is in neural_ot_kind.cpp.
#include <memory>
#include <string>
#include <vector>

#include "apps/network_config.h"
#include "apps/solver_kinds.h"

namespace voxot::neural_ot {

inline constexpr const char* kTransport = "transport";
inline constexpr const char* kPotential = "potential";

enum class Form : std::uint8_t { strong, weak };

/// [solver], beside what every kind has, and the tables of the roles.
struct Config {
  Form form = Form::strong;
  std::string cost = "quadratic";    // quadratic (strong) | weak_quadratic (weak); defaulted from the form
  std::int64_t inner_steps = 4;      // K_T: transport steps for each potential step
  double gamma = 0.66;               // weak: the final γ
  std::int64_t gamma_steps = 25000;  // weak: γ rises linearly from 0 over so many outer iterations
  std::int64_t noise_samples = 8;    // weak: Z, noise draws for each source sample
  double noise_std = 0.1;            // weak: standard deviation of the noise
  std::int64_t noise_cells = 0;     // weak: along each axis, cells that share a number; 0: each voxel its own
  std::int64_t noise_channels = 1;  // weak: appended to the map's input
  double ema = 0.99;                // decay of the map's averaged weights; 0: none
  double source_noise = 0;          // standard deviation of noise on x in transport steps; 0: none
  double gradient_penalty = 0;      // λ of ½·λ·D·E‖∇f‖² at mapped and real samples; 0: none
  double drift_penalty = 0;         // ε of ε·E f² at mapped and real samples; 0: none
  bool freeze_batchnorm = true;     // the map's BatchNorm in evaluation mode in the potential step
  TransportConfig transport;
  PotentialConfig potential;
  OptimizerConfig transport_optimizer;
  OptimizerConfig potential_optimizer;

  [[nodiscard]] bool weak() const { return form == Form::weak; }
};

class Settings final : public SolverSettings {
 public:
  Config config;

  [[nodiscard]] std::unique_ptr<SolverSettings> clone() const override {
    return std::make_unique<Settings>(*this);
  }
  [[nodiscard]] std::vector<std::string> roles() const override { return {kTransport, kPotential}; }
  [[nodiscard]] OptimizerConfig* optimizer(const std::string& role) override;
  void visit_solver(ConfigVisitor& visitor) override;
  void visit_networks(ConfigVisitor& visitor) override;
  void resolve(const GivesKey& gives) override;
  void check(const RunConfig& run) const override;
  void check_shape(const RunConfig& run, const SampleShape& shape) const override;
  [[nodiscard]] std::vector<std::string> lasting_keys() const override;
  [[nodiscard]] std::string form() const override;
  // The optimum of the weak form is another map.
  [[nodiscard]] bool seeks_optimal_map() const override { return !config.weak(); }
};

}  // namespace voxot::neural_ot
