// The archive half of engine/npy.h.
#include <fmt/format.h>
#include <zlib.h>

#include "engine/npy.h"
#include "tests/temp_directory.h"

using namespace voxot;
using namespace voxot::test;

namespace {

/// numpy.savez(a=numpy.arange(3, dtype='u1')), stored and deflated, from numpy 2.4.6.
const char* const kStoredByNumpy =
    "504b03042d00000000000000210048ea66ecffffffffffffffff05001400612e6e70790100100083000000000000008300000000"
    "000000934e"
    "554d5059010076007b276465736372273a20277c7531272c2027666f727472616e5f6f72646572273a2046616c73652c20277368"
    "617065273a"
    "2028332c292c207d2020202020202020202020202020202020202020202020202020202020202020202020202020202020202020"
    "2020202020"
    "20202020202020202020200a000102504b01022d032d00000000000000210048ea66ec8300000083000000050000000000000000"
    "0000008001"
    "00000000612e6e7079504b0506000000000100010033000000ba0000000000";
const char* const kDeflatedByNumpy =
    "504b03042d00000008000000210048ea66ecffffffffffffffff05001400612e6e70790100100083000000000000004700000000"
    "0000009bec"
    "17ea1b10c9c850c650ad9e925a9c5ca46ea5a05e536aa8aea3a09e965f54529498179f5f94920a12774bcc294e058a17672416a4"
    "02f91ac63a"
    "9a3a0ab50a14002e06462600504b01022d032d00000008000000210048ea66ec4700000083000000050000000000000000000000"
    "8001000000"
    "00612e6e7079504b05060000000001000100330000007e0000000000";

/// What a zip's directory says of a member; `size` and `flags` may lie.
struct Member {
  std::string name, content;
  int method = 0, flags = 0;
  std::uint64_t size = 0;
};

/// A zip archive of stored members, written by hand.
std::string zip_of(const std::vector<Member>& members) {
  std::string locals, directory;
  for (const Member& member : members) {
    const auto crc = ::crc32(0, reinterpret_cast<const Bytef*>(member.content.data()),
                             static_cast<uInt>(member.content.size()));
    const std::string shared =
        little_endian(20, 2) + little_endian(static_cast<std::uint64_t>(member.flags), 2) +
        little_endian(static_cast<std::uint64_t>(member.method), 2) + little_endian(0x00210000, 4) +
        little_endian(crc, 4) + little_endian(member.content.size(), 4) +
        little_endian(member.size != 0 ? member.size : member.content.size(), 4) +
        little_endian(member.name.size(), 2) + little_endian(0, 2);
    directory += "PK\x01\x02" + little_endian(20, 2) + shared + std::string(10, '\0') +
                 little_endian(locals.size(), 4) + member.name;
    locals += "PK\x03\x04" + shared + member.name + member.content;
  }
  return locals + directory + "PK\x05\x06" + std::string(4, '\0') + little_endian(members.size(), 2) +
         little_endian(members.size(), 2) + little_endian(directory.size(), 4) +
         little_endian(locals.size(), 4) + std::string(2, '\0');
}

std::map<std::string, HostArray> read_npz_bytes(const TempDirectory& folder, const std::string& bytes) {
  write_file_atomically(folder / "x.npz", as_bytes(bytes));
  return read_npz(folder / "x.npz");
}

/// A .npy array of three bytes.
std::string three_bytes() { return npy_header(counting_array(FileType::u8, {3}), "x") + from_hex("000102"); }

/// An array of Python objects.
std::string object_array() {
  std::string array = three_bytes();
  return array.replace(array.find("'|u1'"), 5, "'|O' ");
}

}  // namespace

TEST_CASE("npz round trips and is deterministic", "[npy][npz]") {
  const TempDirectory folder;
  std::map<std::string, HostArray> arrays;
  for (const FileType type : kAllTypes) {
    if (type != FileType::bf16) arrays[name_of(type)] = counting_array(type, {3, 5});
  }
  arrays["scalar"] = counting_array(FileType::f64, {});
  arrays["empty"] = counting_array(FileType::f32, {0, 3});
  arrays["folder/\xce\xb3"] = counting_array(FileType::u8, {2000, 1000});
  for (const bool compress : {false, true}) {
    write_npz(folder / "x.npz", arrays, compress);
    const std::map<std::string, HostArray> back = read_npz(folder / "x.npz");
    REQUIRE(back.size() == arrays.size());
    for (const auto& [name, array] : arrays) CHECK(same(back.at(name), array));
    write_npz(folder / "y.npz", arrays, compress);
    CHECK(read_file(folder / "x.npz") == read_file(folder / "y.npz"));
  }
  CHECK(folder.entries() == 2);
  CHECK(error_of([&] { write_npz(folder / "z.npz", {}); }).find("at least one array") != std::string::npos);
  CHECK(error_of([&] {
          write_npz(folder / "z.npz", {{"", counting_array(FileType::u8, {})}});
        }).find("cannot name") != std::string::npos);
}

