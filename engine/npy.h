#pragma once
// NumPy's files: one array (.npy; NEP 1) and a zip archive of named arrays (.npz).
//
// Read: .npy versions 1.0, 2.0 and 3.0; f2 f4 f8, i1 to i8, u1 to u8 and bool; either byte order, C or
// Fortran axis order (both made native, row-major). Everything else (objects, structures, complex, strings)
// is refused, and so is a file with a byte too few or too many. Errors are one line and begin with the file's
// name.
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/host_array.h"

namespace voxot {

/// Reads a .npy file. Throws Error for anything but a valid array.
HostArray read_npy(const std::filesystem::path& path);
/// The same for bytes in memory; `name` begins the error messages.
HostArray parse_npy(std::span<const std::byte> bytes, std::string_view name);
/// The same, reusing the memory of `bytes`.
HostArray parse_npy(std::vector<std::byte>&& bytes, std::string_view name);
/// What goes before the data in a .npy file: magic string, version, length and dictionary, padded to a
/// multiple of 64 bytes. Throws Error, beginning with `name`, for an array that write_npy refuses.
std::string npy_header(const HostArray& array, std::string_view name);
/// Writes version 1.0 as numpy does, atomically. Throws Error for bf16, which NumPy has not, for more than 32
/// axes, and where the bytes do not fit the shape.
void write_npy(const std::filesystem::path& path, const HostArray& array);

/// A .npz archive whose arrays are read one at a time, so that what no array here can hold (strings, objects)
/// does not stand in the way of what can.
class NpzFile {
 public:
  /// Reads the archive's directory. Throws Error as read_npz does, but for what the arrays themselves hold.
  explicit NpzFile(const std::filesystem::path& path);
  ~NpzFile();
  NpzFile(NpzFile&&) noexcept;

  /// Names without ".npy", in the order of the archive.
  [[nodiscard]] const std::vector<std::string>& names() const;
  /// Members that are no .npy arrays and are left out, printable.
  [[nodiscard]] const std::vector<std::string>& others() const;
  [[nodiscard]] bool has(std::string_view name) const;
  /// Throws Error where there is no such array, or none that can be read.
  [[nodiscard]] HostArray read(const std::string& name) const;

 private:
  struct Members;
  std::unique_ptr<Members> members_;
};

/// Reads every array of a .npz archive (stored or deflated), named without ".npy". Other members are left
/// out. Throws Error where there are only such, for a name that comes twice, an encrypted or damaged array.
std::map<std::string, HostArray> read_npz(const std::filesystem::path& path);
/// Writes the arrays by name, atomically; the same arrays give the same bytes. Throws Error for an empty map,
/// an empty name, and as write_npy does.
void write_npz(const std::filesystem::path& path, const std::map<std::string, HostArray>& arrays,
               bool compress = false);

}  // namespace voxot
