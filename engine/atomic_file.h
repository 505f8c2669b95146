#pragma once
// Whole files, read with a limit and written so that a failure or a crash leaves the old file or the new one,
// never a part.
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace voxot {

/// 64 GiB: more than any file that is read in one piece.
inline constexpr std::uint64_t kDefaultReadLimit = std::uint64_t{1} << 36;

/// Text from outside made fit for a one-line message: control characters and bytes that are not UTF-8 become
/// \xNN, and what passes `limit` bytes is cut off.
std::string printable(std::string_view text, std::size_t limit = 4096);

/// Size in bytes of a regular file. Throws Error when it is missing, a directory, or anything else.
std::uint64_t regular_file_size(const std::filesystem::path& path);

/// The whole file. Throws Error when it is missing, not a regular file, unreadable, or larger than `limit`
/// bytes.
std::vector<std::byte> read_file(const std::filesystem::path& path, std::uint64_t limit = kDefaultReadLimit);

/// No deflate stream expands more than this.
inline constexpr std::uint64_t kMostDeflated = 1032;
/// Bytes that a compressed file of this size may unpack to: 1 GiB, or 200 times its size where that is more.
/// Volumes that are mostly empty stay below; what is made to fill a memory does not.
constexpr std::uint64_t most_unpacked(std::uint64_t file_bytes) {
  constexpr std::uint64_t kFree = std::uint64_t{1} << 30, kRatio = 200;
  return file_bytes <= kFree / kRatio ? kFree : file_bytes * kRatio;
}
/// Throws Error, beginning with `name`, where a file of `file_bytes` would unpack to more than that.
void check_unpacked(std::uint64_t unpacked, std::uint64_t file_bytes, std::string_view name);

/// Calls write(temporary), where `temporary` is an empty file in the target's folder, then makes it durable
/// and renames it to `path`. Where anything throws, the temporary file is removed and the target is as it
/// was. A link to a file is followed; a target that is no regular file (a directory, a device) is refused
/// with Error.
void replace_file_atomically(const std::filesystem::path& path,
                             const std::function<void(const std::filesystem::path& temporary)>& write);

/// Removes the temporary files that killed writers left in a folder, libzip's among them; those that another
/// process is writing stay.
void remove_temporary_files(const std::filesystem::path& folder);
/// Whether a file's name is that of such a temporary file.
bool is_temporary_file(const std::filesystem::path& file);

/// Throws the Error that replacing `path` would begin with, before the work whose result is to go there: no
/// such folder, no right to write in it, a target that is no regular file. Also clears the folder of what
/// killed writers left there.
void check_replaceable(const std::filesystem::path& path);

/// Replaces `path` by these bytes; Error and atomicity as for replace_file_atomically.
void write_file_atomically(const std::filesystem::path& path, std::span<const std::byte> bytes);
/// The same for the concatenation of `parts`.
void write_file_atomically(const std::filesystem::path& path,
                           std::span<const std::span<const std::byte>> parts);

}  // namespace voxot
