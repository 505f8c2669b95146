#pragma once
// [optimizer.ROLE]: how a network of a solver is trained.
#include <array>
#include <string>
#include <vector>

#include "apps/config_visitor.h"
#include "engine/optimizer.h"

namespace voxot {

/// Schedules count the outer iterations of solver.schedule_steps.
struct OptimizerConfig {
  OptimizerKind kind = OptimizerKind::adam;  // adam | adamw | sgd | rmsprop
  double learning_rate = 1.5e-3;
  std::array<double, 2> betas{0.5, 0.999};  // adam, adamw
  double epsilon = 1e-8;                    // adam, adamw, rmsprop
  double weight_decay = 1e-10;
  double momentum = 0;                           // sgd, rmsprop
  double alpha = 0.99;                           // rmsprop
  double clip_norm = 0;                          // largest norm of the whole gradient; 0: off
  ScheduleKind schedule = ScheduleKind::linear;  // constant | linear | cosine | steps
  std::int64_t warmup_steps = 0;                 // the rate rises linearly over so many outer iterations
  double final_scale = 0;                        // linear, cosine: last rate / learning_rate
  std::vector<std::int64_t> milestones;          // steps: outer iterations after which the rate is multiplied
  double decay = 0.1;                            // steps: ... by this
};

void visit(OptimizerConfig& config, const std::string& role, ConfigVisitor& visitor);

/// Throws UsageError for milestones that do not rise.
void check(const OptimizerConfig& config, const std::string& role);

/// Whether steps beyond the schedule's would have the rate 0.
bool ends_at_zero(const OptimizerConfig& config);

/// `outer_steps`: over which the rate changes; `rate`: optimizer steps in one outer iteration.
OptimizerOptions optimizer_options(const OptimizerConfig& config, std::int64_t outer_steps,
                                   std::int64_t rate);

}  // namespace voxot
