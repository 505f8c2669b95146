// The command's streams and numbers: full, closed and abandoned output; what is typed is what errors say.
#include <sys/wait.h>

#include "engine/npy.h"
#include "engine/safetensors.h"
#include "tests/command.h"
#include "tests/skip.h"

namespace {

using namespace voxot;
using namespace voxot::test;

/// The status of a shell's command line in a folder, in which $V is the command.
int shell(const fs::path& folder, const std::string& line) {
  const char* moved = std::getenv("VOXOT_COMMAND");
  const std::string whole =
      "cd '" + folder.string() + "'; V='" + (moved != nullptr ? moved : VOXOT_COMMAND) + "'; " + line;
  const int status = std::system(whole.c_str());
  REQUIRE(WIFEXITED(status));
  return WEXITSTATUS(status);
}

constexpr const char* kTraining =
    "\"$V\" train tiny.toml --out run --set solver.steps=3 --set solver.inner_steps=1 --set "
    "log.samples_every=0 --set log.validate_samples=2";

}  // namespace

TEST_CASE("command: a stdout that is full or closed is an error of every command", "[command]") {
  const TempDirectory directory;
  const fs::path folder = tiny_folder(directory, "work");
  write_npy(folder / "v.npy", HostArray::from_floats({2, 1, 4, 4, 4}, std::vector<float>(128, 1.0F)));
  for (const char* command :
       {"info", "info --json", "--help", "train --help", "--version", "data list", "data list --json",
        "data make digits --count 2 --output d.npz", "render v.npy --output v.png",
        "pair --source v.npy --target v.npy --method exact --output p.npz"}) {
    for (const char* out : {"> /dev/full", ">&-"}) {
      INFO(command << " " << out);
      CHECK(shell(folder, std::string("\"$V\" ") + command + " " + out + " 2> err") == 1);
      const std::string err = text_of(folder / "err");
      CHECK_THAT(err, Catch::StartsWith("voxot: error: cannot write to standard output: "));
      CHECK(std::count(err.begin(), err.end(), '\n') == 1);
    }
  }
  // What is wrong besides keeps its own status.
  CHECK(shell(folder, "\"$V\" nonsense > /dev/full 2> err") == 2);
}

TEST_CASE("command: no stream that is lost stops a training", "[command]") {
  const TempDirectory directory;
  for (const char* streams : {"2> /dev/full", "<&- 2>&-", "2> >(head -c 1 > /dev/null)"}) {
    INFO(streams);
    const fs::path folder = tiny_folder(directory, "run");
    const std::string line = std::string(kTraining) + " " + streams + " > out";
    std::ofstream(folder / "line.sh") << line;
    CHECK(shell(folder, "export V; bash line.sh") == 0);
    CHECK(text_of(folder / "out") == "run\n");
    CHECK(fs::exists(folder / "run/checkpoints/step-0000003.safetensors"));
    fs::remove_all(folder);
  }
  // Both at once: the training ends whole, and its status is that of a broken pipe.
  const fs::path folder = tiny_folder(directory, "run");
  std::ofstream(folder / "line.sh") << kTraining << " 2>&1 | true; exit ${PIPESTATUS[0]}";
  CHECK(shell(folder, "export V; bash line.sh") == 128 + SIGPIPE);
  CHECK(fs::exists(folder / "run/transport.safetensors"));
}

TEST_CASE("command: progress is plain lines where the terminal cannot rewrite", "[command]") {
  if (std::system("command -v script > /dev/null") != 0) {
    skip("no script, which makes a terminal");
    return;
  }
  const TempDirectory directory;
  const auto shown = [&](const std::string& environment) {
    const fs::path folder = tiny_folder(directory, "run");
    std::ofstream(folder / "line.sh") << kTraining;
    CHECK(shell(folder, "export V; " + environment +
                            " script -qec 'bash line.sh' shown > /dev/null < /dev/null") == 0);
    const std::string text = text_of(folder / "shown");
    fs::remove_all(folder);
    return text;
  };
  CHECK_THAT(shown("TERM=xterm"), Catch::Contains("\x1b[K"));
  for (const char* plain : {"TERM=dumb", "TERM="}) {
    const std::string text = shown(plain);
    INFO(text);
    CHECK(text.find('\x1b') == std::string::npos);
    CHECK_THAT(text, Catch::Contains("train 3/3"));
  }
  CHECK(shown("TERM=xterm NO_COLOR=1").find("\x1b[3") == std::string::npos);
}

