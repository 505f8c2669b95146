#include "datasets/idx.h"

#include <zlib.h>

#include "tests/temp_directory.h"

using namespace voxot;
using namespace voxot::test;

namespace {

std::string gzip(const std::string& text) {
  z_stream stream{};
  constexpr int kGzip = 15 + 16;
  REQUIRE(deflateInit2(&stream, 9, Z_DEFLATED, kGzip, 8, Z_DEFAULT_STRATEGY) == Z_OK);
  std::string result(deflateBound(&stream, static_cast<uLong>(text.size())), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(result.data());
  stream.avail_out = static_cast<uInt>(result.size());
  REQUIRE(deflate(&stream, Z_FINISH) == Z_STREAM_END);
  result.resize(stream.total_out);
  deflateEnd(&stream);
  return result;
}

IdxArray read_bytes(const TempDirectory& folder, const std::string& bytes) {
  write_file_atomically(folder / "x.idx", as_bytes(bytes));
  return read_idx(folder / "x.idx");
}

}  // namespace

TEST_CASE("idx is read raw and compressed", "[idx]") {
  const TempDirectory folder;
  const std::string images = from_hex(
      "00000803"
      "00000002"
      "00000001"
      "00000003"
      "000102fdfeff");
  const std::string half = images.substr(0, 15);
  for (const std::string& bytes :
       {images, gzip(images), gzip(half) + gzip(images.substr(15)), gzip("") + gzip(images)}) {
    const IdxArray array = read_bytes(folder, bytes);
    CHECK(array.shape == std::vector<std::int64_t>{2, 1, 3});
    CHECK(array.data == std::vector<std::uint8_t>{0, 1, 2, 253, 254, 255});
  }
  CHECK(read_bytes(folder, from_hex("00000801"
                                    "00000000"))
            .data.empty());
  CHECK(read_bytes(folder, gzip(from_hex("00000802"
                                         "00000000"
                                         "0000001c")))
            .shape == std::vector<std::int64_t>{0, 28});
}

TEST_CASE("a large idx is read whole", "[idx]") {
  const TempDirectory folder;
  std::string bytes = from_hex(
      "00000802"
      "000007d1"
      "000003e9");
  for (std::uint32_t i = 0; i < 2001 * 1001; ++i) bytes += static_cast<char>(i * 7919 >> 5);
  for (const bool compressed : {false, true}) {
    const IdxArray array = read_bytes(folder, compressed ? gzip(bytes) : bytes);
    REQUIRE(array.shape == std::vector<std::int64_t>{2001, 1001});
    CHECK(as_text(std::as_bytes(std::span(array.data))) == bytes.substr(12));
  }
}

TEST_CASE("idx refuses bad files", "[idx]") {
  const TempDirectory folder;
  const std::string good = from_hex(
      "00000801"
      "00000004"
      "01020304");
  const std::string packed = gzip(good);
  std::string wrong_crc = packed, wrong_size = packed, wrong_method = packed;
  wrong_crc[packed.size() - 8] ^= 1;
  wrong_size[packed.size() - 4] ^= 1;
  wrong_method[2] = 7;
  const std::string bomb = gzip(from_hex("00000801"
                                         "00000010") +
                                std::string(10'000'000, '\0'));
  const std::vector<BadFile> files{
      {"", "truncated: expected 4 bytes in the IDX header, got 0"},
      {from_hex("000008"), "truncated: expected 4 bytes in the IDX header, got 3"},
      {"\x89PNG\r\n", "expected an IDX file, which begins with 00 00, got 89 50 4e 47"},
      {from_hex("00000d0100000001") + "abcd", "IDX element type 0x0d is not supported"},
      {from_hex("00000800"), "expected 1 to 8 axes, got 0"},
      {from_hex("000008ff"), "expected 1 to 8 axes, got 255"},
      {from_hex("00000803"
                "00000001"
                "0000"),
       "truncated: expected 12 bytes in the IDX header, got 6"},
      {good.substr(0, 11), "truncated: the header says [4] bytes of data, the file holds at most 3"},
      {from_hex("00000801"
                "ffffffff"
                "00"),
       "truncated: the header says [4294967295] bytes of data"},
      {from_hex("00000803"
                "ffffffff"
                "ffffffff"
                "ffffffff"),
       "truncated: the header says [4294967295, 42949672"},
      {from_hex("00000802"
                "80000000"
                "80000000"),
       "truncated: the header says [2147483648, 2147483648]"},
      {from_hex("00000803"
                "ffffffff"
                "ffffffff"
                "00000000"),
       "truncated: the header says"},
      {good + "x", "the header says 4 bytes of data, more follow"},
      {from_hex("00000801"
                "00000000"
                "00"),
       "the header says 0 bytes of data, more follow"},
      {from_hex("1f8b"), "truncated: the gzip data end after 2 compressed bytes"},
      {packed.substr(0, packed.size() - 1), "truncated: the gzip data end after"},
      {packed.substr(0, packed.size() - 8), "truncated: the gzip data end after"},
      {packed.substr(0, 14), "truncated: the gzip data end after 14 compressed bytes"},
      {packed + "x", "1 bytes follow the gzip data"},
      {packed + std::string(512, '\0'), "512 bytes follow the gzip data"},
      {packed + gzip("x"), "the header says 4 bytes of data, more follow"},
      {wrong_crc, "damaged gzip data: incorrect data check"},
      {wrong_size, "damaged gzip data: incorrect length check"},
      {wrong_method, "damaged gzip data: unknown compression method"},
      {gzip("not idx"), "expected an IDX file, which begins with 00 00, got 6e 6f 74 20"},
      {gzip(""), "truncated: expected 4 bytes in the IDX header, got 0"},
      {gzip(packed), "expected an IDX file, which begins with 00 00, got 1f 8b"},
      {gzip(good.substr(0, 10)), "truncated: the header says 4 bytes of data, the file has 2"},
      {gzip(from_hex("00000803"
                     "ffffffff"
                     "ffffffff"
                     "ffffffff")),
       "the file holds at most"},
      {gzip(from_hex("00000801"
                     "00002000") +
            "ab"),
       "truncated: the header says 8192 bytes of data, the file has 2"},
      {bomb, "the header says 16 bytes of data, more follow"},
  };
  check_refused(files, (folder / "x.idx").string(),
                [&](const std::string& bytes) { read_bytes(folder, bytes); });
  check_damage(good, [&](const std::string& bytes) { read_bytes(folder, bytes); });
  check_damage(packed, [&](const std::string& bytes) { read_bytes(folder, bytes); });
  CHECK(error_of([&] { read_idx(folder / "none"); }).find("none: no such file") != std::string::npos);
  CHECK(error_of([&] { read_idx(folder.path()); }).find("is a directory") != std::string::npos);
}

TEST_CASE("a gzip idx that unpacks to too much is refused before it is unpacked", "[idx]") {
  const TempDirectory folder;
  // 2 MiB that gzip cannot shrink, so that the 1.2 GB of the header would be possible.
  std::string noise;
  std::uint32_t state = 1;
  for (int i = 0; i < (1 << 21); ++i)
    noise += static_cast<char>((state = state * 1664525 + 1013904223) >> 24);
  const std::string header = from_hex(
      "0000080248000000"
      "00000001");
  const std::string message = error_of([&] { read_bytes(folder, gzip(header + noise)); });
  CHECK_THAT(message,
             Catch::Contains("unpacks to 1207959552 bytes") && Catch::Contains("save it uncompressed"));
  CHECK_THAT(error_of([&] { read_bytes(folder, header + noise); }), Catch::Contains("truncated"));
  CHECK(most_unpacked(1000) == std::uint64_t{1} << 30);
  CHECK(most_unpacked(std::uint64_t{1} << 30) == 200 * (std::uint64_t{1} << 30));
}
