// IDX files, raw and gzip.
#include "datasets/idx.h"

#include "tests/fuzz/fuzz.h"

using namespace voxot;

std::vector<std::string> fuzz::seeds() {
  const std::string raw(
      "\0\0\x08\x02\0\0\0\x02\0\0\0\x03"
      "abcdef",
      18);
  return {raw, gzip(raw), gzip(raw.substr(0, 12)) + gzip(raw.substr(12)), raw.substr(0, 12)};
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const fuzz::MemoryFile file(fuzz::text_of(data, size));
  fuzz::read_or_refuse(file.path().string(), [&] {
    const IdxArray array = read_idx(file.path());
    std::uint64_t count = 1;
    for (const std::int64_t extent : array.shape) count *= static_cast<std::uint64_t>(extent);
    fuzz::require(array.data.size() == count);
  });
  return 0;
}