TEST_CASE("command: errors say the number that was typed and its range", "[command]") {
  const TempDirectory directory;
  const fs::path folder = tiny_folder(directory, "work");
  const std::string most = " and at most 9223372036854775807, got ";
  const std::vector<std::string> pair{"pair", "--source", "a.npy", "--target", "b.npy", "--output", "p.npz"};
  const auto with = [](std::vector<std::string> command, const std::vector<std::string>& more) {
    command.insert(command.end(), more.begin(), more.end());
    return command;
  };
  check_fails(folder, with(pair, {"--batch", "-1"}), 2,
              "--batch: expected an integer of at least 0" + most + "-1 (");
  check_fails(folder, with(pair, {"--seed", "-1"}), 2,
              "--seed: expected an integer of at least 0" + most + "-1 (");
  check_fails(folder, with(pair, {"--max-iterations", "0"}), 2,
              "of at least 1 and at most 1000000000, got 0 (");
  check_fails(folder, with(pair, {"--epsilon", "nan"}), 2,
              "a number greater than 0 and at most 1e+300, got nan (");
  check_fails(folder, with(pair, {"--scaling", "1"}), 2, "of at least 0 and less than 1, got 1 (");
  const std::string beyond = "9223372036854775808";  // 2^63
  for (const std::string& seed :
       {beyond, std::string("1e3"), std::string("010"), std::string("0x10"), std::string("1.5")}) {
    check_fails(folder, {"train", "tiny.toml", "--seed", seed}, 2, "at least 0" + most + seed + " (");
    check_fails(folder, {"map", "run", "--input", "a.npy", "--output", "b.npy", "--seed", seed}, 2,
                most + seed + " (");
    check_fails(folder, {"data", "make", "digits", "--output", "d.npz", "--seed", seed}, 2,
                most + seed + " (");
  }
  check_fails(folder, {"train", "tiny.toml", "--set", "solver.seed=" + beyond}, 2,
              most + "\"" + beyond + "\"");
  check_fails(folder, {"train", "tiny.toml", "--threads", "1025"}, 2,
              "of at least 0 and at most 1024, got 1025 (");
  check_fails(folder, {"render", "a.npy", "--output", "a.png", "--threshold", "nan"}, 2,
              "and at most 1, got nan (");
  check_fails(folder, {"evaluate", "run", "--samples", "15"}, 2,
              "of at least 16 and at most 65536, got 15 (");
  check_fails(folder, {"data", "make", "digits", "--output", "d.npz", "--resolution", "3"}, 2,
              "of at least 4 and at most 256, got 3 (");
  std::ofstream(folder / "seed.toml") << "[solver]\nseed = " << beyond << "\n";
  check_fails(folder, {"train", "seed.toml"}, 2, beyond);
}

TEST_CASE("command: a small file that names a vast network is refused before it is made", "[command]") {
  const TempDirectory directory;
  const fs::path folder = tiny_folder(directory, "work");
  write_npy(folder / "v.npy", HostArray::from_floats({1, 3, 8, 8, 8}, std::vector<float>(1536, 0.5F)));
  const auto state = [&](std::int64_t base) {
    SafetensorsFile file;
    file.tensors = {{"inc.double_conv.0.weight", HostArray::from_floats({base, 3, 0, 3, 3}, {})},
                    {"outc.conv.weight", HostArray::from_floats({3, 0, 1, 1, 1}, {})}};
    write_safetensors(folder / "s.safetensors", file);
  };
#if defined(__SANITIZE_ADDRESS__)
  const std::string limit;  // the sanitizer maps terabytes, and refuses to allocate one
#else
  const std::string limit = "ulimit -v 4000000; ";
#endif
  const std::string line = limit +
                           "export OMP_NUM_THREADS=1; \"$V\" map s.safetensors --residual no --input v.npy "
                           "--output y.npy 2> err";
  state(30000);  // 32 TB
  CHECK(shell(folder, line) == 1);
  CHECK_THAT(text_of(folder / "err"),
             Catch::Contains("inc.double_conv.0") && Catch::Contains("s.safetensors"));
  state(std::int64_t{1} << 40);
  CHECK(shell(folder, line) == 1);
  CHECK_THAT(text_of(folder / "err"), Catch::Contains("1 to 65536 channels"));
  CHECK_FALSE(fs::exists(folder / "y.npy"));
}
