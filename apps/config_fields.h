#pragma once
// The one list of the keys of a config: reading, writing and the set of known keys all walk over it.
#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <vector>

#include "apps/config.h"
#include "apps/range.h"

namespace voxot {

/// Called once for each key, in the order of the written file.
class ConfigVisitor {
 public:
  virtual ~ConfigVisitor() = default;
  /// The keys that follow belong to this table ("optimizer.transport").
  virtual void table(const char* path) = 0;
  virtual void text(const char* key, std::string& value) = 0;
  virtual void word(const char* key, std::string& value, std::initializer_list<const char*> allowed) = 0;
  virtual void flag(const char* key, bool& value) = 0;
  virtual void integer(const char* key, std::int64_t& value, Range range) = 0;
  virtual void number(const char* key, double& value, Range range) = 0;
  /// `length` < 0: any length.
  virtual void integers(const char* key, std::vector<std::int64_t>& value, Range range, int length) = 0;
  virtual void numbers(const char* key, std::array<double, 2>& value, Range range) = 0;
};

/// Visits every key of the config.
void visit_config(RunConfig& config, ConfigVisitor& visitor);

/// The range of a numeric key ("source.noise"), for options that mean the same. Throws Error for other keys.
Range range_of_key(const std::string& key);

/// What other programs call a key: `word` is the last part of an unknown key, `key` the right one, whole or
/// its last part, or an option of the command.
struct KeySynonym {
  const char* word;
  const char* key;
};
std::span<const KeySynonym> key_synonyms();

}  // namespace voxot
