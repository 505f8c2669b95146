// Downloads through the programs curl and md5sum, started without a shell.
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zlib.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "datasets/catalogue.h"
#include "datasets/kinds.h"
#include "engine/atomic_file.h"
#include "kernels/check.h"
#include "kernels/sizes.h"

namespace voxot {
namespace {

namespace fs = std::filesystem;

struct RemoteFile {
  const char* name;
  const char* md5;  // of the unpacked file
};

constexpr std::array kMnistFiles{RemoteFile{"train-images-idx3-ubyte.gz", "6bbc9ace898e44ae57da46a324031adb"},
                                 RemoteFile{"train-labels-idx1-ubyte.gz", "a25bea736e30d166cdddb491f175f624"},
                                 RemoteFile{"t10k-images-idx3-ubyte.gz", "2646ac647ad5339dbf082846283269ea"},
                                 RemoteFile{"t10k-labels-idx1-ubyte.gz", "27ae3e4e09519cfbb04c329615203637"}};
constexpr std::int64_t kMostUnpackedBytes = 64 << 20;

const std::vector<std::string>& mnist_mirrors() {
  static const std::vector<std::string> mirrors{"https://ossci-datasets.s3.amazonaws.com/mnist",
                                                "https://storage.googleapis.com/cvdf-datasets/mnist"};
  return mirrors;
}

struct CloseFile {
  void operator()(std::FILE* file) const { std::fclose(file); }
};
using FileHandle = std::unique_ptr<std::FILE, CloseFile>;

FileHandle open_scratch() {
  FileHandle file(std::tmpfile());
  VOXOT_CHECK(file != nullptr, "temporary file: {}", std::strerror(errno));
  return file;
}

struct Outcome {
  int status;          // exit status, or 128 + n after signal n
  std::string output;  // standard output and error, the first 4096 bytes
};

/// Runs a program found on PATH to its end, `input` as its standard input. Throws Error where it is not
/// there.
Outcome run_program(std::vector<std::string> command, std::FILE* input) {
  std::vector<char*> arguments;
  arguments.reserve(command.size() + 1);
  for (std::string& word : command) {
    arguments.push_back(word.data());
  }
  arguments.push_back(nullptr);
  const FileHandle output = open_scratch();
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, fileno(input), STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, fileno(output.get()), STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, fileno(output.get()), STDERR_FILENO);
  pid_t child = -1;
  const int failure = posix_spawnp(&child, arguments[0], &actions, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  VOXOT_CHECK(failure == 0,
              "cannot run {} ({}); install it, or use dataset = \"digits\", which needs no download",
              command[0], std::strerror(failure));
  int state = 0;
  while (waitpid(child, &state, 0) < 0) {
    VOXOT_CHECK(errno == EINTR, "waiting for {}: {}", command[0], std::strerror(errno));
  }
  std::rewind(output.get());
  std::string text(4096, '\0');
  text.resize(std::fread(text.data(), 1, text.size(), output.get()));
  return {WIFEXITED(state) ? WEXITSTATUS(state) : 128 + WTERMSIG(state), text};
}

/// The file unpacked (gzip or raw) into a nameless scratch file; null where it is damaged or far too long.
FileHandle unpack(const fs::path& path) {
  const std::unique_ptr<gzFile_s, int (*)(gzFile)> packed(gzopen(path.c_str(), "rb"), gzclose);
  if (packed == nullptr) {
    return nullptr;
  }
  FileHandle scratch = open_scratch();
  std::vector<char> buffer(1 << 16);
  std::int64_t total = 0;
  int got = 0;
  while ((got = gzread(packed.get(), buffer.data(), static_cast<unsigned>(buffer.size()))) > 0) {
    total += got;
    if (total > kMostUnpackedBytes) {
      return nullptr;
    }
    VOXOT_CHECK(std::fwrite(buffer.data(), 1, got, scratch.get()) == to_size(got), "temporary file: {}",
                std::strerror(errno));
  }
  if (got < 0 || std::fflush(scratch.get()) != 0) {
    return nullptr;
  }
  std::rewind(scratch.get());
  return scratch;
}

bool has_md5(const fs::path& path, const std::string& md5) {
  const FileHandle unpacked = unpack(path);
  if (unpacked == nullptr) {
    return false;
  }
  const Outcome outcome = run_program({"md5sum"}, unpacked.get());
  VOXOT_CHECK(outcome.status == 0, "md5sum: {}", printable(outcome.output));
  return outcome.output.starts_with(md5);
}

std::string first_line(const std::string& text) { return printable(text.substr(0, text.find('\n'))); }

/// Downloads one file from the first mirror that has the right bytes.
void download(const RemoteFile& file, const fs::path& target, const std::vector<std::string>& mirrors) {
  std::string failures;
  const FileHandle nothing = open_scratch();
  for (const std::string& mirror : mirrors) {
    const std::string url = mirror + "/" + file.name;
    std::string failure;
    const auto fetch = [&](const fs::path& temporary) {
      const Outcome outcome =
          run_program({"curl", "--fail", "--silent", "--show-error", "--location", "--proto", "=https,file",
                       "--proto-redir", "=https", "--connect-timeout", "20", "--max-time", "600",
                       "--max-filesize", "20000000", "--output", temporary.string(), "--url", url},
                      nothing.get());
      if (outcome.status != 0) {
        failure = outcome.output.empty() ? fmt::format("curl: exit status {}", outcome.status)
                                         : first_line(outcome.output);
      } else if (!has_md5(temporary, file.md5)) {
        failure = "the bytes do not have the published MD5";
      }
      VOXOT_CHECK(failure.empty(), "{}", failure);
    };
    try {
      replace_file_atomically(target, fetch);
      return;
    } catch (const Error&) {
      if (failure.empty()) {
        throw;  // no fault of the mirror: curl or md5sum is missing, the disk is full
      }
      failures += fmt::format("; {}: {}", url, failure);
    }
  }
  fail("data fetch: cannot download {}{}; dataset = \"digits\" needs no download", file.name, failures);
}

/// Where the name is another data set's: where its files come from.
std::string hint_on(const std::string& name) {
  for (const DatasetKind& kind : dataset_kinds()) {
    if (kind.name != name || kind.find == nullptr) continue;
    if (kind.downloaded != nullptr) return fmt::format(" ({} is made from {})", name, kind.downloaded);
    if (kind.find({}).found && !kind.needs_path) return fmt::format(" ({} needs no download)", name);
  }
  return "";
}

}  // namespace

fs::path fetch_dataset(const std::string& name, const fs::path& destination,
                       const std::vector<std::string>& mirrors) {
  if (name != "mnist") {
    fail_usage("data fetch: expected mnist, got \"{}\"{}", name, hint_on(name));
  }
  fs::path folder = destination / name;
  std::error_code failure;
  fs::create_directories(folder, failure);
  VOXOT_CHECK(!failure, "{}: cannot create the folder ({})", folder.string(), failure.message());
  for (const RemoteFile& file : kMnistFiles) {
    const fs::path packed = folder / file.name;
    const fs::path raw = fs::path(packed).replace_extension();
    // A raw file is read before a packed one, so a good one is enough and a bad one must not stay in the way.
    if (has_md5(raw, file.md5) || (!fs::exists(raw) && has_md5(packed, file.md5))) {
      continue;
    }
    VOXOT_CHECK(!fs::exists(raw), "{}: not MNIST's file (MD5 {}); move it away", raw.string(), file.md5);
    download(file, packed, mirrors.empty() ? mnist_mirrors() : mirrors);
  }
  return folder;
}

}  // namespace voxot
