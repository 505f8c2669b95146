#include "apps/config.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <system_error>

#include "apps/config_fields.h"
#include "apps/config_reader.h"
#include "apps/dataset_config.h"
#include "kernels/sizes.h"

namespace voxot {
namespace {

constexpr std::streamsize kMostBytes = 65536;

/// A key that has an effect, and its value.
struct Line {
  std::string path;  // "solver.steps"
  std::string key;   // "steps"
  std::string value;
  [[nodiscard]] std::string text() const { return key + " = " + value; }
};
using Lines = std::vector<Line>;

class ConfigWriter final : public ConfigVisitor {
 public:
  std::string result;

  void table(const std::string& path) override {
    table_ = path;
    result += fmt::format("{}[{}]\n", result.empty() ? "" : "\n", path);
  }
  void text(const char* key, std::string& value) override { line(key, toml_string(value)); }
  void word(const char* key, std::string& value, std::span<const char* const>) override {
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

  [[nodiscard]] const Lines& lines() const { return lines_; }

 private:
  void line(const char* key, const std::string& value) {
    if (!effective()) return;
    result += fmt::format("{} = {}\n", key, value);
    lines_.push_back({table_ + "." + key, key, value});
  }

  std::string table_;
  Lines lines_;
};

Lines lines_of(const RunConfig& config) {
  RunConfig copy = config;
  ConfigWriter writer;
  visit_config(copy, writer);
  return writer.lines();
}

const Line* find(const Lines& lines, const std::string& path) {
  const auto found = std::find_if(lines.begin(), lines.end(), [&](const Line& l) { return l.path == path; });
  return found == lines.end() ? nullptr : &*found;
}

/// Walks twice: whether a key has an effect may depend on keys that the first walk reads later.
void read(ConfigReader& reader, RunConfig& config) {
  for (int walk = 0; walk < 2; ++walk) {
    reader.begin();
    visit_config(config, reader);
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

/// What spans several keys.
void check(const RunConfig& config) {
  config.settings->check(config);
  for (const std::string& role : config.settings->roles()) {
    if (const OptimizerConfig* optimizer = config.settings->optimizer(role)) check(*optimizer, role);
  }
  validate_datasets(config.source, config.target);
  validate_judge(config);
}

}  // namespace

const SolverKind& solver_kind(const std::string& name) {
  std::vector<const char*> names;
  for (const SolverKind& kind : solver_kinds()) {
    if (name == kind.name) return kind;
    names.push_back(kind.name);
  }
  fail_usage("solver.kind: expected \"{}\", got \"{}\"", fmt::join(names, "\" or \""), name);
}

RunConfig::RunConfig() : settings(solver_kinds().front().settings()) {
  solver.kind = solver_kinds().front().name;
}

RunConfig parse_config(std::span<const ConfigText> texts, const std::vector<std::string>& overrides) {
  ConfigReader reader;
  // Checks each layer with those before it: a key is no mistake because a later layer takes away its effect.
  const auto check_layer = [&reader] {
    RunConfig config;
    read(reader, config);
    reader.check_effects(config.solver.kind);
  };
  for (const ConfigText& text : texts) {
    reader.add(text);
    check_layer();
  }
  reader.add(overrides);
  check_layer();
  RunConfig config;
  read(reader, config);
  config.settings->resolve([&reader](const std::string& key) { return reader.gives(key); });
  resolve_datasets(config.source, config.target, reader);
  try {
    check(config);
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
  text.resize(to_size(stream.gcount()));
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

std::optional<std::string> value_of(const RunConfig& config, const std::string& key) {
  const Lines lines = lines_of(config);
  const Line* line = find(lines, key);
  return line == nullptr ? std::nullopt : std::optional(line->value);
}

bool operator==(const RunConfig& a, const RunConfig& b) { return to_toml(a) == to_toml(b); }

std::optional<std::array<std::string, 2>> first_difference(const RunConfig& a, const RunConfig& b,
                                                           const CountsKey& counts) {
  const Lines left = lines_of(a);
  const Lines right = lines_of(b);
  for (const Line& l : left) {
    const Line* r = find(right, l.path);
    if (r != nullptr && r->value != l.value && counts(l.path)) return std::array{l.text(), r->text()};
  }
  for (const Line& l : left) {
    if (find(right, l.path) == nullptr && counts(l.path)) return std::array{l.text(), "no " + l.key};
  }
  for (const Line& r : right) {
    if (find(left, r.path) == nullptr && counts(r.path)) return std::array{"no " + r.key, r.text()};
  }
  return std::nullopt;
}

bool describes_network(const RunConfig& config, const std::string& key) {
  const std::string table = key.substr(0, key.rfind('.'));
  const auto roles = config.settings->roles();
  return !key.ends_with(".init") && std::find(roles.begin(), roles.end(), table) != roles.end();
}

}  // namespace voxot
