#include "engine/safetensors.h"

#include <fmt/format.h>

#include "tests/temp_directory.h"

using namespace voxot;
using namespace voxot::test;

namespace {

std::string safetensors(const std::string& header, const std::string& data) {
  return little_endian(header.size(), 8) + header + data;
}

std::string tensor(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return fmt::format(R"({{"dtype":"{}","shape":{},"data_offsets":{}}})", dtype, shape, offsets);
}

SafetensorsFile parse(const std::string& bytes) {
  return parse_safetensors(as_bytes(bytes), "x.safetensors");
}

bool same_files(const SafetensorsFile& a, const SafetensorsFile& b) {
  return a.metadata == b.metadata &&
         std::ranges::equal(a.tensors, b.tensors, [](const auto& left, const auto& right) {
           return left.first == right.first && same(left.second, right.second);
         });
}

}  // namespace

TEST_CASE("safetensors round trips every type and shape", "[safetensors]") {
  const TempDirectory folder;
  SafetensorsFile file;
  for (const FileType type : kAllTypes) {
    file.tensors[std::string("odd.") + name_of(type)] = counting_array(type, {3, 1, 5});
    file.tensors[std::string("scalar.") + name_of(type)] = counting_array(type, {});
    file.tensors[std::string("empty.") + name_of(type)] = counting_array(type, {2, 0});
  }
  file.tensors[""] = counting_array(FileType::u8, {7});
  file.tensors["quote\" \\ \n \xce\xb3"] = counting_array(FileType::f32, {1});
  file.metadata = {{"format", "pt"}, {"", "\xce\xb3\n\""}};
  write_safetensors(folder / "x.safetensors", file);
  CHECK(same_files(read_safetensors(folder / "x.safetensors"), file));
  CHECK(read_safetensors(folder / "x.safetensors").checked);
  write_safetensors(folder / "y.safetensors", file);
  CHECK(read_file(folder / "x.safetensors") == read_file(folder / "y.safetensors"));

  for (const SafetensorsFile& small :
       {SafetensorsFile{}, SafetensorsFile{{}, {{"k", "v"}}},
        SafetensorsFile{{{"a", counting_array(FileType::u8, {0})}, {"b", counting_array(FileType::u8, {0})}},
                        {}}}) {
    write_safetensors(folder / "x.safetensors", small);
    CHECK(same_files(read_safetensors(folder / "x.safetensors"), small));
    CHECK(read_file(folder / "x.safetensors").size() % 8 == 0);
  }
  CHECK(folder.entries() == 2);
}

TEST_CASE("safetensors layout is sorted and aligned", "[safetensors]") {
  const TempDirectory folder;
  const SafetensorsFile file{
      {{"a", counting_array(FileType::u8, {1, 1})}, {"b", counting_array(FileType::f32, {1})}}, {{"k", "v"}}};
  write_safetensors(folder / "x.safetensors", file);
  // The digits: xxh3_64_hexdigest of Python's xxhash, of the file with zeros in their place.
  const std::string header =
      R"({"__metadata__":{"k":"v","voxot_checksum":"xxh3-64:DIGITS"},"a":{"data_offsets":[4,5],"dtype":"U8",)"
      R"("shape":[1,1]},"b":{"data_offsets":[0,4],"dtype":"F32","shape":[1]}})";
  std::string expected = header;
  expected.replace(expected.find("DIGITS"), 6, "60f6676d8d38683d");
  const std::string padding((8 - expected.size() % 8) % 8, ' ');
  CHECK(as_text(read_file(folder / "x.safetensors")) ==
        safetensors(expected + padding, from_hex("0001020300")));
}

