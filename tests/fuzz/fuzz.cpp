#include "tests/fuzz/fuzz.h"

#include <sys/mman.h>
#include <unistd.h>
#include <zlib.h>

#include <fstream>
#include <sstream>

namespace voxot::fuzz {

MemoryFile::MemoryFile(std::string_view bytes) : file_(memfd_create("input", MFD_CLOEXEC)) {
  require(file_ >= 0);
  while (!bytes.empty()) {
    const ssize_t n = write(file_, bytes.data(), bytes.size());
    require(n > 0);
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
  path_ = "/proc/self/fd/" + std::to_string(file_);
}

MemoryFile::~MemoryFile() { close(file_); }

std::filesystem::path scratch_file(const std::string& name) {
  return std::filesystem::path(std::getenv("VOXOT_FUZZ_SEEDS")) / name;
}

std::string bytes_of(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream bytes;
  bytes << in.rdbuf();
  return bytes.str();
}

std::string gzip(std::string_view text) {
  constexpr int kLargestWindow = 15, kGzip = 16;
  z_stream stream{};
  require(deflateInit2(&stream, Z_BEST_COMPRESSION, Z_DEFLATED, kLargestWindow + kGzip, 8,
                       Z_DEFAULT_STRATEGY) == Z_OK);
  std::string packed(text.size() + 1024, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(packed.data());
  stream.avail_out = static_cast<uInt>(packed.size());
  require(deflate(&stream, Z_FINISH) == Z_STREAM_END);
  packed.resize(packed.size() - stream.avail_out);
  deflateEnd(&stream);
  return packed;
}

}  // namespace voxot::fuzz

/// Where VOXOT_FUZZ_SEEDS names a folder, the seeds go there before libFuzzer reads it.
extern "C" int LLVMFuzzerInitialize(int*, char***) {
  using namespace voxot::fuzz;
  if (std::getenv("VOXOT_FUZZ_SEEDS") == nullptr) return 0;
  int number = 0;
  for (const std::string& seed : seeds()) {
    std::ofstream(scratch_file("seed-" + std::to_string(number++)), std::ios::binary) << seed;
  }
  return 0;
}
