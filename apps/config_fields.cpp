#include "apps/config_fields.h"

#include <optional>

#include "apps/dataset_config.h"
#include "engine/run_log.h"
#include "kernels/check.h"

namespace voxot {
namespace {

constexpr Range kSteps{1, static_cast<double>(kMostSteps)};
constexpr Range kCount{1, 1e9};
constexpr Range kCountOrZero{0, 1e9};
constexpr Range kUnit{0, 1};

void visit_solver(RunConfig& config, ConfigVisitor& v) {
  SolverConfig& c = config.solver;
  v.table("solver");
  std::vector<const char*> kinds;
  for (const SolverKind& kind : solver_kinds()) kinds.push_back(kind.name);
  const std::string before = c.kind;
  v.word("kind", c.kind, kinds);
  if (c.kind != before) config.settings = KindSettings(solver_kind(c.kind).settings());
  v.integer("steps", c.steps, kSteps);
  v.integer("schedule_steps", c.schedule_steps, kCountOrZero);
  v.integer("batch_size", c.batch_size, {1, 65536});
  v.integer("seed", c.seed, kWholeNumbers);
  v.word("precision", c.precision, kPrecisions);
  v.text("init_from", c.init_from);
  config.settings->visit_solver(v);
}

void visit(JudgeConfig& c, ConfigVisitor& v) {
  v.table("judge");
  v.integer("steps", c.steps, kCount);
  v.integer("width", c.width, {1, 4096});
  v.number("required", c.required, kUnit);
  visit_classes("classes", c.classes, {0, 9}, v);
  v.text("file", c.file);
}

void visit(LogConfig& c, ConfigVisitor& v) {
  v.table("log");
  v.integer("every", c.every, kCountOrZero);
  v.integer("samples_every", c.samples_every, kCountOrZero);
  v.integer("validate_every", c.validate_every, kCountOrZero);
  v.integer("validate_samples", c.validate_samples, {2, 1e6});
  v.integer("checkpoint_every", c.checkpoint_every, kCountOrZero);
  v.integer("keep_checkpoints", c.keep_checkpoints, kCount);
  v.text("out", c.out);
}

constexpr KeySynonym kSynonyms[] = {
    {"lr", "learning_rate"},
    {"rate", "learning_rate"},
    {"step_size", "learning_rate"},
    {"optimizer", "optimizer.transport.kind"},
    {"optimiser", "optimizer.transport.kind"},
    {"beta1", "betas"},
    {"beta2", "betas"},
    {"eps", "epsilon"},
    {"wd", "weight_decay"},
    {"l2", "weight_decay"},
    {"clip", "clip_norm"},
    {"grad_clip", "clip_norm"},
    {"max_norm", "clip_norm"},
    {"scheduler", "schedule"},
    {"lr_schedule", "schedule"},
    {"lr_decay", "decay"},
    {"warmup", "warmup_steps"},
    {"epochs", "steps"},
    {"iterations", "steps"},
    {"iters", "steps"},
    {"max_steps", "steps"},
    {"num_steps", "steps"},
    {"k_t", "inner_steps"},
    {"t_iters", "inner_steps"},
    {"inner_iterations", "inner_steps"},
    {"batch", "batch_size"},
    {"bs", "batch_size"},
    {"random_seed", "seed"},
    {"dtype", "precision"},
    {"amp", "precision"},
    {"gp", "gradient_penalty"},
    {"lambda_gp", "gradient_penalty"},
    {"polyak", "ema"},
    {"moving_average", "ema"},
    {"pretrained", "init_from"},
    {"checkpoint", "init_from"},
    {"weights", "init_from"},
    {"architecture", "model"},
    {"arch", "model"},
    {"network", "model"},
    {"norm", "normalisation"},
    {"layers", "hidden"},
    {"nonlinearity", "activation"},
    {"spectral_norm", "spectral_normalisation"},
    {"name", "dataset"},
    {"type", "dataset"},
    {"data", "dataset"},
    {"file", "path"},
    {"filename", "path"},
    {"file_path", "path"},
    {"folder", "path"},
    {"digits", "classes"},
    {"labels", "classes"},
    {"size", "resolution"},
    {"image_size", "resolution"},
    {"angle", "rotation_degrees"},
    {"degrees", "rotation_degrees"},
    {"dim", "dimension"},
    {"shuffle", "order"},
    {"threshold", "required"},
    {"save_every", "checkpoint_every"},
    {"checkpoint_interval", "checkpoint_every"},
    {"eval_every", "validate_every"},
    {"val_every", "validate_every"},
    {"validation_every", "validate_every"},
    {"log_every", "every"},
    {"interval", "every"},
    {"output", "out"},
    {"out_dir", "out"},
    {"output_dir", "out"},
    {"directory", "out"},
    {"device", "--device"},
    {"gpu", "--device"},
    {"cuda", "--device"},
    {"threads", "--threads"},
    {"num_threads", "--threads"},
    {"num_workers", "--threads"},
    {"resume", "--resume"},
};

/// Looks for the range of one key.
class RangeFinder final : public ConfigVisitor {
 public:
  explicit RangeFinder(const std::string& wanted) : wanted_(wanted) {}
  std::optional<Range> found;

  void table(const std::string& path) override { table_ = path; }
  void text(const char*, std::string&) override {}
  void word(const char*, std::string&, std::span<const char* const>) override {}
  void flag(const char*, bool&) override {}
  void integer(const char* key, std::int64_t&, Range range) override { look(key, range); }
  void number(const char* key, double&, Range range) override { look(key, range); }
  void integers(const char* key, std::vector<std::int64_t>&, Range range, int) override { look(key, range); }
  void numbers(const char* key, std::array<double, 2>&, Range range) override { look(key, range); }

 private:
  void look(const char* key, Range range) {
    if (table_ + "." + key == wanted_) found = range;
  }
  std::string wanted_;
  std::string table_;
};

}  // namespace

std::span<const KeySynonym> key_synonyms() { return kSynonyms; }

Range range_of_key(const std::string& key) {
  RangeFinder finder(key);
  visit_all_kinds(finder);
  VOXOT_CHECK(finder.found.has_value(), "config: {} has no range", key);
  return *finder.found;
}

void visit_config(RunConfig& config, ConfigVisitor& visitor) {
  visit_solver(config, visitor);
  config.settings->visit_networks(visitor);
  for (const std::string& role : config.settings->roles()) {
    if (OptimizerConfig* optimizer = config.settings->optimizer(role)) visit(*optimizer, role, visitor);
  }
  visit(config.source, "source", visitor);
  visit(config.target, "target", visitor);
  visit(config.judge, visitor);
  visit(config.log, visitor);
}

void visit_all_kinds(ConfigVisitor& visitor) {
  for (const SolverKind& kind : solver_kinds()) {
    RunConfig config;
    config.solver.kind = kind.name;
    config.settings = KindSettings(kind.settings());
    visit_config(config, visitor);
  }
}

}  // namespace voxot
