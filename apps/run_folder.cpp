#include "apps/run_folder.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <system_error>

#include "apps/scores.h"
#include "engine/atomic_file.h"
#include "kernels/check.h"
#include "kernels/sizes.h"

namespace voxot {
namespace {

namespace fs = std::filesystem;

constexpr const char* kLockName = ".lock";
constexpr std::array kFolders{"checkpoints", "samples"};
constexpr std::array kMayBeThere{"judge.safetensors", "kernels.tsv", kLockName};
constexpr std::size_t kMostNamed = 3;

bool only_temporaries(const fs::path& folder) {
  std::error_code none;
  const fs::directory_iterator entries(folder, none);
  return std::all_of(begin(entries), end(entries), [](const auto& e) { return is_temporary_file(e.path()); });
}

bool may_be_there(const fs::directory_entry& entry) {
  const std::string name = entry.path().filename().string();
  if (std::find(kFolders.begin(), kFolders.end(), name) != kFolders.end())
    return entry.is_directory() && only_temporaries(entry.path());
  return std::find(kMayBeThere.begin(), kMayBeThere.end(), name) != kMayBeThere.end() ||
         is_temporary_file(entry.path());
}

/// The N of "step-N" and `extension`; nothing for other names.
std::optional<std::int64_t> step_of(const fs::path& file, std::string_view extension) {
  const std::string name = file.filename().string();
  if (!name.starts_with("step-") || !name.ends_with(extension)) return std::nullopt;
  std::int64_t step = 0;
  const auto [end, error] = std::from_chars(name.data() + 5, name.data() + name.size(), step);
  if (error != std::errc() || std::string_view(end) != extension) return std::nullopt;
  return step;
}

/// The first line of a small file, for a message.
std::string first_line(int file) {
  std::array<char, 100> text;
  const ssize_t got = ::pread(file, text.data(), text.size(), 0);
  const std::string_view all(text.data(), got > 0 ? to_size(got) : 0);
  return printable(all.substr(0, all.find('\n')));
}

/// Removes a file of a step after `step`.
template <class StepOf>
void remove_later(const fs::path& file, std::int64_t step, const StepOf& step_of_file) {
  if (!fs::is_regular_file(file)) return;
  bool later = true;
  try {
    later = step_of_file(file) > step;
  } catch (const Error&) {
    // A damaged one is of no step that could be kept.
  }
  if (later) fs::remove(file);
}

}  // namespace

Checkpoint read_checkpoint(const fs::path& file) {
  Checkpoint checkpoint{file, read_safetensors(file), {}, 0};
  const auto& metadata = checkpoint.file.metadata;
  const auto format = metadata.find("format");
  VOXOT_CHECK(format != metadata.end() && format->second == "voxot checkpoint 1",
              "{}: expected a voxot checkpoint", file.string());
  note_without_checksum(checkpoint.file, file);
  const auto config = metadata.find("config");
  VOXOT_CHECK(config != metadata.end(), "{}: expected the config that it was made with, found none",
              file.string());
  try {
    checkpoint.config = parse_config(config->second, file.string() + ": config");
  } catch (const UsageError& error) {
    fail("{}", error.what());
  }
  const auto step = checkpoint.file.tensors.find("solver.step");
  VOXOT_CHECK(step != checkpoint.file.tensors.end() && step->second.type == FileType::i64 &&
                  step->second.bytes.size() == sizeof checkpoint.step,
              "{}: solver.step is missing or not one i64", file.string());
  std::memcpy(&checkpoint.step, step->second.bytes.data(), sizeof checkpoint.step);
  return checkpoint;
}

RunLock::RunLock(const fs::path& folder) : path_(folder / kLockName) {
  while (true) {
    file_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    VOXOT_CHECK(file_ >= 0, "{}: cannot open it: {}", path_.string(), std::strerror(errno));
    if (::flock(file_, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
      const std::string holder = first_line(file_);
      ::close(file_);
      fail("{}: a run is being trained here{}; wait for its end or choose another --out", folder.string(),
           holder.empty() ? "" : " (" + holder + ")");
    }
    struct stat held {};
    struct stat named {};
    // A start that failed may have removed the file between the two calls.
    if (::fstat(file_, &held) == 0 && ::stat(path_.c_str(), &named) == 0 && held.st_ino == named.st_ino)
      break;
    ::close(file_);
  }
  std::array<char, 256> host{};
  ::gethostname(host.data(), host.size() - 1);
  const std::string text = fmt::format("process {} on {}\n", ::getpid(), host.data());
  // For the message above alone: where the disk is full, what matters fails by itself.
  if (::ftruncate(file_, 0) == 0) [[maybe_unused]]
    const ssize_t written = ::pwrite(file_, text.data(), text.size(), 0);
}

RunLock::~RunLock() {
  if (file_ >= 0) ::close(file_);
}

void RunLock::remove() { ::unlink(path_.c_str()); }

fs::path RunFolder::checkpoint(std::int64_t step) const {
  return path_ / "checkpoints" / fmt::format("step-{:07}.safetensors", step);
}

std::vector<std::int64_t> RunFolder::steps() const {
  std::vector<std::int64_t> found;
  std::error_code none;
  for (const auto& entry : fs::directory_iterator(path_ / "checkpoints", none)) {
    if (const auto step = step_of(entry.path(), ".safetensors")) found.push_back(*step);
  }
  std::sort(found.begin(), found.end());
  return found;
}

std::optional<std::int64_t> RunFolder::newest() const {
  const auto all = steps();
  if (all.empty()) return std::nullopt;
  return all.back();
}

Checkpoint RunFolder::read(std::int64_t step) const {
  Checkpoint read = read_checkpoint(checkpoint(step));
  VOXOT_CHECK(read.step == step, "{}: it is of step {}, and not what its name says", read.path.string(),
              read.step);
  return read;
}

Checkpoint RunFolder::read_to_resume(std::int64_t step) const {
  try {
    return read(step);
  } catch (const Error& error) {
    std::vector<std::int64_t> before = steps();
    std::reverse(before.begin(), before.end());
    for (const std::int64_t earlier : before) {
      if (earlier >= step) continue;
      try {
        (void)read(earlier);
      } catch (const Error&) {
        continue;
      }
      fail("{}; the checkpoint of step {} is whole: --resume-from {} goes on from it", error.what(), earlier,
           earlier);
    }
    throw;
  }
}

Checkpoint RunFolder::read_chosen(const std::string& which) const {
  check_run();
  while (true) {
    fs::path file = best_checkpoint();
    std::optional<std::int64_t> step;
    if (which != "best" || !fs::exists(file)) {
      step = newest();
      VOXOT_CHECK(step.has_value(), "{}: holds no checkpoint", path_.string());
      file = checkpoint(*step);
    }
    try {
      return step ? read(*step) : read_checkpoint(file);
    } catch (const Error&) {
      // A run that goes on meanwhile removes the older ones.
      if (fs::exists(file) || newest() == step) throw;
    }
  }
}

void RunFolder::check_fresh() const {
  const auto step = newest();
  if (step) {
    fail_usage("{}: holds a run of {} steps; continue it with --resume or choose another --out",
               path_.string(), *step);
  }
  std::error_code error;
  if (!fs::exists(path_, error)) return;
  if (!fs::is_directory(path_, error)) fail_usage("{}: expected a folder for the run", path_.string());
  std::vector<std::string> foreign;
  for (const auto& entry : fs::directory_iterator(path_)) {
    if (!may_be_there(entry)) foreign.push_back(printable(entry.path().filename().string(), 60));
  }
  if (foreign.empty()) return;
  std::sort(foreign.begin(), foreign.end());
  const std::size_t more = foreign.size() - std::min(foreign.size(), kMostNamed);
  foreign.resize(foreign.size() - more);
  fail_usage("{}: expected a new or an empty folder for the run, it holds {}{}; choose another --out",
             path_.string(), fmt::join(foreign, ", "), more > 0 ? fmt::format(" and {} more", more) : "");
}

void RunFolder::make() const {
  for (const char* part : kFolders) {
    std::error_code error;
    fs::create_directories(path_ / part, error);
    VOXOT_CHECK(!error, "{}: cannot make this folder: {}", (path_ / part).string(), error.message());
  }
}

void RunFolder::clear() const {
  remove_temporary_files(path_);
  for (const char* part : kFolders) remove_temporary_files(path_ / part);
}

void RunFolder::unmake(bool whole) const {
  clear();
  std::error_code not_empty;
  for (const char* part : kFolders) fs::remove(path_ / part, not_empty);
  if (whole) fs::remove(path_, not_empty);
}

void RunFolder::prune(std::int64_t keep) const {
  const auto all = steps();
  for (std::size_t i = 0; i + to_size(keep) < all.size(); ++i) {
    fs::remove(checkpoint(all[i]));
  }
}

void RunFolder::drop_after(std::int64_t step, const std::vector<std::string>& roles) const {
  // Both files belong to the newest step, which their names do not say.
  if (newest().value_or(0) > step) {
    for (const std::string& role : roles) fs::remove(exported(role));
    fs::remove(path_ / "samples" / "last.npz");
  }
  for (const std::int64_t later : steps()) {
    if (later > step) fs::remove(checkpoint(later));
  }
  std::vector<fs::path> pictures;
  std::error_code none;
  for (const auto& entry : fs::directory_iterator(path_ / "samples", none)) {
    if (step_of(entry.path(), ".png").value_or(0) > step) pictures.push_back(entry.path());
  }
  for (const fs::path& picture : pictures) fs::remove(picture);
  remove_later(best_checkpoint(), step, [](const fs::path& file) { return read_checkpoint(file).step; });
  remove_later(evaluation_file(), step, [](const fs::path& file) {
    const std::vector<std::byte> bytes = read_file(file);
    return parse_scores({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, file.string())
        .count("step");
  });
}

void RunFolder::check_run() const {
  VOXOT_CHECK(fs::exists(config_file()), "{}: expected the folder of a run with its config.toml",
              path_.string());
}

RunConfig RunFolder::load_config() const {
  check_run();
  return voxot::load_config(config_file());
}

RunConfig RunFolder::load_config_of(const Checkpoint& checkpoint) const {
  const RunConfig stored = load_config();
  const RunConfig& made = checkpoint.config;
  std::vector<std::string> lasting = made.settings->lasting_keys();
  lasting.insert(lasting.end(), {"solver.kind", "solver.precision"});
  const auto counts = [&](const std::string& key) {
    // Data may have moved; what the networks began with no longer matters.
    if (key.starts_with("source.") || key.starts_with("target.")) return !key.ends_with(".path");
    return describes_network(made, key) || std::find(lasting.begin(), lasting.end(), key) != lasting.end();
  };
  if (const auto lines = first_difference(made, stored, counts)) {
    fail_usage("{}: it says `{}`, but {} was made with `{}`", config_file().string(), lines->back(),
               checkpoint.path.filename().string(), lines->front());
  }
  RunConfig config = made;
  config.source.path = stored.source.path;
  config.target.path = stored.target.path;
  config.solver.steps = stored.solver.steps;
  config.solver.schedule_steps = stored.solver.schedule_steps;
  config.judge = stored.judge;
  config.log = stored.log;
  return config;
}

}  // namespace voxot
