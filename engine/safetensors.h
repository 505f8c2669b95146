#pragma once
// Safetensors (https://github.com/huggingface/safetensors): named tensors and string metadata in one file,
// laid out as an 8-byte little-endian header length, a JSON header, and the tensors' bytes.
//
// Reading is as strict as the format: the header is one JSON object that begins with '{' and has at most 100
// MB, no key comes twice, the tensors cover the buffer exactly, without holes or overlap, and each has the
// size that its dtype and shape ask for. Errors are one line and begin with the file's name.
//
// What is written here carries a checksum of the whole file: metadata "voxot_checksum" is "xxh3-64:" and 16
// hexadecimal digits, XXH3 of the file's bytes with these digits as zeros. Other readers see one more line of
// metadata. A file whose bytes do not give its checksum is refused, and so is one where any metadata but this
// begins with "xxh3-64:", which is how a damaged key looks; a file without a checksum loads.
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "engine/host_array.h"

namespace voxot {

/// The contents of a .safetensors file.
struct SafetensorsFile {
  std::map<std::string, HostArray> tensors;
  std::map<std::string, std::string> metadata;  // less the checksum
  bool checked = false;  // of a file that was read: it has a checksum, and the right one
};

/// Throws Error for anything but a valid file, and for dtypes that HostArray lacks (fp8, complex...).
SafetensorsFile read_safetensors(const std::filesystem::path& path);
/// The same for bytes in memory; `name` begins the error messages.
SafetensorsFile parse_safetensors(std::span<const std::byte> bytes, std::string_view name);
/// Writes atomically; the same contents give the same bytes: the header is sorted by name and padded to 8
/// bytes, the data are sorted by element size, largest first, then by name, so that each tensor is aligned.
/// Throws Error for names that are not UTF-8, a tensor named "__metadata__", and an array whose bytes do not
/// fit its shape, and metadata that begins as a checksum does.
void write_safetensors(const std::filesystem::path& path, const SafetensorsFile& file);

/// Says on stderr, once in the life of the program, that a file of voxot's has no checksum (`file` was read
/// from `path`), so that damage would pass. Not for other programs' files, which never have one.
void note_without_checksum(const SafetensorsFile& file, const std::filesystem::path& path);

/// A number (double or std::int64_t) that `metadata` holds under `key`, or nothing. Throws Error, beginning
/// with `name`, for other text and for a number outside [low, high].
template <class T>
std::optional<T> metadata_number(const std::map<std::string, std::string>& metadata, const std::string& key,
                                 std::string_view name, T low, T high);

}  // namespace voxot
