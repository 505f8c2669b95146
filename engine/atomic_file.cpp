#include "engine/atomic_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <new>
#include <optional>
#include <system_error>
#include <utility>

#include "engine/interrupt.h"
#include "kernels/check.h"
#include "kernels/sizes.h"

namespace voxot {
namespace {

std::string name_for_messages(const std::filesystem::path& path) { return printable(path.string()); }

std::string reason(int error) { return std::generic_category().message(error); }

class FileDescriptor {
 public:
  explicit FileDescriptor(int descriptor) : descriptor_(descriptor) {}
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  ~FileDescriptor() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }
  [[nodiscard]] int get() const { return descriptor_; }
  /// Closes now; false with errno set where the system reports a late write error.
  bool close() { return ::close(std::exchange(descriptor_, -1)) == 0; }

 private:
  int descriptor_;
};

/// Removes the temporary file unless it was renamed. It is locked while it is in use: the lock tells others
/// that its writer lives.
class TemporaryFile {
 public:
  /// Creates an empty file beside `target`, with the permissions that the umask leaves.
  explicit TemporaryFile(const std::filesystem::path& target) {
    static std::atomic<std::uint64_t> counter{0};
    const std::filesystem::path folder = target.parent_path();
    for (int attempt = 0; attempt < 10000; ++attempt) {
      path_ = folder / fmt::format(".voxot-{}-{}.tmp", ::getpid(), counter++);
      lock(O_CREAT | O_EXCL);
      if (locked_->get() >= 0) {
        removed_.emplace(path_.string());
        return;
      }
      if (errno != EEXIST) break;
    }
    fail("{}: cannot create a file in its folder: {}", name_for_messages(target), reason(errno));
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  ~TemporaryFile() {
    if (!path_.empty()) ::unlink(path_.c_str());
  }
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  /// Call it again after a writer has put a file of its own in this one's place. A file system without locks
  /// takes none.
  void lock(int flags = 0) {
    locked_.emplace(::open(path_.c_str(), O_WRONLY | O_CLOEXEC | flags, 0666));
    const int before = errno;
    if (locked_->get() >= 0) ::flock(locked_->get(), LOCK_EX | LOCK_NB);
    errno = before;
  }
  void rename_to(const std::filesystem::path& target) {
    VOXOT_CHECK(::rename(path_.c_str(), target.c_str()) == 0, "{}: cannot replace the file: {}",
                name_for_messages(target), reason(errno));
    path_.clear();
  }

 private:
  std::filesystem::path path_;
  std::optional<FileDescriptor> locked_;
  std::optional<RemovedBySignal> removed_;
};

/// The temporary file to which a name belongs: the name itself, or the name without the ending that another
/// writer (libzip) has added for a file of its own. Nothing for other names.
std::optional<std::string> temporary_of(const std::string& name) {
  const std::size_t end = name.find(".tmp");
  if (!name.starts_with(".voxot-") || end == std::string::npos) return std::nullopt;
  const std::size_t length = end + 4;
  if (length < name.size() && name[length] != '.') return std::nullopt;
  return name.substr(0, length);
}

bool in_use(const std::filesystem::path& temporary) {
  const FileDescriptor file(::open(temporary.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  return file.get() >= 0 && ::flock(file.get(), LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
}

void sync(const std::filesystem::path& synced, int flags, const std::filesystem::path& target) {
  const FileDescriptor file(::open(synced.c_str(), O_RDONLY | O_CLOEXEC | flags));
  VOXOT_CHECK(file.get() >= 0, "{}: cannot open it to make it durable: {}", name_for_messages(target),
              reason(errno));
  // Some file systems cannot synchronise a directory and say so with EINVAL.
  VOXOT_CHECK(::fsync(file.get()) == 0 || errno == EINVAL || errno == ENOTSUP,
              "{}: cannot make it durable: {}", name_for_messages(target), reason(errno));
}

void write_all(int file, std::span<const std::byte> bytes, const std::filesystem::path& target) {
  constexpr std::size_t kLargestWrite = std::size_t{1} << 30;
  while (!bytes.empty()) {
    const ssize_t written = ::write(file, bytes.data(), std::min(bytes.size(), kLargestWrite));
    if (written < 0 && errno == EINTR) continue;
    VOXOT_CHECK(written > 0, "{}: cannot write: {}", name_for_messages(target),
                reason(written < 0 ? errno : ENOSPC));
    bytes = bytes.subspan(to_size(written));
  }
}

/// Length of the UTF-8 sequence at the start of `text`, 0 where it is none.
std::size_t utf8_length(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const std::size_t length = byte(0) < 0x80                      ? 1
                             : byte(0) >= 0xc2 && byte(0) < 0xe0 ? 2
                             : byte(0) >= 0xe0 && byte(0) < 0xf0 ? 3
                             : byte(0) >= 0xf0 && byte(0) < 0xf5 ? 4
                                                                 : 0;
  if (length == 0 || length > text.size()) return 0;
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
  }
  const bool overlong = (byte(0) == 0xe0 && byte(1) < 0xa0) || (byte(0) == 0xf0 && byte(1) < 0x90);
  const bool surrogate_or_beyond =
      (byte(0) == 0xed && byte(1) >= 0xa0) || (byte(0) == 0xf4 && byte(1) >= 0x90);
  return overlong || surrogate_or_beyond ? 0 : length;
}

}  // namespace

std::string printable(std::string_view text, std::size_t limit) {
  std::string shown;
  while (!text.empty()) {
    if (shown.size() >= limit) return shown + "...";
    const std::size_t length = utf8_length(text);
    const auto first = static_cast<unsigned char>(text[0]);
    const bool control = first < 0x20 || first == 0x7f ||
                         (length == 2 && first == 0xc2 && static_cast<unsigned char>(text[1]) < 0xa0);
    if (length == 0 || control) {
      shown += fmt::format("\\x{:02x}", first);
      text.remove_prefix(1);
    } else {
      shown += text.substr(0, length);
      text.remove_prefix(length);
    }
  }
  return shown;
}

void check_unpacked(std::uint64_t unpacked, std::uint64_t file_bytes, std::string_view name) {
  VOXOT_CHECK(
      unpacked <= most_unpacked(file_bytes),
      "{}: unpacks to {} bytes, more than {} from a file of {}; where that is meant, save it uncompressed",
      name, unpacked, most_unpacked(file_bytes), file_bytes);
}

std::uint64_t regular_file_size(const std::filesystem::path& path) {
  struct stat status {};
  VOXOT_CHECK(::stat(path.c_str(), &status) == 0, "{}: {}", name_for_messages(path),
              errno == ENOENT ? "no such file" : reason(errno));
  VOXOT_CHECK(!S_ISDIR(status.st_mode), "{}: expected a file, it is a directory", name_for_messages(path));
  VOXOT_CHECK(S_ISREG(status.st_mode), "{}: expected a regular file, it is a device, a pipe or a socket",
              name_for_messages(path));
  return static_cast<std::uint64_t>(status.st_size);
}

std::vector<std::byte> read_file(const std::filesystem::path& path, std::uint64_t limit) {
  const std::uint64_t size = regular_file_size(path);
  VOXOT_CHECK(size <= limit, "{}: too large: {} bytes, at most {} are read", name_for_messages(path), size,
              limit);
  // Should a pipe take the file's place here, O_NONBLOCK keeps the open from waiting for a writer.
  const FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  VOXOT_CHECK(file.get() >= 0, "{}: cannot open: {}", name_for_messages(path), reason(errno));
  std::vector<std::byte> bytes;
  try {
    bytes.resize(size);
  } catch (const std::exception&) {
    fail("{}: not enough memory for its {} bytes", name_for_messages(path), size);
  }
  std::size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t got = ::read(file.get(), bytes.data() + done, bytes.size() - done);
    if (got < 0 && errno == EINTR) continue;
    VOXOT_CHECK(got >= 0, "{}: cannot read: {}", name_for_messages(path), reason(errno));
    VOXOT_CHECK(got > 0, "{}: shrank while it was read: expected {} bytes, got {}", name_for_messages(path),
                size, done);
    done += to_size(got);
  }
  return bytes;
}

namespace {

/// The file that is replaced: where a link leads.
std::filesystem::path replaced_by(const std::filesystem::path& path) {
  VOXOT_CHECK(path.has_filename(), "{}: expected the name of a file to write", name_for_messages(path));
  std::error_code error;
  std::filesystem::path target = std::filesystem::canonical(path, error);
  if (error) {
    target = path;
  } else {
    VOXOT_CHECK(std::filesystem::is_regular_file(target), "{}: cannot replace it: it is not a regular file",
                name_for_messages(path));
  }
  return target;
}

}  // namespace

void check_replaceable(const std::filesystem::path& path) {
  const std::filesystem::path target = replaced_by(path);
  const TemporaryFile made(target);
  remove_temporary_files(target.has_parent_path() ? target.parent_path() : ".");
}

void replace_file_atomically(const std::filesystem::path& path,
                             const std::function<void(const std::filesystem::path& temporary)>& write) {
  const std::filesystem::path target = replaced_by(path);
  TemporaryFile temporary(target);
  write(temporary.path());
  temporary.lock();
  sync(temporary.path(), 0, target);
  temporary.rename_to(target);
  sync(target.has_parent_path() ? target.parent_path() : std::filesystem::path("."), O_DIRECTORY, target);
}

bool is_temporary_file(const std::filesystem::path& file) {
  return temporary_of(file.filename().string()).has_value();
}

void remove_temporary_files(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> left;
  std::error_code none;
  for (const auto& entry : std::filesystem::directory_iterator(folder, none)) {
    const auto temporary = temporary_of(entry.path().filename().string());
    if (temporary && !in_use(folder / *temporary)) left.push_back(entry.path());
  }
  for (const std::filesystem::path& file : left) std::filesystem::remove(file, none);
}

void write_file_atomically(const std::filesystem::path& path, std::span<const std::byte> bytes) {
  write_file_atomically(path, std::span<const std::span<const std::byte>>(&bytes, 1));
}

void write_file_atomically(const std::filesystem::path& path,
                           std::span<const std::span<const std::byte>> parts) {
  replace_file_atomically(path, [&](const std::filesystem::path& temporary) {
    FileDescriptor file(::open(temporary.c_str(), O_WRONLY | O_TRUNC | O_CLOEXEC));
    VOXOT_CHECK(file.get() >= 0, "{}: cannot open its temporary file: {}", name_for_messages(path),
                reason(errno));
    for (const std::span<const std::byte> part : parts) write_all(file.get(), part, path);
    VOXOT_CHECK(file.close(), "{}: cannot write: {}", name_for_messages(path), reason(errno));
  });
}

}  // namespace voxot
