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
constexpr Range kWidth{1, 65536};
constexpr Range kUnit{0, 1};
constexpr Range kDecay{0, 1, false, true};

void visit(SolverConfig& c, ConfigVisitor& v) {
  v.table("solver");
  v.word("kind", c.kind, {"neural_ot"});
  v.word("form", c.form, {"strong", "weak"});
  v.word("cost", c.cost, {"quadratic", "weak_quadratic"});
  v.integer("inner_steps", c.inner_steps, {1, 100000});
  v.integer("steps", c.steps, kSteps);
  v.integer("schedule_steps", c.schedule_steps, kCountOrZero);
  v.integer("batch_size", c.batch_size, {1, 65536});
  v.number("gamma", c.gamma, {0, 10});
  v.integer("gamma_steps", c.gamma_steps, kCountOrZero);
  v.integer("noise_samples", c.noise_samples, {1, 1024});
  v.number("noise_std", c.noise_std, {0, 1e6, true});
  v.integer("noise_cells", c.noise_cells, {0, 256});
  v.integer("noise_channels", c.noise_channels, {0, 1024});
  v.number("ema", c.ema, kDecay);
  v.integer("seed", c.seed, kWholeNumbers);
  v.word("precision", c.precision, {"auto", "fp32", "tf32", "bf16"});
  v.number("source_noise", c.source_noise, {0, 1e6});
  v.number("gradient_penalty", c.gradient_penalty, {0, 1e6});
  v.number("drift_penalty", c.drift_penalty, {0, 1e6});
  v.text("init_from", c.init_from);
  v.flag("freeze_batchnorm", c.freeze_batchnorm);
}

void visit(TransportConfig& c, ConfigVisitor& v) {
  v.table("transport");
  v.word("model", c.model, {"unet3d", "mlp"});
  v.integer("base", c.base, {1, 4096});
  v.word("normalisation", c.normalisation, {"batch", "group", "instance", "none"});
  v.word("upsampling", c.upsampling, {"nearest", "transposed"});
  v.flag("residual", c.residual);
  v.integers("hidden", c.hidden, kWidth, -1);
  v.word("activation", c.activation, {"relu", "leaky_relu", "silu", "softplus", "tanh"});
  v.flag("linear", c.linear);
  v.word("init", c.init, {"default", "kaiming", "xavier", "normal"});
}

void visit(PotentialConfig& c, ConfigVisitor& v) {
  v.table("potential");
  v.word("model", c.model, {"resnet3d", "mlp"});
  v.integer("nf", c.nf, {1, 4096});
  v.integer("nf_max", c.nf_max, {1, 4096});
  v.number("res_ratio", c.res_ratio, {0, 100});
  v.integers("hidden", c.hidden, kWidth, -1);
  v.word("activation", c.activation, {"relu", "leaky_relu", "silu", "softplus", "tanh"});
  v.flag("quadratic", c.quadratic);
  v.flag("spectral_normalisation", c.spectral_normalisation);
  v.word("init", c.init, {"default", "kaiming", "xavier", "normal"});
}

void visit(OptimizerConfig& c, const char* table, ConfigVisitor& v) {
  v.table(table);
  v.word("kind", c.kind, {"adam", "adamw", "sgd", "rmsprop"});
  v.number("learning_rate", c.learning_rate, {0, 1000, true});
  v.numbers("betas", c.betas, kDecay);
  v.number("epsilon", c.epsilon, {0, 1, true});
  v.number("weight_decay", c.weight_decay, {0, 1000});
  v.number("momentum", c.momentum, kDecay);
  v.number("alpha", c.alpha, kDecay);
  v.number("clip_norm", c.clip_norm, {0, 1e9});
  v.word("schedule", c.schedule, {"constant", "linear", "cosine", "steps"});
  v.integer("warmup_steps", c.warmup_steps, kCountOrZero);
  v.number("final_scale", c.final_scale, kUnit);
  v.integers("milestones", c.milestones, kCount, -1);
  v.number("decay", c.decay, {0, 1, true});
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

  void table(const char* path) override { table_ = path; }
  void text(const char*, std::string&) override {}
  void word(const char*, std::string&, std::initializer_list<const char*>) override {}
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
  RunConfig defaults;
  visit_config(defaults, finder);
  VOXOT_CHECK(finder.found.has_value(), "config: {} has no range", key);
  return *finder.found;
}

void visit_config(RunConfig& config, ConfigVisitor& visitor) {
  visit(config.solver, visitor);
  visit(config.transport, visitor);
  visit(config.potential, visitor);
  visit(config.transport_optimizer, "optimizer.transport", visitor);
  visit(config.potential_optimizer, "optimizer.potential", visitor);
  visit(config.source, "source", visitor);
  visit(config.target, "target", visitor);
  visit(config.judge, visitor);
  visit(config.log, visitor);
}

}  // namespace voxot
