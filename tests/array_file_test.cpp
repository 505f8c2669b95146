// Arrays that users bring: which one is meant, what its axes are, what its numbers mean.
#include "datasets/array_file.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <limits>

#include "engine/atomic_file.h"
#include "kernels/sizes.h"
#include "tests/temp_directory.h"

using namespace voxot;
using namespace voxot::test;
using Catch::Contains;

namespace {

HostArray zeros(const std::vector<std::int64_t>& shape, FileType type = FileType::f32) {
  HostArray array{type, shape, {}};
  array.bytes.resize(to_size(array.count()) * size_of(type));
  return array;
}

/// A .npz file whose array `name` has a type that is not read: its header says so in as many bytes.
void write_with_unreadable(const std::filesystem::path& path, std::map<std::string, HostArray> arrays,
                           const std::string& name, const std::string& type) {
  arrays[name] = zeros({3}, FileType::u8);
  write_npz(path, arrays);
  std::string bytes = as_text(read_file(path));
  const std::size_t member = bytes.find(name + ".npy");
  const std::size_t type_at = bytes.find("'|u1'", member);
  REQUIRE(type_at != std::string::npos);
  // The archive's checksums are of the bytes that were; what is not read is not checked.
  bytes.replace(type_at, 5, type);
  write_file_atomically(path, as_bytes(bytes));
}

}  // namespace

TEST_CASE("array file: one rule names the samples", "[datasets][npz]") {
  const TempDirectory folder;
  const auto path = folder / "x.npz";
  const auto name_in = [&](const std::vector<std::string>& names, const std::string& key = "") {
    std::map<std::string, HostArray> arrays;
    for (const std::string& name : names) arrays[name] = zeros({2, 1});
    write_npz(path, arrays);
    return ArrayFile(path, "test").samples(key, "--key");
  };
  CHECK(name_in({"a", "data", "x"}) == "data");
  CHECK(name_in({"a", "x", "labels"}) == "x");
  CHECK(name_in({"arr_0"}) == "arr_0");
  CHECK(name_in({"images", "labels", "y", "colours"}) == "images");
  CHECK(name_in({"a", "data"}, "a") == "a");
  CHECK_THROWS_WITH(name_in({"a", "b"}), Contains("--key says which. It holds a f32 [2, 1], b f32 [2, 1]"));
  CHECK_THROWS_WITH(name_in({"a", "data"}, "b"), Contains("has no array b; it holds a f32 [2, 1], data f32"));
  write_npy(folder / "x.npy", zeros({2, 1}));
  CHECK(ArrayFile(folder / "x.npy", "test").samples("", "--key") == "data");
  CHECK_THROWS_WITH(ArrayFile(folder / "x.npy", "test").samples("x", "--key"), Contains(".npy file has one"));
  CHECK_THROWS_AS(ArrayFile(folder / "x.csv", "test"), UsageError);
}

TEST_CASE("array file: what cannot be read stands in nobody's way", "[datasets][npz]") {
  const TempDirectory folder;
  const auto path = folder / "x.npz";
  for (const std::string type : {"'<U8'", "'|O' "}) {
    write_with_unreadable(path, {{"voxels", zeros({2, 1})}}, "ids", type);
    const ArrayFile file(path, "test");
    const std::string name = file.samples("", "--key");
    CHECK(name == "voxels");
    CHECK(file.read(name).shape == std::vector<std::int64_t>{2, 1});
    CHECK_THROWS_AS(file.read("ids"), Error);
    CHECK(file.contents().find("voxels f32 [2, 1]") != std::string::npos);
  }
}

TEST_CASE("array file: axes that can be read two ways are refused with the line that settles them",
          "[datasets]") {
  using Axes = std::array<std::int64_t, 5>;
  const auto axes = [](const std::vector<std::int64_t>& shape) { return sample_axes(zeros(shape), "x.npy"); };
  CHECK(axes({6, 2, 8, 8, 8}) == Axes{6, 2, 8, 8, 8});
  CHECK(axes({6, 16, 1, 1, 1}) == Axes{6, 16, 1, 1, 1});
  CHECK(axes({6, 3, 16, 16}) == Axes{6, 3, 1, 16, 16});
  CHECK(axes({6, 1, 2, 1}) == Axes{6, 1, 1, 2, 1});
  CHECK(axes({6, 7}) == Axes{6, 7, 1, 1, 1});
  CHECK_THROWS_WITH(axes({60, 8, 8, 8}), Contains("x.npy: f32 [60, 8, 8, 8]") &&
                                             Contains("x[:, None] for volumes of 8×8×8") &&
                                             Contains("x[:, :, None] for images of 8 channels"));
  CHECK_THROWS_WITH(axes({6, 3, 3, 3}), Contains("x[:, None]"));
  CHECK_THROWS_WITH(axes({6, 16, 16, 3}), Contains("numpy.moveaxis(x, -1, 1) for images whose 3 channels"));
  CHECK_THROWS_WITH(axes({6, 16, 16, 16, 3}), Contains("numpy.moveaxis(x, -1, 1) for 3 channels"));
  CHECK_THROWS_WITH(axes({6, 16, 16}), Contains("x[:, None]"));
  CHECK_THROWS_WITH(axes({0, 1, 8, 8, 8}), Contains("no empty axis"));
}

TEST_CASE("array file: numbers in a network's scale, or none", "[datasets]") {
  HostArray bytes = zeros({2, 2}, FileType::u8);
  bytes.bytes = {std::byte{0}, std::byte{255}, std::byte{51}, std::byte{204}};
  const std::vector<float> scaled = network_values<float>(bytes, "x");
  CHECK(scaled[0] == -1);
  CHECK(scaled[1] == 1);
  CHECK(scaled[2] == Approx(-0.6));
  CHECK_FALSE(scale_text(bytes).empty());
  HostArray flags = zeros({2}, FileType::boolean);
  flags.bytes[1] = std::byte{1};
  CHECK(network_values<float>(flags, "x") == std::vector<float>{-1, 1});
  CHECK(scale_text(zeros({2})).empty());
  for (const FileType type : {FileType::i8, FileType::i16, FileType::u16, FileType::i32, FileType::i64}) {
    CHECK_THROWS_WITH(network_values<float>(zeros({2, 1, 8, 8, 8}, type), "x.npy"),
                      Contains("x.npy: expected floats, u8 or booleans, got") && Contains("not known"));
  }
  HostArray odd = HostArray::from_floats({2, 1, 2, 2}, {0, 1, 2, 3, 4, 5, std::nanf(""), 7});
  CHECK_THROWS_WITH(network_values<float>(odd, "x.npy"), Contains("x.npy: sample 1, place [0, 1, 0] is nan"));
  odd = HostArray::from_floats({2}, {0, std::numeric_limits<float>::infinity()});
  CHECK_THROWS_WITH(network_values<double>(odd, "x.npy"), Contains("sample 1 is inf"));
  const HostArray large = HostArray::from_doubles({1, 2}, {0, 1e300});
  CHECK_THROWS_WITH(network_values<float>(large, "x.npy"), Contains("1e+300") && Contains("fp32 holds"));
  CHECK(network_values<double>(large, "x.npy")[1] == 1e300);
}
