// The command: reads the command line, runs one subcommand, and turns every failure into one line on stderr:
// exit status 2 for wrong usage or a wrong config, 1 for the rest.
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <filesystem>
#include <iostream>
#include <new>
#include <string>
#include <system_error>

#include "apps/commands.h"
#include "engine/interrupt.h"
#include "engine/progress.h"
#include "kernels/check.h"

namespace {

int report(std::string message, int status) {
  for (char& c : message) {
    if (static_cast<unsigned char>(c) < 0x20) {
      c = ' ';
    }
  }
  voxot::note("error: " + message);
  return status;
}

/// A stream that is closed would lend its number to the next file that is opened, and output would land
/// there. It becomes one that takes nothing in (stdout: writes to it fail, as the user is told in the end) or
/// loses it (stderr). A reader of a pipe that goes away is an error of that write, not the end of a training.
void prepare_streams() {
  for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (fcntl(stream, F_GETFD) >= 0) continue;
    // The lowest free number is this stream's.
    static_cast<void>(open("/dev/null", stream == STDERR_FILENO ? O_WRONLY : O_RDONLY));
  }
  std::signal(SIGPIPE, SIG_IGN);
}

/// The status of a command that ended with `status`, once its output is out: 1 where stdout is full or
/// closed, and without a word that of SIGPIPE where its reader has gone (`voxot info | head -1`). `failed`:
/// the error of an earlier write, or 0.
int finish_output(int status, int failed) {
  errno = 0;
  if (!std::cout.flush() || std::fflush(stdout) != 0 || std::ferror(stdout) != 0) {
    if (failed == 0) failed = errno != 0 ? errno : EIO;
  }
  if (failed == 0) return status;
  if (failed == EPIPE) return status != 0 ? status : 128 + SIGPIPE;
  return report(fmt::format("cannot write to standard output: {}", std::strerror(failed)),
                status != 0 ? status : 1);
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

namespace voxot {

int command_main(int argc, char** argv) {
  prepare_streams();
  limit_spinning(argv);
  voxot::watch_signals();
  int status = 0;
  int failed = 0;
  try {
    status = run(argc, argv);
  } catch (const voxot::ExitStatus& exit) {
    status = exit.code;
  } catch (const voxot::UsageError& error) {
    status = report(error.what(), 2);
  } catch (const std::bad_alloc&) {
    status = report("out of memory", 1);
  } catch (const std::system_error& error) {
    failed = std::ferror(stdout) != 0 ? error.code().value() : 0;
    if (failed == 0) status = report(error.what(), 1);
  } catch (const std::exception& error) {
    status = report(error.what(), 1);
  }
  return finish_output(status, failed);
}

}  // namespace voxot
