#pragma once
// TOML text and overrides as a visitor that fills a RunConfig. Only this pair of files sees toml++.
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "apps/config_fields.h"

namespace voxot {

/// A value that the user gave, and where.
struct GivenValue;

/// Fills each visited value that the texts or overrides give, and leaves the others alone.
/// Every failure is a UsageError of one line: where it stands, what was expected, what came.
class ConfigReader final : public ConfigVisitor {
 public:
  ConfigReader();
  ~ConfigReader() override;
  ConfigReader(const ConfigReader&) = delete;
  ConfigReader& operator=(const ConfigReader&) = delete;

  /// A layer, which wins over earlier ones. Throws for syntax errors, unknown keys and values where tables
  /// are expected.
  void add(const ConfigText& text);
  /// All overrides are one layer; later ones win.
  void add(const std::vector<std::string>& overrides);

  /// Begins a walk over the config's keys.
  void begin();
  /// After a walk over a config whose values are those of the layers: throws where a key of the last layer
  /// has no effect in it; of a text in the old form, which gives every key, such keys are passed over.
  void check_effects(const std::string& kind) const;

  /// Whether a text or an override names this dotted key.
  [[nodiscard]] bool gives(const std::string& key) const;

  void table(const std::string& path) override;
  void text(const char* key, std::string& value) override;
  void word(const char* key, std::string& value, std::span<const char* const> allowed) override;
  void flag(const char* key, bool& value) override;
  void integer(const char* key, std::int64_t& value, Range range) override;
  void number(const char* key, double& value, Range range) override;
  void integers(const char* key, std::vector<std::int64_t>& value, Range range, int length) override;
  void numbers(const char* key, std::array<double, 2>& value, Range range) override;

 private:
  struct Entries;
  /// What is given for a key of this table that has an effect; null where nobody gives anything.
  const GivenValue* visit(const std::string& path);

  std::unique_ptr<Entries> entries_;
  std::string table_;
  std::map<std::string, std::string> visited_;  // of this walk: key → what it lacks to have an effect
};

/// A string as a TOML basic string, quotes included: control characters are escaped, so it fits in one line.
std::string toml_string(std::string_view text);
/// A number as TOML writes a float, the shortest text that reads back the same.
std::string toml_float(double value);

}  // namespace voxot