TEST_CASE("npz reads what numpy writes", "[npz]") {
  const TempDirectory folder;
  for (const char* hex : {kStoredByNumpy, kDeflatedByNumpy}) {
    const auto arrays = read_npz_bytes(folder, from_hex(hex));
    REQUIRE(arrays.size() == 1);
    CHECK(same(arrays.at("a"), counting_array(FileType::u8, {3})));
  }
}

TEST_CASE("npz refuses bad files", "[npz]") {
  const TempDirectory folder;
  const std::string good = three_bytes();
  std::string flipped = zip_of({{"a.npy", good}});
  flipped[30 + 5 + good.size() - 1] ^= 1;
  const std::string deflated = from_hex(kDeflatedByNumpy);
  std::string flipped_deflated = deflated;
  flipped_deflated[60] ^= 1;
  REQUIRE(error_of([&] { read_npz_bytes(folder, zip_of({{"a.npy", good}})); }).empty());
  const std::vector<BadFile> files{
      {"", "the file is empty"},
      {"not an archive", "expected an npz (zip) archive: "},
      {good, "expected an npz (zip) archive: "},
      {deflated.substr(0, 150), "expected an npz (zip) archive: "},
      {deflated.substr(1), "expected an npz (zip) archive: "},
      {flipped, "a.npy: cannot unpack: CRC error"},
      {flipped_deflated, "a.npy: cannot unpack: "},
      {zip_of({{"a.txt", good}}), "expected .npy arrays, it holds only 'a.txt'"},
      {zip_of({{"a/", ""}}), "it holds only 'a/'"},
      {zip_of({{".npy", good}}), "it holds only '.npy'"},
      {zip_of({{"a\n\x1b[2J", good}, {"b.txt", "x"}}), "', 'b.txt'"},
      {zip_of({{"a.npy", good}, {"a.npy", good}}), "comes twice"},
      {zip_of({{"a.npy", good, 0, 1}}), "member 'a.npy' is encrypted"},
      {zip_of({{"a.npy", good, 12}}), "compression method 12 is not supported"},
      {zip_of({{"a.npy", good, 8}}), "a.npy: cannot unpack: "},
      {zip_of({{"a.npy", good, 0, 0, 1}}), "says 1 bytes, which its"},
      {zip_of({{"a.npy", good, 8, 0, 4000000000}}), "says 4000000000 bytes, which its"},
      {zip_of({{"a.npy", ""}}), "a.npy: expected an npy array, the file is empty"},
      {zip_of({{"a.npy", good}, {"b.npy", good + "x"}}),
       "b.npy: the header says 3 bytes of data, 1 more follow"},
      {zip_of({{"a.npy", object_array()}}), "a.npy: element type '|O'"},
  };
  check_refused(files, (folder / "x.npz").string(),
                [&](const std::string& bytes) { read_npz_bytes(folder, bytes); });
}

TEST_CASE("npz members that are no arrays are left out", "[npz]") {
  const TempDirectory folder;
  const auto arrays =
      read_npz_bytes(folder, zip_of({{"about.txt", "x"}, {"a.npy", three_bytes()}, {"more/", ""}}));
  REQUIRE(arrays.size() == 1);
  CHECK(same(arrays.at("a"), counting_array(FileType::u8, {3})));
  CHECK(NpzFile(folder / "x.npz").others() == std::vector<std::string>{"about.txt", "more/"});
}

TEST_CASE("npz members that share their bytes are refused", "[npz]") {
  const TempDirectory folder;
  const std::string content = three_bytes();
  std::string bytes = zip_of({{"a.npy", content}, {"a.npy", ""}});
  // The second entry of the directory is made a copy of the first, under another name.
  const std::size_t first = bytes.find("PK\x01\x02"), second = bytes.find("PK\x01\x02", first + 1);
  bytes.replace(second, second - first, bytes.substr(first, second - first));
  CHECK(error_of([&] { read_npz_bytes(folder, bytes); }).find("x.npz: ") != std::string::npos);
}

TEST_CASE("damaged npz archives do not crash", "[npz]") {
  const TempDirectory folder;
  for (const std::string& valid : {from_hex(kStoredByNumpy), from_hex(kDeflatedByNumpy)}) {
    // Some bytes, as the dates, carry nothing that is checked; a cut or a changed byte may not do worse than
    // Error.
    for (std::size_t i = 0; i < valid.size(); ++i) {
      CHECK_FALSE(error_of([&] { read_npz_bytes(folder, valid.substr(0, i)); }).empty());
      std::string damaged = valid;
      damaged[i] = static_cast<char>(damaged[i] ^ 0xff);
      static_cast<void>(error_of([&] { read_npz_bytes(folder, damaged); }));
    }
  }
}

TEST_CASE("an npz that unpacks to too much is refused before it is unpacked", "[npz]") {
  const TempDirectory folder;
  const std::string vast = zip_of({{"a.npy", std::string(1 << 21, 'x'), 8, 0, 1'400'000'000}});
  write_file_atomically(folder / "bomb.npz", as_bytes(vast));
  CHECK_THAT(error_of([&] { read_npz(folder / "bomb.npz"); }),
             Catch::Contains("a.npy: unpacks to 1400000000 bytes"));
}
