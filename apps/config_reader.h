#pragma once
// TOML text and overrides as a visitor that fills a RunConfig. Only this pair of files sees toml++.
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "apps/config_fields.h"

namespace voxot {

/// Fills each visited value that the text or an override gives, and leaves the others alone.
/// Every failure is a UsageError of one line: where it stands, what was expected, what came.
class ConfigReader final : public ConfigVisitor {
 public:
  /// Parses; throws for syntax errors, unknown keys and values where tables are expected. Later texts win
  /// over earlier ones, overrides over all.
  ConfigReader(std::span<const ConfigText> texts, const std::vector<std::string>& overrides);
  ~ConfigReader() override;
  ConfigReader(const ConfigReader&) = delete;
  ConfigReader& operator=(const ConfigReader&) = delete;

  /// Whether the text or an override names this dotted key.
  [[nodiscard]] bool gives(const std::string& key) const;

  void table(const char* path) override;
  void text(const char* key, std::string& value) override;
  void word(const char* key, std::string& value, std::initializer_list<const char*> allowed) override;
  void flag(const char* key, bool& value) override;
  void integer(const char* key, std::int64_t& value, Range range) override;
  void number(const char* key, double& value, Range range) override;
  void integers(const char* key, std::vector<std::int64_t>& value, Range range, int length) override;
  void numbers(const char* key, std::array<double, 2>& value, Range range) override;

 private:
  struct Entries;
  std::unique_ptr<Entries> entries_;
  std::string table_;
};

/// A string as a TOML basic string, quotes included: control characters are escaped, so it fits in one line.
std::string toml_string(std::string_view text);
/// A number as TOML writes a float, the shortest text that reads back the same.
std::string toml_float(double value);

}  // namespace voxot
