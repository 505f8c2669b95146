#pragma once
// The config of a run: one typed struct, read strictly from TOML and written back fully resolved.
#include <array>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "apps/solver_kinds.h"
#include "datasets/dataset.h"
#include "kernels/check.h"

namespace voxot {

/// [solver]: what every kind has. A step is one outer iteration.
struct SolverConfig {
  std::string kind;                 // of apps/solver_kinds.h
  std::int64_t steps = 200;         // outer iterations
  std::int64_t schedule_steps = 0;  // over which the optimizers' rates change; 0: the steps first given
  std::int64_t batch_size = 16;
  std::int64_t seed = 0;
  std::string precision = "auto";  // auto | fp32 | tf32 (cuda) | bf16
  std::string init_from;           // a run whose weights this one begins with
};

/// Outer iterations over which linear and cosine rates change; beyond them the last rate holds.
inline std::int64_t schedule_steps(const SolverConfig& c) {
  return c.schedule_steps > 0 ? c.schedule_steps : c.steps;
}

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

/// The settings of the kind that is chosen; a copy is its own.
class KindSettings {
 public:
  explicit KindSettings(std::unique_ptr<SolverSettings> settings) : settings_(std::move(settings)) {}
  KindSettings(const KindSettings& other) : settings_(other.settings_->clone()) {}
  KindSettings(KindSettings&&) noexcept = default;
  KindSettings& operator=(KindSettings other) noexcept {
    settings_ = std::move(other.settings_);
    return *this;
  }
  ~KindSettings() = default;
  SolverSettings* operator->() { return settings_.get(); }
  const SolverSettings* operator->() const { return settings_.get(); }
  /// As the kind's own type.
  template <class Settings>
  [[nodiscard]] const Settings& as() const {
    return dynamic_cast<const Settings&>(*settings_);
  }

 private:
  std::unique_ptr<SolverSettings> settings_;
};

struct RunConfig {
  /// Defaults, of the first kind in the table.
  RunConfig();

  SolverConfig solver;
  KindSettings settings;  // of solver.kind: its keys, [ROLE] and [optimizer.ROLE]
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
/// nearest known one), keys that have no effect beside those of their own and earlier layers, wrong types,
/// values out of range and settings that contradict each other. A text that gives every key whether it has an
/// effect or not, as resolved configs once did, is read without those that have none.
RunConfig parse_config(std::span<const ConfigText> texts, const std::vector<std::string>& overrides = {});
/// Of one text.
RunConfig parse_config(std::string_view text, const std::string& name,
                       const std::vector<std::string>& overrides = {});

/// parse_config of files. Throws UsageError also for a missing, unreadable or oversized file.
RunConfig load_config(std::span<const std::filesystem::path> files,
                      const std::vector<std::string>& overrides = {});
/// Of one file.
RunConfig load_config(const std::filesystem::path& file, const std::vector<std::string>& overrides = {});

/// Every key that has an effect, with its resolved value; parse_config of the result gives an equal config.
std::string to_toml(const RunConfig& config);

/// The value of a key as to_toml() writes it ("\"weak\"", "0.1"); nothing for a key that has no effect.
std::optional<std::string> value_of(const RunConfig& config, const std::string& key);

/// Which keys count in a comparison.
using CountsKey = std::function<bool(const std::string& key)>;
/// The first key in which two configs differ, as a line of each ("nf = 4"); nothing where they are equal. A
/// key that only one of them has is compared where both have all others alike.
std::optional<std::array<std::string, 2>> first_difference(
    const RunConfig& a, const RunConfig& b,
    const CountsKey& counts = [](const std::string&) { return true; });

/// Whether the key describes a network of the solver, but for its initial values ("transport.base").
bool describes_network(const RunConfig& config, const std::string& key);

}  // namespace voxot
