// The command with one more solver.
#include "apps/commands.h"
#include "tests/toy/toy_kind.h"

int main(int argc, char** argv) {
  voxot::solver_kinds().push_back(voxot::toy::toy_kind());
  return voxot::command_main(argc, argv);
}
