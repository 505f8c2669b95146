#pragma once
// What all fuzz targets share. A target reads bytes through one of our readers and says what must hold: a
// reader answers, or it throws one voxot::Error of one line that begins with the file's name. Everything else
// (another exception, a signal, a finding of a sanitizer, more memory or time than run.sh allows) is a
// finding.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/check.h"

namespace voxot::fuzz {

/// Inputs to begin with: what a good file looks like, made here so that none lies in the repository.
std::vector<std::string> seeds();

/// Stops the target where what must hold does not.
inline void require(bool holds) {
  if (!holds) std::abort();
}

/// Calls read(), whose errors must begin with `name` (anything, where it is empty).
template <class Read>
void read_or_refuse(std::string_view name, const Read& read) {
  try {
    read();
  } catch (const Error& error) {
    const std::string_view text = error.what();
    require(!text.empty() && text.find('\n') == std::string_view::npos && text.starts_with(name));
  }
}

inline std::string_view text_of(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

/// A file in memory that readers of files can open.
class MemoryFile {
 public:
  explicit MemoryFile(std::string_view bytes);
  ~MemoryFile();
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  int file_;
  std::filesystem::path path_;
};

/// For seeds that only a writer of files can make: a place for one, and its bytes.
std::filesystem::path scratch_file(const std::string& name);
std::string bytes_of(const std::filesystem::path& path);
std::string gzip(std::string_view text);

}  // namespace voxot::fuzz
