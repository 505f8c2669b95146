#include "apps/config.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <sstream>
#include <system_error>

#include "apps/config_fields.h"
#include "apps/config_reader.h"
#include "apps/dataset_config.h"

namespace voxot {
namespace {

constexpr std::streamsize kMostBytes = 65536;

class ConfigWriter final : public ConfigVisitor {
 public:
  std::string result;

  void table(const char* path) override {
    result += fmt::format("{}[{}]\n", result.empty() ? "" : "\n", path);
  }
  void text(const char* key, std::string& value) override { line(key, toml_string(value)); }
  void word(const char* key, std::string& value, std::initializer_list<const char*>) override {
    line(key, toml_string(value));
  }
  void flag(const char* key, bool& value) override { line(key, value ? "true" : "false"); }
  void integer(const char* key, std::int64_t& value, Range) override { line(key, fmt::format("{}", value)); }
  void number(const char* key, double& value, Range) override { line(key, toml_float(value)); }
  void integers(const char* key, std::vector<std::int64_t>& value, Range, int) override {
    line(key, fmt::format("[{}]", fmt::join(value, ", ")));
  }
  void numbers(const char* key, std::array<double, 2>& value, Range) override {
    line(key, fmt::format("[{}, {}]", toml_float(value[0]), toml_float(value[1])));
  }

 private:
  void line(const char* key, const std::string& value) { result += fmt::format("{} = {}\n", key, value); }
};

// Defaults that follow from other keys, where the user gave no value.
void resolve(RunConfig& config, const ConfigReader& reader) {
  const bool weak = config.solver.form == "weak";
  if (!reader.gives("solver.cost")) {
    config.solver.cost = weak ? "weak_quadratic" : "quadratic";
  }
  if (!reader.gives("solver.noise_channels")) {
    config.solver.noise_channels = weak ? 1 : 0;
  }
  resolve_datasets(config.source, config.target, reader);
}

void validate_solver(const SolverConfig& c) {
  const bool weak = c.form == "weak";
  const char* cost = weak ? "weak_quadratic" : "quadratic";
  if (c.cost != cost) {
    fail_usage("solver.cost: the {} form expects \"{}\", got \"{}\"", c.form, cost, c.cost);
  }
  if (weak && c.noise_channels < 1) {
    fail_usage("solver.noise_channels: the weak form expects at least 1, got {}", c.noise_channels);
  }
  if (weak && c.noise_samples < 2) {
    fail_usage("solver.noise_samples: the weak form's variance expects at least 2, got {}", c.noise_samples);
  }
  if (!weak && c.noise_channels != 0) {
    fail_usage("solver.noise_channels: the strong form expects 0, got {}", c.noise_channels);
  }
}

void validate_optimizer(const OptimizerConfig& c, const char* table) {
  if (!std::is_sorted(c.milestones.begin(), c.milestones.end(), std::less_equal<>())) {
    fail_usage("{}.milestones: expected rising steps, got [{}]", table, fmt::join(c.milestones, ", "));
  }
  if ((c.schedule == "steps") == c.milestones.empty()) {
    fail_usage(
        "{}.milestones: expected with schedule \"steps\", and only there; got [{}] with schedule \"{}\"",
        table, fmt::join(c.milestones, ", "), c.schedule);
  }
}

// A judge that does not know a class gives its volumes to one that it knows, perhaps the target's.
void validate_judge(const RunConfig& config) {
  const std::vector<int>& known = config.judge.classes;
  if (known.empty()) return;
  for (const DatasetConfig* data : {&config.source, &config.target}) {
    if (!has_digits(*data)) continue;
    for (const int digit : data->classes) {
      if (std::find(known.begin(), known.end(), digit) == known.end()) {
        fail_usage("judge.classes: expected all classes of source and target, got [{}] without {}",
                   fmt::join(known, ", "), digit);
      }
    }
  }
}

}  // namespace

void validate(const RunConfig& config) {
  validate_solver(config.solver);
  if (config.potential.nf_max < config.potential.nf) {
    fail_usage("potential.nf_max: expected at least potential.nf, {}, got {}", config.potential.nf,
               config.potential.nf_max);
  }
  validate_optimizer(config.transport_optimizer, "optimizer.transport");
  validate_optimizer(config.potential_optimizer, "optimizer.potential");
  validate_datasets(config.source, config.target);
  validate_judge(config);
  const std::int64_t cells = config.solver.noise_cells;
  if (cells > 0 && config.source.dataset != "npy" && config.source.resolution % cells != 0) {
    fail_usage("solver.noise_cells: expected a divisor of the resolution {}, got {}",
               config.source.resolution, cells);
  }
}

RunConfig parse_config(std::span<const ConfigText> texts, const std::vector<std::string>& overrides) {
  ConfigReader reader(texts, overrides);
  RunConfig config;
  visit_config(config, reader);
  resolve(config, reader);
  try {
    validate(config);
  } catch (const UsageError& error) {
    fail_usage("{}: {}", texts.back().name, error.what());
  }
  return config;
}

RunConfig parse_config(std::string_view text, const std::string& name,
                       const std::vector<std::string>& overrides) {
  const ConfigText one{std::string(text), name};
  return parse_config(std::span(&one, 1), overrides);
}

namespace {

std::string read_config_text(const std::filesystem::path& file) {
  std::error_code error;
  const auto status = std::filesystem::status(file, error);
  if (!std::filesystem::exists(status)) {
    fail_usage("{}: no such config file", file.string());
  }
  if (std::filesystem::is_directory(status)) {
    fail_usage("{}: expected a config file, got a directory", file.string());
  }
  std::ifstream stream(file, std::ios::binary);
  std::string text(kMostBytes + 1, '\0');
  stream.read(text.data(), kMostBytes + 1);
  if (stream.gcount() > kMostBytes) {
    fail_usage("{}: expected a config of at most {} bytes, got more", file.string(), kMostBytes);
  }
  if (!stream.eof() || stream.bad()) {
    fail_usage("{}: cannot read the config file", file.string());
  }
  text.resize(static_cast<std::size_t>(stream.gcount()));
  return text;
}

}  // namespace

RunConfig load_config(std::span<const std::filesystem::path> files,
                      const std::vector<std::string>& overrides) {
  std::vector<ConfigText> texts;
  for (const std::filesystem::path& file : files) texts.push_back({read_config_text(file), file.string()});
  return parse_config(texts, overrides);
}

RunConfig load_config(const std::filesystem::path& file, const std::vector<std::string>& overrides) {
  return load_config(std::span(&file, 1), overrides);
}

std::string to_toml(const RunConfig& config) {
  RunConfig copy = config;
  ConfigWriter writer;
  visit_config(copy, writer);
  return writer.result;
}

bool operator==(const RunConfig& a, const RunConfig& b) { return to_toml(a) == to_toml(b); }

std::optional<std::array<std::string, 2>> first_difference(const RunConfig& a, const RunConfig& b) {
  std::istringstream left(to_toml(a));
  std::istringstream right(to_toml(b));
  std::array<std::string, 2> line;
  while (std::getline(left, line[0]) && std::getline(right, line[1])) {
    if (line[0] != line[1]) return line;
  }
  return std::nullopt;
}

}  // namespace voxot
