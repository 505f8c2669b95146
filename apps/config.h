#pragma once
// The config of a run: one typed struct, read strictly from TOML and written back fully resolved.
#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "datasets/dataset.h"
#include "kernels/check.h"

namespace voxot {

/// [solver]: neural optimal transport as algorithms.md gives it. A step is one outer iteration.
struct SolverConfig {
  std::string kind = "neural_ot";
  std::string form = "strong";      // strong | weak
  std::string cost = "quadratic";   // quadratic (strong) | weak_quadratic (weak); defaulted from the form
  std::int64_t inner_steps = 4;     // K_T: transport steps for each potential step
  std::int64_t steps = 200;         // outer iterations
  std::int64_t schedule_steps = 0;  // over which the optimizers' rates change; 0: the steps first given
  std::int64_t batch_size = 16;
  double gamma = 0.66;               // weak: the final γ
  std::int64_t gamma_steps = 25000;  // weak: γ rises linearly from 0 over so many outer iterations
  std::int64_t noise_samples = 8;    // weak: Z, noise draws for each source sample
  double noise_std = 0.1;            // weak: standard deviation of the noise
  std::int64_t noise_cells = 0;     // weak: along each axis, cells that share a number; 0: each voxel its own
  std::int64_t noise_channels = 0;  // appended to the map's input; defaults to 1 in the weak form
  double ema = 0.99;                // decay of the map's averaged weights; 0: none
  std::int64_t seed = 0;
  std::string precision = "auto";  // auto | fp32 | tf32 (cuda) | bf16
  double source_noise = 0;         // standard deviation of noise on x in transport steps; 0: none
  double gradient_penalty = 0;     // λ of ½·λ·D·E‖∇f‖² at mapped and real samples; 0: none
  double drift_penalty = 0;        // ε of ε·E f² at mapped and real samples; 0: none
  std::string init_from;           // a run whose weights this one begins with
  bool freeze_batchnorm = true;    // the map's BatchNorm in evaluation mode in the potential step
};

/// Outer iterations over which linear and cosine rates change; beyond them the last rate holds.
inline std::int64_t schedule_steps(const SolverConfig& c) {
  return c.schedule_steps > 0 ? c.schedule_steps : c.steps;
}

/// [transport]: the network of the map T.
struct TransportConfig {
  std::string model = "unet3d";                     // unet3d | mlp
  std::int64_t base = 8;                            // unet3d: channels of the first level
  std::string normalisation = "batch";              // unet3d: batch | group | instance | none
  std::string upsampling = "nearest";               // unet3d: nearest | transposed
  bool residual = true;                             // T(x) = x + U(x)
  std::vector<std::int64_t> hidden{128, 128, 128};  // mlp: widths
  std::string activation = "relu";                  // mlp: relu | leaky_relu (0.2) | silu | softplus | tanh
  bool linear = false;                              // mlp: a linear map beside the layers
  std::string init = "default";                     // default (PyTorch's) | kaiming | xavier | normal
};

/// [potential]: the network of f.
struct PotentialConfig {
  std::string model = "resnet3d";                   // resnet3d | mlp
  std::int64_t nf = 16;                             // resnet3d: channels of the first level
  std::int64_t nf_max = 512;                        // resnet3d: the widest level
  double res_ratio = 0.1;                           // resnet3d: scale of a block's residual branch
  std::vector<std::int64_t> hidden{128, 128, 128};  // mlp: widths
  std::string activation = "relu";                  // mlp: as the map's
  bool quadratic = false;                           // mlp: a quadratic form beside the layers
  bool spectral_normalisation = false;              // every layer's weight over its largest singular value
  std::string init = "default";
};

/// [optimizer.transport], [optimizer.potential]. Schedules count the outer iterations of
/// solver.schedule_steps.
struct OptimizerConfig {
  std::string kind = "adam";  // adam | adamw | sgd | rmsprop
  double learning_rate = 1.5e-3;
  std::array<double, 2> betas{0.5, 0.999};  // adam, adamw
  double epsilon = 1e-8;
  double weight_decay = 1e-10;
  double momentum = 0;                   // sgd, rmsprop
  double alpha = 0.99;                   // rmsprop
  double clip_norm = 0;                  // largest norm of the whole gradient; 0: off
  std::string schedule = "linear";       // constant | linear | cosine | steps
  std::int64_t warmup_steps = 0;         // the rate rises linearly over so many outer iterations
  double final_scale = 0;                // linear, cosine: last rate / learning_rate
  std::vector<std::int64_t> milestones;  // steps: outer iterations after which the rate is multiplied
  double decay = 0.1;                    // steps: ... by this
};

/// [judge]: the classifier that scores mapped volumes, trained on the target's kind of data.
struct JudgeConfig {
  std::int64_t steps = 2000;
  std::int64_t width = 24;   // channels of its first level
  double required = 0.98;    // below this accuracy on real test volumes its verdict is refused
  std::vector<int> classes;  // digits that it tells apart; empty: all (a turned 9 is a 6)
  std::string file;          // where it is kept, for runs to share; empty: in the run's folder
};

/// [log]: every `*_every` counts outer iterations; 0 switches the thing off.
struct LogConfig {
  std::int64_t every = 5;
  std::int64_t samples_every = 100;
  std::int64_t validate_every = 50;
  std::int64_t validate_samples = 256;
  std::int64_t checkpoint_every = 50;
  std::int64_t keep_checkpoints = 2;
  std::string out;  // the run's folder; empty: chosen by `voxot train`
};

inline DatasetConfig of_role(const char* role) {
  DatasetConfig config;
  config.role = role;
  return config;
}

struct RunConfig {
  SolverConfig solver;
  TransportConfig transport;
  PotentialConfig potential;
  OptimizerConfig transport_optimizer;  // [optimizer.transport]
  OptimizerConfig potential_optimizer;  // [optimizer.potential]
  DatasetConfig source;
  DatasetConfig target = of_role("target");
  JudgeConfig judge;
  LogConfig log;

  /// Equal when every key of the resolved text is.
  friend bool operator==(const RunConfig& a, const RunConfig& b);
};

/// TOML text, and what stands for its file in messages.
struct ConfigText {
  std::string text;
  std::string name;
};

/// Reads a config from layers of TOML text: later ones win over earlier ones, key by key. Each override is
/// "dotted.key=value", the value as TOML or a bare word (a string); later ones win over earlier ones and over
/// the texts. Throws UsageError, in one line with file and line, for syntax errors, unknown keys (with the
/// nearest known one), wrong types, values out of range and settings that contradict each other.
RunConfig parse_config(std::span<const ConfigText> texts, const std::vector<std::string>& overrides = {});
/// Of one text.
RunConfig parse_config(std::string_view text, const std::string& name,
                       const std::vector<std::string>& overrides = {});

/// parse_config of files. Throws UsageError also for a missing, unreadable or oversized file.
RunConfig load_config(std::span<const std::filesystem::path> files,
                      const std::vector<std::string>& overrides = {});
/// Of one file.
RunConfig load_config(const std::filesystem::path& file, const std::vector<std::string>& overrides = {});

/// Checks what spans several keys (form and cost, source and target, ...), as parse_config does; for callers
/// that change a config afterwards. Throws UsageError.
void validate(const RunConfig& config);

/// Every key with its resolved value; parse_config of the result gives an equal config.
std::string to_toml(const RunConfig& config);

/// The first line in which the texts of two configs differ, as each has it; nothing where they are equal.
std::optional<std::array<std::string, 2>> first_difference(const RunConfig& a, const RunConfig& b);

}  // namespace voxot
