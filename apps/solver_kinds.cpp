#include "apps/solver_kinds.h"

namespace voxot {

std::vector<SolverKind>& solver_kinds() {
  static std::vector<SolverKind> kinds{
      neural_ot_kind(),
  };
  return kinds;
}

}  // namespace voxot