TEST_CASE("safetensors: no bit of a file can change unseen", "[safetensors]") {
  const TempDirectory folder;
  const SafetensorsFile file{{{"transport.a", counting_array(FileType::f32, {5, 3})},
                              {"n", counting_array(FileType::i64, {})},
                              {"z", counting_array(FileType::u8, {9})}},
                             {{"format", "pt"}, {"noise_std", "1e-07"}}};
  write_safetensors(folder / "x.safetensors", file);
  const std::string whole = as_text(read_file(folder / "x.safetensors"));
  CHECK(parse(whole).checked);
  int passed = 0;
  for (std::size_t byte = 0; byte < whole.size(); ++byte) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string damaged = whole;
      damaged[byte] = static_cast<char>(damaged[byte] ^ (1 << bit));
      if (error_of([&] { parse(damaged); }).starts_with("x.safetensors: ")) continue;
      ++passed;
      UNSCOPED_INFO("bit " << bit << " of byte " << byte);
    }
  }
  CHECK(passed == 0);
  // Whole words and swapped bytes of the data as well.
  std::string zeros = whole;
  zeros.replace(zeros.size() - 40, 8, 8, '\0');
  CHECK_THAT(error_of([&] { parse(zeros); }),
             Catch::Contains("x.safetensors: damaged: its checksum is xxh3-64:"));
  std::string swapped = whole;
  std::swap(swapped[swapped.size() - 1], swapped[swapped.size() - 2]);
  CHECK_THAT(error_of([&] { parse(swapped); }), Catch::Contains("damaged"));
}

TEST_CASE("safetensors: files without a checksum load, odd ones do not", "[safetensors]") {
  const auto with = [](const std::string& metadata) {
    return parse(safetensors(R"({"__metadata__":{)" + metadata + "}}", ""));
  };
  CHECK_FALSE(with("").checked);
  CHECK_FALSE(with(R"("checksum":"md5:0")").checked);
  const auto refused = [&](const std::string& metadata, const std::string& part) {
    CHECK_THAT(error_of([&] { with(metadata); }), Catch::Contains(part));
  };
  refused(R"("voxot_checksum":"")",
          R"(damaged: metadata voxot_checksum: expected "xxh3-64:" and 16 digits, got "")");
  refused(R"("voxot_checksum":"xxh3-64:0123")", "damaged: metadata voxot_checksum");
  refused(R"("voxot_checksum":"xxh3-63:0123456789abcdef")", "damaged: metadata voxot_checksum");
  refused(R"("voxot_checksum":"xxh3-64:0123456789abcdef")",
          "damaged: its checksum is xxh3-64:0123456789abcdef");
  refused(R"("voxot_checksum":"xxh3-64:0123456789abcde\u0066")", "damaged: metadata voxot_checksum");
  refused(R"("a":"xxh3-64:0123456789abcdef")", "damaged: a checksum under the metadata key 'a'");
  const TempDirectory folder;
  const auto path = folder / "x.safetensors";
  CHECK_THAT(error_of([&] {
               write_safetensors(path, {{}, {{"k", "xxh3-64:"}}});
             }),
             Catch::Contains("metadata 'k'"));
  CHECK(folder.entries() == 0);
}

TEST_CASE("safetensors: numbers in metadata round trip", "[safetensors]") {
  for (const double value : {1e-7, 0.1, 1.0 / 3, 5e-324, 123456.789, 1e22, 0.0}) {
    const std::map<std::string, std::string> metadata{{"x", fmt::format("{}", value)}};
    CHECK(metadata_number(metadata, "x", "f", 0.0, 1e300) == value);
  }
  for (const char* bad : {"", " 1", "1 ", "+1", "0x1", "1,5", "1e", "nan", "inf", "-1", "1e400", "0.1x"}) {
    INFO(bad);
    CHECK_THAT(error_of([&] {
                 metadata_number<double>({{"x", bad}}, "x", "f", 0.0, 1e6);
               }),
               Catch::StartsWith("f: metadata x: expected a number from 0 to 1000000"));
  }
}

TEST_CASE("safetensors reads what the Python package writes", "[safetensors]") {
  // safetensors.numpy.save({'b': [1, 2] as float32, 'a': [[7]] as uint8}, metadata={'k': 'v'}), version
  // 0.8.0.
  const SafetensorsFile file =
      parse(safetensors(R"({"__metadata__":{"k":"v"},"b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
                        R"("a":{"dtype":"U8","shape":[1,1],"data_offsets":[8,9]}}   )",
                        from_hex("0000803f0000004007")));
  CHECK(file.metadata == std::map<std::string, std::string>{{"k", "v"}});
  CHECK(file.tensors.at("b").to_floats() == std::vector<float>{1, 2});
  CHECK(file.tensors.at("a").to_floats() == std::vector<float>{7});
  CHECK(file.tensors.at("a").shape == std::vector<std::int64_t>{1, 1});
}

