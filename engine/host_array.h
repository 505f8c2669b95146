#pragma once
// An array as files hold it: PyTorch's and NumPy's axis order (N, C, D, H, W for volumes), row-major, on the
// host.
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/check.h"

namespace voxot {

/// Element types that files may hold.
enum class FileType : std::uint8_t { f16, bf16, f32, f64, i8, u8, i16, u16, i32, u32, i64, u64, boolean };

/// Bytes per element.
std::size_t size_of(FileType type);
/// Whether its elements are floats, of any width.
constexpr bool is_float(FileType type) {
  return type == FileType::f16 || type == FileType::bf16 || type == FileType::f32 || type == FileType::f64;
}
/// "f32", "i64", ...
const char* name_of(FileType type);

/// "[2, 3, 16]"
std::string describe_shape(std::span<const std::int64_t> shape);
/// Product of the extents, 1 for none. Throws Error for a negative extent and where the product of the
/// nonzero extents, in bytes of `type`, is beyond 2^63 - 1.
std::int64_t count_of(FileType type, std::span<const std::int64_t> shape);

/// An array of a file in host memory: contiguous, row-major.
struct HostArray {
  FileType type = FileType::f32;
  std::vector<std::int64_t> shape;
  std::vector<std::byte> bytes;

  /// Elements that the shape asks for; Error as for count_of.
  [[nodiscard]] std::int64_t count() const;
  /// Throws Error unless `bytes` holds exactly what type and shape ask for.
  void check() const;
  /// "f32 [2, 3, 16, 16, 16]"
  [[nodiscard]] std::string describe() const;
  /// Every element converted to float. Throws Error for a byte count that does not fit the shape.
  [[nodiscard]] std::vector<float> to_floats() const;
  /// The same as double: exact but for 64-bit integers beyond 2^53.
  [[nodiscard]] std::vector<double> to_doubles() const;
  /// Every element as it is. Throws Error, beginning with `name`, for one that is no whole number of 64 bits.
  [[nodiscard]] std::vector<std::int64_t> to_integers(std::string_view name) const;
  /// Throws Error when values.size() is not the product of the shape.
  static HostArray from_floats(std::vector<std::int64_t> shape, const std::vector<float>& values);
  static HostArray from_doubles(std::vector<std::int64_t> shape, const std::vector<double>& values);
  static HostArray from_int64(std::vector<std::int64_t> shape, const std::vector<std::int64_t>& values);
};

/// The axis change between files (N×C×voxels; C rows) and networks (N×voxels×C; `voxels` rows): to [n,
/// columns, rows] ← from [n, rows, columns].
void transpose_samples(const float* from, float* to, std::int64_t n, std::int64_t rows, std::int64_t columns);

}  // namespace voxot
