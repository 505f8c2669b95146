#pragma once
// The one list of the keys of a config.
#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "apps/config.h"
#include "apps/config_visitor.h"

namespace voxot {

/// Visits every key of the config's kind of solver. A visitor that changes solver.kind changes what follows.
void visit_config(RunConfig& config, ConfigVisitor& visitor);
/// Visits every key of every kind; those that kinds share once for each.
void visit_all_kinds(ConfigVisitor& visitor);

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