TEST_CASE("safetensors refuses bad files", "[safetensors]") {
  const std::string data = from_hex("0000803f00000040");
  const auto with = [&](const std::string& header) { return safetensors(header, data); };
  const auto one = [&](const std::string& dtype, const std::string& shape, const std::string& offsets) {
    return with(R"({"a":)" + tensor(dtype, shape, offsets) + "}");
  };
  const auto two = [&](const std::string& first, const std::string& second) {
    return with(R"({"a":)" + tensor("U8", "[4]", first) + R"(,"b":)" + tensor("U8", "[4]", second) + "}");
  };
  const std::string whole = tensor("F32", "[2]", "[0,8]");
  const std::string deep(100000, '[');
  const std::vector<BadFile> files{
      {"", "truncated: expected at least 8 bytes, the file has 0"},
      {"1234567", "truncated: expected at least 8 bytes, the file has 7"},
      {std::string(8, '\xff'), "a header of 18446744073709551615 bytes is beyond the limit of 100000000"},
      {little_endian(100000001, 8) + "{}", "beyond the limit"},
      {little_endian(100000000, 8) + "{}", "truncated: its header has 100000000 bytes, the file has 2 left"},
      {with(""), "expected a header that begins with '{', got ''"},
      {with(" {}"), "expected a header that begins with '{', got ' {}'"},
      {with("[]"), "expected a header that begins with '{'"},
      {with("\x93NUMPY\n"), "got '\\x93NUMPY\\x0a'"},
      {with("{"), "the header is not valid JSON at byte"},
      {with("{}x"), "the header is not valid JSON at byte 3"},
      {with("{}{}"), "the header is not valid JSON at byte 3"},
      {with("{'a':1}"), "the header is not valid JSON at byte"},
      {with(R"({"a":)" + whole + ",}"), "the header is not valid JSON at byte"},
      {with("{/**/}"), "the header is not valid JSON at byte"},
      {with("{\"\xff\":1}"), "the header is not valid JSON at byte"},
      {with(R"({"a":)" + whole + "}" + std::string("\0x", 2)), "the header has a zero byte at byte"},
      {with("{}"), "the tensors cover 0 bytes of data, the file has 8"},
      {with(R"({"a":)" + deep), "expected an object for 'a', got an array"},
      {with(R"({"a":1})"), "expected an object for 'a', got a number"},
      {with(R"({"a":null})"), "expected an object for 'a', got null"},
      {with(R"({"a":{}})"), "tensor 'a' has no 'dtype'"},
      {with(R"({"a":{"dtype":"F32","data_offsets":[0,8]}})"), "tensor 'a' has no 'shape'"},
      {with(R"({"a":{"dtype":"F32","shape":[2]}})"), "tensor 'a' has no 'data_offsets'"},
      {with(R"({"a":{"dtype":"F32","dtype":"F32"}})"), "tensor 'a' has 'dtype' twice"},
      {with(R"({"a":{"strides":[1]}})"), "tensor 'a' has an unknown key 'strides'"},
      {with(R"({"a":)" + whole + R"(,"a":)" + whole + "}"), "'a' comes twice"},
      {with(R"({"a":)" + whole + R"(,"\u0061":)" + whole + "}"), "'a' comes twice"},
      {with(R"({"a\n\u001b[2J":1})"), "expected an object for 'a\\x0a\\x1b[2J', got a number"},
      {with(R"({"__metadata__":{},"__metadata__":{}})"), "'__metadata__' comes twice"},
      {with(R"({"__metadata__":{"k":"1","k":"2"}})"), "metadata key 'k' comes twice"},
      {with(R"({"__metadata__":{"k":1}})"), "expected a string for metadata key 'k', got a number"},
      {with(R"({"__metadata__":{"k":{}}})"), "expected a string for metadata key 'k', got an object"},
      {with(R"({"__metadata__":"k"})"), "expected an object for '__metadata__', got a string"},
      {with(R"({"a":{"dtype":5}})"), "tensor 'a': expected a string as dtype, got a number"},
      {with(R"({"a":{"shape":5}})"), "tensor 'a': expected an array as shape, got a number"},
      {with(R"({"a":{"data_offsets":{}}})"), "tensor 'a': expected an array as data_offsets, got an object"},
      {one("F8_E4M3", "[8]", "[0,8]"), "tensor 'a' has dtype 'F8_E4M3', which is not supported"},
      {one("f32", "[2]", "[0,8]"), "tensor 'a' has dtype 'f32', which is not supported"},
      {one("F32", "[-2]", "[0,8]"), "expected a non-negative integer in the shape, got a negative number"},
      {one("F32", "[2.0]", "[0,8]"), "expected a non-negative integer in the shape, got 2.0"},
      {one("F32", "[[2]]", "[0,8]"), "expected a non-negative integer in the shape, got an array"},
      {one("F32", "[18446744073709551615]", "[0,8]"), "an extent of 18446744073709551615, beyond 64 bits"},
      {one("F32", "[18446744073709551618]", "[0,8]"), "in the shape, got 18446744073709551618"},
      {one("F32", "[4294967296,4294967296,2]", "[0,8]"), "overflows 64 bits"},
      {one("F32", "[4611686018427387906]", "[0,8]"), "overflows 64 bits"},
      {one("F32", "[3]", "[0,8]"), "tensor 'a', f32 [3], needs 12 bytes, its offsets hold 8"},
      {one("F32", "[]", "[0,8]"), "tensor 'a', f32 [], needs 4 bytes, its offsets hold 8"},
      {one("F32", "[2]", "[0]"), "tensor 'a' has 1 data offsets, expected 2"},
      {one("F32", "[2]", "[0,4,8]"), "tensor 'a' has 3 data offsets, expected 2"},
      {one("F32", "[2]", "[0,\"8\"]"), "in the data_offsets, got a string"},
      {one("F32", "[2]", "[8,0]"), "tensor 'a' ends at 0, before its begin at 8"},
      {one("F32", "[4]", "[0,16]"), "truncated: tensor 'a' ends at byte 16 of the data, the file has 8"},
      {one("F32", "[2]", "[0,18446744073709551615]"),
       "truncated: tensor 'a' ends at byte 18446744073709551615"},
      {one("F32", "[1]", "[0,4]"), "the tensors cover 4 bytes of data, the file has 8"},
      {one("F32", "[1]", "[4,8]"), "hole before tensor 'a': it begins at 4, expected 0"},
      {two("[0,4]", "[0,4]"), "overlap before tensor 'b': it begins at 0, expected 4"},
      {two("[0,4]", "[2,6]"), "overlap before tensor 'b': it begins at 2, expected 4"},
      {two("[4,8]", "[5,9]"), "hole before tensor 'a': it begins at 4, expected 0"},
  };
  check_refused(files, "x.safetensors", parse);
  check_damage(with(R"({"__metadata__":{"k":"v"},"a":)" + whole + "}  "), parse);
}

TEST_CASE("safetensors that cannot be read or written", "[safetensors][atomic_file]") {
  const TempDirectory folder;
  const std::filesystem::path path = folder / "x.safetensors";
  const SafetensorsFile good{{{"a", counting_array(FileType::f32, {2})}}, {}};
  write_safetensors(path, good);
  const auto refused = [&](const std::filesystem::path& target, const SafetensorsFile& file,
                           const std::string& part) {
    const std::string message = error_of([&] { write_safetensors(target, file); });
    INFO(message);
    CHECK(message.starts_with(target.string() + ": "));
    CHECK(message.find(part) != std::string::npos);
  };
  refused(path, {{{"a", {FileType::f32, {2}, {}}}}, {}},
          "tensor 'a': f32 [2] needs 8 bytes, the array holds 0");
  refused(path, {{{"__metadata__", counting_array(FileType::f32, {2})}}, {}}, "no tensor can be named");
  refused(path, {{{"\xff", counting_array(FileType::f32, {2})}}, {}}, "not valid UTF-8");
  refused(path, {{}, {{"k", "\xff"}}}, "not valid UTF-8");
  refused(folder / "no/x.safetensors", good, "cannot create");
  refused(folder.path(), good, "not a regular file");
  CHECK(same_files(read_safetensors(path), good));
  CHECK(folder.entries() == 1);
  CHECK(error_of([&] { read_safetensors(folder / "none"); }).find("none: no such file") != std::string::npos);
}
