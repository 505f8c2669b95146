#pragma once
// A folder for the files of one test, and what the tests of file formats share.
#include <stdlib.h>

#include <catch2/catch.hpp>
#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/atomic_file.h"
#include "engine/host_array.h"
#include "kernels/check.h"
#include "kernels/sizes.h"

namespace voxot::test {

/// A fresh folder under the system's folder for temporary files, removed with its contents at the end.
class TempDirectory {
 public:
  TempDirectory() {
    std::string name = (std::filesystem::temp_directory_path() / "voxot-test-XXXXXX").string();
    VOXOT_CHECK(::mkdtemp(name.data()) != nullptr, "{}: cannot create a folder for a test", name);
    path_ = name;
  }
  TempDirectory(const TempDirectory&) = delete;
  TempDirectory& operator=(const TempDirectory&) = delete;
  ~TempDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  std::filesystem::path operator/(std::string_view name) const { return path_ / name; }
  /// Names of what the folder holds.
  [[nodiscard]] std::size_t entries() const {
    return to_size(std::distance(std::filesystem::directory_iterator(path_), {}));
  }

 private:
  std::filesystem::path path_;
};

inline std::span<const std::byte> as_bytes(std::string_view text) { return std::as_bytes(std::span(text)); }

inline std::string as_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// "0aff" as two bytes.
inline std::string from_hex(std::string_view hex) {
  std::string bytes;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2) {
    bytes += static_cast<char>(std::stoi(std::string(hex.substr(i, 2)), nullptr, 16));
  }
  return bytes;
}

/// `size` low bytes of `value`, least significant first.
inline std::string little_endian(std::uint64_t value, int size) {
  std::string bytes;
  for (int i = 0; i < size; ++i) bytes += static_cast<char>(value >> (8 * i) & 0xff);
  return bytes;
}

/// The message of the voxot::Error that `call` throws; empty where it throws none. Other exceptions pass.
template <class Call>
std::string error_of(const Call& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return {};
}

/// One bad file and a part of the message that it must give.
struct BadFile {
  std::string bytes;
  std::string message;
};

/// Checks that parse(bytes) throws one line that begins with `name` and has the expected part.
template <class Parse>
void check_refused(const std::vector<BadFile>& files, std::string_view name, const Parse& parse) {
  for (const BadFile& file : files) {
    const std::string message = error_of([&] { parse(file.bytes); });
    INFO("expected '" << file.message << "'");
    INFO("got      '" << message << "'");
    CHECK(message.find(file.message) != std::string::npos);
    CHECK(message.starts_with(std::string(name) + ": "));
    CHECK(message.find_first_of("\n\r\x1b") == std::string::npos);
  }
}

/// Checks that every proper beginning of a valid file is refused, and that a file with any one byte changed
/// either is refused or read: nothing but voxot::Error may come out.
template <class Parse>
void check_damage(const std::string& valid, const Parse& parse) {
  REQUIRE(error_of([&] { parse(valid); }).empty());
  for (std::size_t length = 0; length < valid.size(); ++length) {
    INFO("the first " << length << " bytes");
    CHECK_FALSE(error_of([&] { parse(valid.substr(0, length)); }).empty());
  }
  CHECK_FALSE(error_of([&] { parse(valid + '\0'); }).empty());
  int refused = 0;
  for (std::size_t i = 0; i < valid.size(); ++i) {
    for (const int change : {0x01, 0x08, 0x20, 0x80, 0xff}) {
      std::string damaged = valid;
      damaged[i] = static_cast<char>(damaged[i] ^ change);
      refused += error_of([&] { parse(damaged); }).empty() ? 0 : 1;
    }
  }
  CHECK(refused > 0);
}

inline constexpr FileType kAllTypes[] = {FileType::f16,    FileType::bf16, FileType::f32, FileType::f64,
                                         FileType::i8,     FileType::u8,   FileType::i16, FileType::u16,
                                         FileType::i32,    FileType::u32,  FileType::i64, FileType::u64,
                                         FileType::boolean};

/// An array whose bytes are 0, 1, 2... (0 and 1 for bool).
inline HostArray counting_array(FileType type, std::vector<std::int64_t> shape) {
  HostArray array{type, std::move(shape), {}};
  array.bytes.resize(to_size(array.count()) * size_of(type));
  for (std::size_t i = 0; i < array.bytes.size(); ++i) {
    array.bytes[i] = static_cast<std::byte>(type == FileType::boolean ? i % 2 : i);
  }
  return array;
}

inline bool same(const HostArray& a, const HostArray& b) {
  return a.type == b.type && a.shape == b.shape && a.bytes == b.bytes;
}

}  // namespace voxot::test
