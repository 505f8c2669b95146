#pragma once
// The tables [source] and [target] of a config: their keys, defaults and checks.
#include "apps/config_fields.h"
#include "apps/config_reader.h"
#include "datasets/kinds.h"

namespace voxot {

/// Visits the keys of one of the two tables.
void visit(DatasetConfig& config, const char* table, ConfigVisitor& visitor);
/// A list of classes; settings count in int, files hold 64 bits.
void visit_classes(const char* key, std::vector<int>& classes, Range range, ConfigVisitor& visitor);

/// Defaults that follow from other keys, where the user gave no value.
void resolve_datasets(DatasetConfig& source, DatasetConfig& target, const ConfigReader& reader);

/// Checks each table and what both must agree in. Throws UsageError, beginning with the key.
void validate_datasets(const DatasetConfig& source, const DatasetConfig& target);

}  // namespace voxot
