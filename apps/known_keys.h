#pragma once
// What a key that no config has was probably meant to be.
#include <string>
#include <string_view>
#include <vector>

#include "apps/config_fields.h"

namespace voxot {

/// All keys and tables that a config may have, of every kind of solver.
class KnownKeys final : public ConfigVisitor {
 public:
  KnownKeys();

  [[nodiscard]] bool has_key(const std::string& key) const;
  /// A table, or one that holds tables ("optimizer").
  [[nodiscard]] bool has_table(const std::string& path) const;
  /// "did you mean \"solver.steps\"?": by meaning (key_synonyms), then by letters; far from everything, the
  /// tables that there are.
  [[nodiscard]] std::string suggest(std::string_view unknown) const;

  void table(const std::string& path) override;
  void text(const char* key, std::string&) override { add(key); }
  void word(const char* key, std::string&, std::span<const char* const>) override { add(key); }
  void flag(const char* key, bool&) override { add(key); }
  void integer(const char* key, std::int64_t&, Range) override { add(key); }
  void number(const char* key, double&, Range) override { add(key); }
  void integers(const char* key, std::vector<std::int64_t>&, Range, int) override { add(key); }
  void numbers(const char* key, std::array<double, 2>&, Range) override { add(key); }

 private:
  void add(const char* key);
  /// The keys of this name, whole or its last part: that of the same table, else all of them.
  [[nodiscard]] std::vector<std::string> named(std::string_view name, std::string_view table) const;
  [[nodiscard]] std::vector<std::string> similar(std::string_view unknown) const;

  std::string table_;
  std::vector<std::string> tables_;
  std::vector<std::string> keys_;
};

}  // namespace voxot
