#pragma once
// The subcommands of voxot: each in the file of its name, each adds itself to the command line.
#include <CLI/CLI.hpp>

#include "apps/range.h"

namespace voxot {

/// "0.2.0": project(VERSION) in CMakeLists.txt.
extern const char* const kVersion;

/// Thrown by a subcommand that ends with a status other than 0 without an error message (130 after SIGINT).
struct ExitStatus {
  int code;
};

/// The whole command; what a program's main() returns. A program with solvers of its own adds them to
/// solver_kinds() before.
int command_main(int argc, char** argv);

void add_train(CLI::App& app);
void add_evaluate(CLI::App& app);
void add_map(CLI::App& app);
void add_pair(CLI::App& app);
void add_render(CLI::App& app);
void add_report(CLI::App& app);
void add_data(CLI::App& app);
void add_info(CLI::App& app);

}  // namespace voxot
