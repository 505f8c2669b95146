#pragma once
// IDX, the format of MNIST's files: big-endian sizes and unsigned bytes, raw or gzip-compressed.
#include <cstdint>
#include <filesystem>
#include <vector>

namespace voxot {

/// An array of bytes, row-major.
struct IdxArray {
  std::vector<std::int64_t> shape;
  std::vector<std::uint8_t> data;
};

/// Reads an IDX file of unsigned bytes; gzip is known by its first bytes, whatever the file is called. Throws
/// Error, beginning with the file's name, for a missing or truncated file, another format or element type,
/// bytes left over, and damaged gzip data.
IdxArray read_idx(const std::filesystem::path& path);

}  // namespace voxot
