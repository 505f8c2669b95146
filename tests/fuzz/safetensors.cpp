// Safetensors; what reads has a header of one entry for each tensor, and every tensor its bytes.
#include "engine/safetensors.h"

#include "tests/fuzz/fuzz.h"

using namespace voxot;

std::vector<std::string> fuzz::seeds() {
  const auto file = scratch_file("seed.safetensors");
  SafetensorsFile contents;
  contents.tensors = {{"a.weight", HostArray::from_floats({2, 3}, {1, 2, 3, 4, 5, 6})},
                      {"a.steps", HostArray::from_int64({}, {7})}};
  contents.metadata = {{"format", "pt"}, {"noise_std", "0.1"}};
  write_safetensors(file, contents);
  const auto with = [](const std::string& header) {
    std::string length(8, '\0');
    length[0] = static_cast<char>(header.size());
    return length + header;
  };
  return {bytes_of(file), with("{}"), with(R"({"x":{"dtype":"F32","shape":[3,0,9],"data_offsets":[0,0]}})"),
          with(R"({"__metadata__":{"a":"b"},"x":{"dtype":"BF16","shape":[1],"data_offsets":[0,2]}})") + "xy"};
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::read_or_refuse("input", [&] {
    const SafetensorsFile file = parse_safetensors(std::as_bytes(std::span(data, size)), "input");
    for (const auto& [name, array] : file.tensors) {
      array.check();
      (void)array.to_floats();
    }
    (void)metadata_number(file.metadata, "noise_std", "input", 0.0, 1e6);
    (void)metadata_number<std::int64_t>(file.metadata, "noise_cells", "input", 0, 256);
  });
  return 0;
}
