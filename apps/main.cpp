// voxot: the command. Reads the command line, runs one subcommand, and turns every failure into one line on
// stderr: exit status 2 for wrong usage or a wrong config, 1 for the rest.
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <new>
#include <string>

#include "apps/commands.h"
#include "engine/interrupt.h"
#include "kernels/check.h"

namespace {

int report(std::string message, int status) {
  for (char& c : message) {
    if (static_cast<unsigned char>(c) < 0x20) {
      c = ' ';
    }
  }
  std::fputs(("voxot: error: " + message + "\n").c_str(), stderr);
  return status;
}

// libgomp's threads spin for milliseconds between parallel regions, which makes a run 50 times slower where
// other work shares the cores. It reads its settings when it is loaded, so a gentler one takes a second
// start.
void limit_spinning(char** argv) {
  if (std::getenv("OMP_WAIT_POLICY") != nullptr || std::getenv("GOMP_SPINCOUNT") != nullptr) {
    return;
  }
  setenv("GOMP_SPINCOUNT", "20000", 1);
  // By its own name, so that `ps` shows it; goes on below when this fails.
  std::error_code unknown;
  execv(std::filesystem::read_symlink("/proc/self/exe", unknown).c_str(), argv);
}

int run(int argc, char** argv) {
  CLI::App app(
      "Learns optimal transport maps between voxel volumes.\n"
      "Example: voxot train configs/demo.toml --out runs/demo",
      "voxot");
  app.require_subcommand(1);
  app.set_version_flag("--version", std::string("voxot ") + voxot::kVersion);
  voxot::add_train(app);
  voxot::add_evaluate(app);
  voxot::add_map(app);
  voxot::add_render(app);
  voxot::add_report(app);
  voxot::add_pair(app);
  voxot::add_data(app);
  voxot::add_info(app);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& success) {  // --help and --version
    return app.exit(success);
  } catch (const CLI::ParseError& error) {
    const auto parsed = app.get_subcommands();
    const std::string name = parsed.empty() ? "voxot" : "voxot " + parsed.front()->get_name();
    const bool unknown = parsed.empty() && !app.remaining().empty();
    return report(
        fmt::format("{} (see {} --help)",
                    unknown ? "unknown subcommand or option " + app.remaining().front() : error.what(), name),
        2);
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  limit_spinning(argv);
  voxot::watch_signals();
  try {
    return run(argc, argv);
  } catch (const voxot::ExitStatus& status) {
    return status.code;
  } catch (const voxot::UsageError& error) {
    return report(error.what(), 2);
  } catch (const std::bad_alloc&) {
    return report("out of memory", 1);
  } catch (const std::exception& error) {
    return report(error.what(), 1);
  }
}
