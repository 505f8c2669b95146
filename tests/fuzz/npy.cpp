// .npy arrays; what reads must also be written, and read back equal.
#include "engine/npy.h"

#include <cstring>

#include "tests/fuzz/fuzz.h"

using namespace voxot;

std::vector<std::string> fuzz::seeds() {
  std::vector<std::string> all;
  for (const HostArray& array :
       {HostArray::from_floats({2, 3}, {1, 2, 3, 4, 5, 6}), HostArray::from_int64({1}, {7}),
        HostArray::from_doubles({}, {0.5}), HostArray::from_floats({3, 0}, {})}) {
    all.push_back(npy_header(array, "seed") +
                  std::string(reinterpret_cast<const char*>(array.bytes.data()), array.bytes.size()));
  }
  const auto with = [](const std::string& dictionary, const std::string& data) {
    std::string header("\x93NUMPY\x01\x00", 8);
    header += {static_cast<char>(dictionary.size()), '\0'};
    return header + dictionary + data;
  };
  all.push_back(
      with("{'descr': '>f2', 'fortran_order': True, 'shape': (2, 2), }\n", "\x3c\x00\x3c\x01\x3c\x02\x3c"));
  all.push_back(with("{'shape': (2L,), 'fortran_order': False, 'descr': '|b1'}", std::string("\x00\x01", 2)));
  return all;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::read_or_refuse("input", [&] {
    const HostArray array = parse_npy(std::as_bytes(std::span(data, size)), "input");
    array.check();
    (void)array.to_floats();
    const std::string header = npy_header(array, "input");
    std::vector<std::byte> whole(header.size() + array.bytes.size());
    std::memcpy(whole.data(), header.data(), header.size());
    if (!array.bytes.empty())
      std::memcpy(whole.data() + header.size(), array.bytes.data(), array.bytes.size());
    const HostArray again = parse_npy(std::move(whole), "again");
    fuzz::require(again.type == array.type && again.shape == array.shape && again.bytes == array.bytes);
  });
  fuzz::read_or_refuse(
      "", [&] { (void)parse_npy(std::as_bytes(std::span(data, size)), "input").to_integers("input"); });
  return 0;
}
