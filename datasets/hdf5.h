#pragma once
// Arrays of numbers from HDF5 files, in blocks of rows.
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace voxot {

/// One file, open for reading. Every Error is one line that names the file and, where HDF5 gives one, its
/// reason.
class Hdf5File {
 public:
  /// Throws Error where the file is missing, truncated or not HDF5.
  explicit Hdf5File(const std::filesystem::path& path);
  ~Hdf5File();
  Hdf5File(const Hdf5File&) = delete;
  Hdf5File& operator=(const Hdf5File&) = delete;

  /// Extents of an array of integers or floats. Throws Error where there is none of this name, or it holds
  /// something else. The extents are what the file says: its data may turn out to be missing when read.
  [[nodiscard]] std::vector<std::int64_t> shape(const std::string& array) const;
  /// Rows [first, first + n) as floats, n·(product of the other extents) values. Throws Error for damaged
  /// data.
  void read_rows(const std::string& array, std::int64_t first, std::int64_t n, std::span<float> out) const;

 private:
  struct Arrays;
  std::string name_;
  std::unique_ptr<Arrays> arrays_;
};

}  // namespace voxot
