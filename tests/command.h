#pragma once
// The command as a process of its own, in a folder of its own.
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "tests/temp_directory.h"

namespace voxot::test {

namespace fs = std::filesystem;

inline std::string text_of(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

/// The command, started in a folder of its own; output goes to files there.
class Command {
 public:
  /// `program`: the file to run; empty: voxot.
  Command(const fs::path& folder, const std::vector<std::string>& arguments, const std::string& program = {})
      : folder_(folder) {
    pid_ = fork();
    REQUIRE(pid_ >= 0);
    if (pid_ != 0) return;
    std::vector<char*> argv;
    const char* moved = std::getenv("VOXOT_COMMAND");  // where the tests have moved since the build
    const std::string command = !program.empty() ? program : moved != nullptr ? moved : VOXOT_COMMAND;
    std::string name = "voxot";
    argv.push_back(name.data());
    std::vector<std::string> copies = arguments;
    for (std::string& a : copies) argv.push_back(a.data());
    argv.push_back(nullptr);
    const int out = open((folder / "stdout").c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    const int err = open((folder / "stderr").c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (chdir(folder.c_str()) != 0 || dup2(out, 1) < 0 || dup2(err, 2) < 0) _exit(99);
    execv(command.c_str(), argv.data());
    _exit(98);
  }
  void send(int signal) const { kill(pid_, signal); }
  /// Whether the process has come so far that it handles that signal by itself.
  [[nodiscard]] bool handles(int signal) const {
    const std::string status = text_of("/proc/" + std::to_string(pid_) + "/status");
    const std::size_t caught = status.find("SigCgt:");
    return status.starts_with("Name:\tvoxot\n") && caught != std::string::npos &&
           (std::stoull(status.substr(caught + 7), nullptr, 16) >> (signal - 1) & 1) == 1;
  }
  /// The exit status, or 128 + signal.
  int wait() const {
    int status = 0;
    REQUIRE(waitpid(pid_, &status, 0) == pid_);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
  [[nodiscard]] std::string err() const { return text_of(folder_ / "stderr"); }
  [[nodiscard]] std::string out() const { return text_of(folder_ / "stdout"); }

 private:
  fs::path folder_;
  pid_t pid_ = 0;
};

/// VOXOT_CPU of the commands that a test starts while this lives.
class ProcessorChoice {
 public:
  explicit ProcessorChoice(const char* value) {
    if (const char* before = std::getenv(kName)) before_ = before;
    setenv(kName, value, 1);
  }
  ~ProcessorChoice() {
    if (before_) {
      setenv(kName, before_->c_str(), 1);
    } else {
      unsetenv(kName);
    }
  }
  ProcessorChoice(const ProcessorChoice&) = delete;
  ProcessorChoice& operator=(const ProcessorChoice&) = delete;

 private:
  static constexpr const char* kName = "VOXOT_CPU";
  std::optional<std::string> before_;
};

inline constexpr const char* kTiny = R"(
[solver]
steps = 24
inner_steps = 2
batch_size = 2
precision = "fp32"
[transport]
base = 2
[potential]
nf = 2
[optimizer.transport]
schedule = "constant"
[optimizer.potential]
schedule = "constant"
[source]
dataset = "digits"
classes = [3]
[target]
dataset = "digits"
classes = [5]
[log]
every = 2
validate_every = 0
samples_every = 7
checkpoint_every = 3
)";

inline fs::path tiny_folder(const test::TempDirectory& directory, const std::string& name) {
  const fs::path folder = directory.path() / name;
  fs::create_directories(folder);
  std::ofstream(folder / "tiny.toml") << kTiny;
  return folder;
}

inline std::vector<std::string> train(const std::string& more = "") {
  std::vector<std::string> all{"train", "tiny.toml", "--out", "run"};
  if (!more.empty()) all.push_back(more);
  return all;
}

inline void check_fails(const fs::path& folder, const std::vector<std::string>& arguments, int status,
                        const std::string& fragment) {
  const Command command(folder, arguments);
  CAPTURE(arguments, fragment);
  CHECK(command.wait() == status);
  const std::string message = command.err();
  CAPTURE(message);
  CHECK(message.find("voxot: error: ") != std::string::npos);
  CHECK(message.find(fragment) != std::string::npos);
  CHECK(message.find('\n', message.find("voxot: error: ")) == message.size() - 1);
}

}  // namespace voxot::test
