#include "apps/optimizer_config.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <functional>

#include "kernels/check.h"

namespace voxot {
namespace {

constexpr Choice<OptimizerKind> kOptimizers[] = {{"adam", OptimizerKind::adam},
                                                 {"adamw", OptimizerKind::adamw},
                                                 {"sgd", OptimizerKind::sgd},
                                                 {"rmsprop", OptimizerKind::rmsprop}};
constexpr Choice<ScheduleKind> kSchedules[] = {{"constant", ScheduleKind::constant},
                                               {"linear", ScheduleKind::linear},
                                               {"cosine", ScheduleKind::cosine},
                                               {"steps", ScheduleKind::steps}};

constexpr Range kCount{1, 1e9};
constexpr Range kCountOrZero{0, 1e9};
constexpr Range kDecay{0, 1, false, true};

bool falls(ScheduleKind kind) { return kind == ScheduleKind::linear || kind == ScheduleKind::cosine; }

}  // namespace

void visit(OptimizerConfig& c, const std::string& role, ConfigVisitor& v) {
  const std::string table = "optimizer." + role;
  const auto key = [&](const char* name, const char* words) {
    return fmt::format("{}.{} = {}", table, name, words);
  };
  v.table(table);
  visit_choice(v, "kind", c.kind, kOptimizers);
  const bool adam = c.kind == OptimizerKind::adam || c.kind == OptimizerKind::adamw;
  const bool sgd = c.kind == OptimizerKind::sgd;
  v.number("learning_rate", c.learning_rate, {0, 1000, true});
  {
    const When adams(v, adam, key("kind", "\"adam\" or \"adamw\""));
    v.numbers("betas", c.betas, kDecay);
  }
  {
    const When adaptive(v, !sgd, key("kind", "\"adam\", \"adamw\" or \"rmsprop\""));
    v.number("epsilon", c.epsilon, {0, 1, true});
  }
  v.number("weight_decay", c.weight_decay, {0, 1000});
  {
    const When momentum(v, !adam, key("kind", "\"sgd\" or \"rmsprop\""));
    v.number("momentum", c.momentum, kDecay);
  }
  {
    const When rmsprop(v, c.kind == OptimizerKind::rmsprop, key("kind", "\"rmsprop\""));
    v.number("alpha", c.alpha, kDecay);
  }
  v.number("clip_norm", c.clip_norm, {0, 1e9});
  visit_choice(v, "schedule", c.schedule, kSchedules);
  v.integer("warmup_steps", c.warmup_steps, kCountOrZero);
  {
    const When falling(v, falls(c.schedule), key("schedule", "\"linear\" or \"cosine\""));
    v.number("final_scale", c.final_scale, {0, 1});
  }
  {
    const When stepped(v, c.schedule == ScheduleKind::steps, key("schedule", "\"steps\""));
    v.integers("milestones", c.milestones, kCount, -1);
    v.number("decay", c.decay, {0, 1, true});
  }
}

void check(const OptimizerConfig& c, const std::string& role) {
  if (c.schedule != ScheduleKind::steps) return;
  if (c.milestones.empty() ||
      !std::is_sorted(c.milestones.begin(), c.milestones.end(), std::less_equal<>())) {
    fail_usage("optimizer.{}.milestones: expected rising steps for schedule \"steps\", got [{}]", role,
               fmt::join(c.milestones, ", "));
  }
}

bool ends_at_zero(const OptimizerConfig& c) { return falls(c.schedule) && c.final_scale == 0; }

OptimizerOptions optimizer_options(const OptimizerConfig& c, std::int64_t outer_steps, std::int64_t rate) {
  OptimizerOptions o;
  o.params.kind = c.kind;
  o.params.beta1 = c.betas[0];
  o.params.beta2 = c.betas[1];
  o.params.epsilon = c.epsilon;
  o.params.weight_decay = c.weight_decay;
  o.params.momentum = c.momentum;
  o.params.alpha = c.alpha;
  o.learning_rate = c.learning_rate;
  o.clip_norm = c.clip_norm;
  o.schedule.kind = c.schedule;
  o.schedule.total = outer_steps * rate;
  o.schedule.warmup = c.warmup_steps * rate;
  o.schedule.final_scale = c.final_scale;
  o.schedule.decay = c.decay;
  for (const std::int64_t m : c.milestones) o.schedule.milestones.push_back(m * rate);
  return o;
}

}  // namespace voxot
