// Signals: long work ends soon with 128 + signal, keeps what it has and leaves no temporary file.
#include <fmt/format.h>

#include <chrono>
#include <functional>
#include <thread>

#include "engine/safetensors.h"
#include "tests/command.h"

namespace {

using namespace voxot;
using namespace voxot::test;

/// Whether it came true in a minute.
bool soon(const std::function<bool()>& condition) {
  for (int i = 0; i < 12000; ++i) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return false;
}

/// `part`: in its name.
bool has_temporary(const fs::path& folder, const std::string& part) {
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.path().filename().string().find(part) != std::string::npos) return true;
  }
  return false;
}

std::vector<std::string> with_judge(const std::string& file, std::int64_t steps) {
  std::vector<std::string> all = train("--resume=auto");
  for (const std::string& setting :
       {std::string("solver.steps=2"), std::string("log.validate_every=2"),
        std::string("log.validate_samples=8"), std::string("judge.width=2"), std::string("judge.required=0"),
        "judge.file=" + file, fmt::format("judge.steps={}", steps)})
    all.insert(all.end(), {"--set", setting});
  return all;
}

}  // namespace

TEST_CASE("command: a judge that a signal stops is trained on to the same bits", "[command][signals]") {
  const TempDirectory directory;
  const fs::path folder = tiny_folder(directory, "work");
  REQUIRE(Command(folder, with_judge("whole.safetensors", 30)).wait() == 0);
  fs::remove_all(folder / "run");
  int stops = 0;
  for (int round = 0; round < 3; ++round) {
    fs::remove(folder / "stderr");
    const Command command(folder, with_judge("stopped.safetensors", 30));
    if (!soon([&] { return command.err().find("judge ") != std::string::npos; })) break;
    command.send(SIGTERM);
    const int status = command.wait();
    INFO(command.err());
    REQUIRE((status == 143 || status == 0));
    if (command.err().find("steps of the judge") == std::string::npos) continue;
    ++stops;
    CHECK(status == 143);
    CHECK_THAT(command.err(), Catch::Contains("continue with --resume"));
    CHECK(read_safetensors(folder / "stopped.safetensors").metadata.contains("begun_for"));
  }
  CHECK(stops > 0);
  REQUIRE(Command(folder, with_judge("stopped.safetensors", 30)).wait() == 0);
  CHECK(text_of(folder / "stopped.safetensors") == text_of(folder / "whole.safetensors"));
  CHECK(read_safetensors(folder / "stopped.safetensors").metadata.contains("trained_for"));
}

TEST_CASE("command: evaluate ends amid its judge and goes on from there", "[command][signals]") {
  const TempDirectory directory;
  const fs::path folder = tiny_folder(directory, "work");
  std::vector<std::string> arguments = train();
  arguments.insert(arguments.end(),
                   {"--set", "solver.steps=1", "--set", "judge.steps=1000000", "--set", "judge.width=2"});
  REQUIRE(Command(folder, arguments).wait() == 0);
  fs::remove(folder / "stderr");
  const Command command(folder, {"evaluate", "run", "--samples", "16"});
  REQUIRE(soon([&] { return command.err().find("judge ") != std::string::npos; }));
  command.send(SIGINT);
  CHECK(command.wait() == 130);
  CHECK(
      read_safetensors(folder / "run/judge.safetensors").tensors.contains("optimizer.exp_avg.conv_0.weight"));
  CHECK_FALSE(fs::exists(folder / "run/evaluation.json"));
}

TEST_CASE("command: a signal ends the other commands, which leave nothing half", "[command][signals]") {
  const TempDirectory directory;
  const fs::path folder = directory.path();
  // Two hundred megabytes, which take a while to draw and to write.
  const std::vector<std::string> make{"data", "make", "digits", "--count", "4000", "--output", "x.npz"};
  for (const auto& [signal, status] :
       {std::pair(SIGINT, 130), std::pair(SIGTERM, 143), std::pair(SIGHUP, 129)}) {
    const Command command(folder, make);
    REQUIRE(soon([&, sent = signal] { return command.handles(sent); }));
    command.send(signal);
    CHECK(command.wait() == status);
    CHECK(command.err() == fmt::format("voxot: ended by signal {}\n", signal));
    CHECK_FALSE(fs::exists(folder / "x.npz"));
    CHECK_FALSE(has_temporary(folder, ".voxot-"));
  }
  const Command writing(folder, make);
  REQUIRE(soon([&] { return has_temporary(folder, ".tmp."); }));  // libzip's own
  writing.send(SIGTERM);
  CHECK(writing.wait() == 143);
  CHECK_FALSE(has_temporary(folder, ".voxot-"));
}

TEST_CASE("command: a training that ignores SIGHUP (nohup) goes on", "[command][signals]") {
  const TempDirectory directory;
  const fs::path folder = tiny_folder(directory, "work");
  const auto before = std::signal(SIGHUP, SIG_IGN);
  std::vector<std::string> short_run = train();
  short_run.insert(short_run.end(), {"--set", "solver.steps=6"});
  const Command command(folder, short_run);
  std::signal(SIGHUP, before);
  REQUIRE(soon([&] { return fs::exists(folder / "run/checkpoints/step-0000003.safetensors"); }));
  command.send(SIGHUP);
  CHECK(command.wait() == 0);
  const fs::path other = tiny_folder(directory, "other");
  std::vector<std::string> endless = train();
  endless.insert(endless.end(), {"--set", "solver.steps=100000"});
  const Command ended(other, endless);
  REQUIRE(soon([&] { return fs::exists(other / "run/checkpoints/step-0000003.safetensors"); }));
  ended.send(SIGHUP);
  CHECK(ended.wait() == 129);
  CHECK_THAT(ended.err(), Catch::Contains("continue with --resume"));
}
