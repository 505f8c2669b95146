// .npz archives.
#include "engine/npy.h"
#include "tests/fuzz/fuzz.h"

using namespace voxot;

std::vector<std::string> fuzz::seeds() {
  std::vector<std::string> all;
  for (const bool compress : {false, true}) {
    const auto file = scratch_file("seed.npz");
    write_npz(file,
              {{"data", HostArray::from_floats({2, 8}, std::vector<float>(16, 1.0F))},
               {"labels", HostArray::from_int64({2}, {3, 5})}},
              compress);
    all.push_back(bytes_of(file));
  }
  return all;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const fuzz::MemoryFile file(fuzz::text_of(data, size));
  fuzz::read_or_refuse(file.path().string(), [&] {
    for (const auto& [name, array] : read_npz(file.path())) array.check();
  });
  return 0;
}
