// voxot: the command with the solvers that it comes with.
#include "apps/commands.h"

int main(int argc, char** argv) { return voxot::command_main(argc, argv); }
