#include "apps/solver_kinds.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "kernels/check.h"

namespace voxot {

std::vector<SolverKind>& solver_kinds() {
  static std::vector<SolverKind> kinds{
      {"neural_ot", neural_ot_settings},
  };
  return kinds;
}

std::unique_ptr<SolverSettings> settings_of(const std::string& kind) {
  std::vector<const char*> names;
  for (const SolverKind& known : solver_kinds()) {
    if (kind == known.name) return known.settings();
    names.push_back(known.name);
  }
  fail_usage("solver.kind: expected \"{}\", got \"{}\"", fmt::join(names, "\" or \""), kind);
}

}  // namespace voxot
