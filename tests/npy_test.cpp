#include "engine/npy.h"

#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmath>
#include <csignal>
#include <cstring>
#include <limits>

#include "tests/temp_directory.h"

using namespace voxot;
using namespace voxot::test;

namespace {

std::string npy(const std::string& header, const std::string& data,
                const std::string& version = {'\x01', '\x00'}) {
  return "\x93NUMPY" + version + little_endian(header.size(), version[0] == '\x01' ? 2 : 4) + header + data;
}

std::string dictionary(const std::string& descr, const std::string& order, const std::string& shape) {
  return fmt::format("{{'descr': {}, 'fortran_order': {}, 'shape': {}, }}\n", descr, order, shape);
}

HostArray parse(const std::string& bytes) { return parse_npy(as_bytes(bytes), "x.npy"); }

/// Lets files grow to at most 64 KiB while it lives, as a full disk would.
class SmallDisk {
 public:
  SmallDisk() {
    ::getrlimit(RLIMIT_FSIZE, &before_);
    rlimit small = before_;
    small.rlim_cur = 65536;
    ::setrlimit(RLIMIT_FSIZE, &small);
    handler_ = std::signal(SIGXFSZ, SIG_IGN);
  }
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;
  ~SmallDisk() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }

 private:
  rlimit before_{};
  void (*handler_)(int);
};

}  // namespace

TEST_CASE("host arrays convert to floats", "[npy][host_array]") {
  const auto array = [](FileType type, const auto& values) {
    HostArray result{type, {std::ssize(values)}, {}};
    const auto bytes = std::as_bytes(std::span(values));
    result.bytes.assign(bytes.begin(), bytes.end());
    return result;
  };
  using Floats = std::vector<float>;
  const std::vector<std::uint16_t> halves{0x0000, 0x3c00, 0xc000, 0x7bff, 0x0001, 0x83ff, 0x0400, 0x7c00};
  CHECK(array(FileType::f16, halves).to_floats() == Floats{0, 1, -2, 65504, std::ldexp(1.0f, -24),
                                                           -std::ldexp(1023.0f, -24), std::ldexp(1.0f, -14),
                                                           INFINITY});
  CHECK(std::isnan(array(FileType::f16, std::vector<std::uint16_t>{0x7e01}).to_floats()[0]));
  CHECK(array(FileType::bf16, std::vector<std::uint16_t>{0x3f80, 0xc040}).to_floats() == Floats{1, -3});
  CHECK(array(FileType::f64, std::vector<double>{0.5, -1e300}).to_floats() == Floats{0.5f, -INFINITY});
  CHECK(array(FileType::i8, std::vector<std::int8_t>{-128, 127}).to_floats() == Floats{-128, 127});
  CHECK(array(FileType::u8, std::vector<std::uint8_t>{0, 255}).to_floats() == Floats{0, 255});
  CHECK(array(FileType::i16, std::vector<std::int16_t>{-3}).to_floats() == Floats{-3});
  CHECK(array(FileType::u16, std::vector<std::uint16_t>{65535}).to_floats() == Floats{65535});
  CHECK(array(FileType::i32, std::vector<std::int32_t>{-7}).to_floats() == Floats{-7});
  CHECK(array(FileType::u32, std::vector<std::uint32_t>{1u << 31}).to_floats() == Floats{2147483648.0f});
  CHECK(HostArray::from_int64({2}, {-1, 5}).to_floats() == Floats{-1, 5});
  CHECK(array(FileType::u64, std::vector<std::uint64_t>{1ull << 63}).to_floats() ==
        Floats{9223372036854775808.0f});
  CHECK(array(FileType::boolean, std::vector<std::uint8_t>{0, 1, 7}).to_floats() == Floats{0, 1, 1});

  CHECK(HostArray::from_floats({}, {2}).describe() == "f32 []");
  CHECK(HostArray::from_floats({2, 0, 3}, {}).count() == 0);
  CHECK(error_of([] {
          HostArray::from_floats({2, 2}, {1, 2, 3});
        }) == "host array: f32 [2, 2] holds 4 values, got 3");
  CHECK(error_of([] {
          (void)HostArray{FileType::f32, {2}, {}}.to_floats();
        }).find("needs 8 bytes") != std::string::npos);
  CHECK(error_of([] {
          (void)HostArray{FileType::f32, {-1}, {}}.count();
        }).find("negative") != std::string::npos);
  CHECK(error_of([] {
          (void)HostArray{FileType::u8, {1ll << 40, 1ll << 40, 0}, {}}.count();
        }).find("overflows") != std::string::npos);
}

TEST_CASE("npy round trips every type and shape", "[npy]") {
  const TempDirectory folder;
  for (const FileType type : kAllTypes) {
    if (type == FileType::bf16) continue;
    for (const std::vector<std::int64_t>& shape : std::vector<std::vector<std::int64_t>>{
             {}, {1}, {5}, {2, 3}, {0}, {3, 0, 2}, {2, 3, 4, 5, 6}, std::vector<std::int64_t>(32, 1)}) {
      const HostArray array = counting_array(type, shape);
      INFO(array.describe());
      write_npy(folder / "x.npy", array);
      CHECK(same(read_npy(folder / "x.npy"), array));
    }
  }
  CHECK(folder.entries() == 1);
}

TEST_CASE("npy is written as numpy writes it", "[npy]") {
  const TempDirectory folder;
  write_npy(folder / "x.npy", HostArray::from_floats({2, 1}, {1, 2}));
  const std::string header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 1), }";
  CHECK(as_text(read_file(folder / "x.npy")) ==
        npy(header + std::string(117 - header.size(), ' ') + "\n", from_hex("0000803f00000040")));
}

TEST_CASE("npy reads what others write", "[npy]") {
  const HostArray fortran = parse(npy(dictionary("'|u1'", "True", "(2, 3)"), from_hex("000102030405")));
  CHECK(fortran.to_floats() == std::vector<float>{0, 2, 4, 1, 3, 5});
  const HostArray cube =
      parse(npy(dictionary("'<u2'", "True", "(2, 2, 2)"), from_hex("00000100020003000400050006000700")));
  CHECK(cube.to_floats() == std::vector<float>{0, 4, 2, 6, 1, 5, 3, 7});
  CHECK(parse(npy(dictionary("'<u2'", "True", "(2, 0)"), "")).count() == 0);
  CHECK(parse(npy(dictionary("'>f4'", "False", "(1,)"), from_hex("3f800000"))).to_floats() ==
        std::vector<float>{1});
  CHECK(parse(npy(dictionary("'>i2'", "True", "(1, 2)"), from_hex("0102ff00"))).to_floats() ==
        std::vector<float>{258, -256});
  for (const char version : {'\x02', '\x03'}) {
    CHECK(
        parse(npy(dictionary("\"<i4\"", "False", "()"), from_hex("07000000"), {version, '\0'})).to_floats() ==
        std::vector<float>{7});
  }
  CHECK(parse(npy("{'shape':(2L,),'fortran_order':False,'descr':'|b1'}", from_hex("0001"))).to_floats() ==
        std::vector<float>{0, 1});
}

TEST_CASE("npy refuses bad files", "[npy]") {
  const std::string data = from_hex("0000803f00000040");
  const auto with = [&](const std::string& header) { return npy(header, data); };
  const auto shape = [&](const std::string& text) { return with(dictionary("'<f4'", "False", text)); };
  const auto descr = [&](const std::string& text) { return with(dictionary(text, "False", "(2,)")); };
  const std::vector<BadFile> files{
      {"", "the file is empty"},
      {"PK\x03\x04 not an array", "expected an npy array, it begins with 'PK\\x03\\x04 n'"},
      {"\x1b[31m\nred", "begins with '\\x1b[31m\\x0a'"},
      {"\x93NUM", "truncated in the header's first bytes"},
      {"\x93NUMPY\x01", "truncated in the header's first bytes"},
      {npy("", "", {'\x04', '\0'}), "npy version 4.0 is not supported"},
      {npy("", "", {'\x01', '\x01'}), "npy version 1.1 is not supported"},
      {"\x93NUMPY" + from_hex("0100ffff") + "{}",
       "truncated: its header has 65535 bytes, the file has 2 left"},
      {"\x93NUMPY" + from_hex("0200ffffffff") + "{}", "truncated: its header has 4294967295 bytes"},
      {with(""), "expected '{' in the header, got ''"},
      {with("[1]"), "expected '{' in the header, got '[1]'"},
      {with("{'descr': '<f4'"), "expected '}' in the header"},
      {with("{'descr' '<f4'}"), "expected ':' in the header"},
      {with("{'descr: 1}"), "expected a closed string"},
      {with("{'descr': '<f4', 'fortran_order': False}"), "the header has no 'shape'"},
      {with("{'shape': (2,), 'fortran_order': False}"), "the header has no 'descr'"},
      {with("{'shape': (2,), 'descr': '<f4'}"), "the header has no 'fortran_order'"},
      {with("{'descr': '<f4', 'descr': '<f8'}"), "key 'descr' comes twice"},
      {with("{'extra': 1}"), "unknown key 'extra'"},
      {with(dictionary("'<f4'", "False", "(2,)") + "x"), "the header goes on after its '}': 'x'"},
      {with(dictionary("'<f4'", "0", "(2,)")), "expected True or False"},
      {shape("(2)"), "expected ',' after the only extent"},
      {shape("2"), "expected '(' in the header, got '2"},
      {shape("(-2,)"), "expected a non-negative extent in the header, got '-2"},
      {shape("(2.5,)"), "in the header, got '.5"},
      {shape("(2, x)"), "expected a non-negative extent in the header, got 'x"},
      {shape("(99999999999999999999,)"), "shape overflows 64 bits"},
      {shape("(9223372036854775807, 2)"), "overflows 64 bits"},
      {shape("(4611686018427387904, 4)"), "overflows 64 bits"},
      {shape("(1099511627776, 1099511627776, 0)"), "overflows 64 bits"},
      {shape("(1099511627776,)"), "truncated: the header says 4398046511104 bytes of data, the file has 8"},
      {shape("(3,)"), "truncated: the header says 12 bytes of data, the file has 8"},
      {shape("(1,)"), "the header says 4 bytes of data, 4 more follow"},
      {shape("(0,)"), "the header says 0 bytes of data, 8 more follow"},
      {shape("(,)"), "expected a non-negative extent in the header, got ',)"},
      {shape("(1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,2)"), "more than 32 axes"},
      {descr("'|O'"), "element type '|O' is not supported"},
      {descr("'<c8'"), "element type '<c8' is not supported"},
      {descr("'<U4'"), "element type '<U4' is not supported"},
      {descr("'|V2'"), "element type '|V2' is not supported"},
      {descr("'|f4'"), "element type '|f4' is not supported"},
      {descr("'f4'"), "element type 'f4' is not supported"},
      {descr("''"), "element type '' is not supported"},
      {descr("'\\x3cf4'"), "expected a plain string"},
      {descr("[('a', '<f4')]"), "structured arrays are not supported"},
      {descr("4"), "expected a string in the header"},
  };
  check_refused(files, "x.npy", parse);
  check_damage(shape("(2,)"), parse);
}

TEST_CASE("npy files that cannot be read or written", "[npy][atomic_file]") {
  const TempDirectory folder;
  const auto refused = [](const std::string& message, const std::filesystem::path& path,
                          const std::string& part) {
    INFO(message);
    return message.starts_with(path.string() + ": ") && message.find(part) != std::string::npos;
  };
  const HostArray array = counting_array(FileType::f32, {2});
  CHECK(refused(error_of([&] { read_npy(folder / "none.npy"); }), folder / "none.npy", "no such file"));
  CHECK(refused(error_of([&] { read_npy(folder.path()); }), folder.path(), "is a directory"));
  CHECK(refused(error_of([&] { read_npy("/dev/zero"); }), "/dev/zero", "expected a regular file"));
  REQUIRE(::mkfifo((folder / "pipe").c_str(), 0600) == 0);
  CHECK(refused(error_of([&] { read_npy(folder / "pipe"); }), folder / "pipe", "expected a regular file"));
  CHECK(refused(error_of([&] { write_npy(folder / "pipe", array); }), folder / "pipe", "not a regular file"));
  CHECK(refused(error_of([&] { write_npy(folder.path(), array); }), folder.path(), "not a regular file"));
  CHECK(refused(error_of([&] { write_npy(folder / "no/x.npy", array); }), folder / "no/x.npy",
                "cannot create"));
  CHECK(refused(error_of([&] { write_npy(folder / "no" / "", array); }), folder / "no/",
                "expected the name of a file"));
  write_npy(folder / "x.npy", array);
  CHECK(refused(error_of([&] { write_npy(folder / "x.npy/y.npy", array); }), folder / "x.npy/y.npy",
                "cannot create"));
  CHECK(refused(error_of([&] { read_file(folder / "x.npy", 100); }), folder / "x.npy",
                "136 bytes, at most 100"));
  CHECK(refused(error_of([&] { write_npy(folder / "x.npy", counting_array(FileType::bf16, {2})); }),
                folder / "x.npy", "npy has no bf16"));
  CHECK(refused(error_of([&] {
                  write_npy(folder / "x.npy", {FileType::f32, {3}, {}});
                }),
                folder / "x.npy", "f32 [3] needs 12 bytes, the array holds 0"));
  CHECK(refused(error_of([&] {
                  write_npy(folder / "x.npy", counting_array(FileType::u8, std::vector<std::int64_t>(33, 1)));
                }),
                folder / "x.npy", "at most 32"));
  std::filesystem::create_directory(folder / "locked");
  std::filesystem::permissions(folder / "locked", std::filesystem::perms::owner_read);
  if (::geteuid() != 0) {  // nothing is locked to root
    CHECK(refused(error_of([&] { write_npy(folder / "locked/x.npy", array); }), folder / "locked/x.npy",
                  "denied"));
  }
  std::filesystem::permissions(folder / "locked", std::filesystem::perms::owner_all);
  CHECK(same(read_npy(folder / "x.npy"), array));
  CHECK(folder.entries() == 3);
}

TEST_CASE("a place that cannot be written to is known before", "[npy][atomic_file]") {
  const TempDirectory folder;
  check_replaceable(folder / "x.npy");
  CHECK(folder.entries() == 0);
  CHECK(error_of([&] { check_replaceable(folder / "no/x.npy"); }).find("no/x.npy: cannot create a file") !=
        std::string::npos);
  CHECK(error_of([&] { check_replaceable(folder.path()); }).find("not a regular file") != std::string::npos);
  const HostArray array = counting_array(FileType::u8, {10});
  write_npy(folder / "x.npy", array);
  check_replaceable(folder / "x.npy");
  CHECK(same(read_npy(folder / "x.npy"), array));
  CHECK(folder.entries() == 1);
}

TEST_CASE("arrays of files as whole numbers and doubles", "[npy]") {
  constexpr std::int64_t kLarge = (std::int64_t{1} << 62) + 1;
  CHECK(HostArray::from_int64({2}, {kLarge, -kLarge}).to_integers("x") ==
        std::vector<std::int64_t>{kLarge, -kLarge});
  CHECK(HostArray::from_doubles({2}, {-0x1p63, 7}).to_integers("x") ==
        std::vector<std::int64_t>{std::numeric_limits<std::int64_t>::min(), 7});
  CHECK(HostArray::from_int64({1}, {(1 << 25) + 1}).to_doubles() == std::vector<double>{(1 << 25) + 1});
  CHECK(HostArray::from_floats({2}, {0.5F, -2}).to_doubles() == std::vector<double>{0.5, -2});
  for (const double bad : {0.5, 0x1p63, -0x1.8p63, double(INFINITY), double(NAN)}) {
    CHECK(error_of([&] {
            (void)HostArray::from_doubles({1}, {bad}).to_integers("x");
          }).starts_with("x: expected whole numbers of 64 bits, got "));
  }
  HostArray unsigned_array = HostArray::from_int64({1}, {-1});
  unsigned_array.type = FileType::u64;
  CHECK(error_of([&] { (void)unsigned_array.to_integers("x"); }) ==
        "x: expected whole numbers of 64 bits, got 18446744073709551615");
}

TEST_CASE("a write that fails keeps the old file and leaves nothing", "[npy][atomic_file]") {
  const TempDirectory folder;
  const HostArray small = counting_array(FileType::u8, {10}), large = counting_array(FileType::u8, {200000});
  write_npy(folder / "x.npy", small);
  write_npz(folder / "x.npz", {{"a", small}});
  {
    const SmallDisk disk;
    CHECK(error_of([&] { write_npy(folder / "x.npy", large); }).find("x.npy: cannot write: ") !=
          std::string::npos);
    CHECK(error_of([&] {
            write_npz(folder / "x.npz", {{"a", large}});
          }).find("x.npz: cannot write: ") != std::string::npos);
    CHECK_FALSE(error_of([&] { write_npy(folder / "new.npy", large); }).empty());
  }
  CHECK_THROWS_AS(replace_file_atomically(folder / "x.npy", [](const auto&) { throw std::bad_alloc(); }),
                  std::bad_alloc);
  CHECK(same(read_npy(folder / "x.npy"), small));
  CHECK(same(read_npz(folder / "x.npz").at("a"), small));
  CHECK(folder.entries() == 2);
}

TEST_CASE("a link to a file is written through", "[npy][atomic_file]") {
  const TempDirectory folder;
  write_npy(folder / "x.npy", counting_array(FileType::u8, {1}));
  std::filesystem::create_symlink("x.npy", folder / "link.npy");
  const HostArray array = counting_array(FileType::u8, {2});
  write_npy(folder / "link.npy", array);
  CHECK(std::filesystem::is_symlink(folder / "link.npy"));
  CHECK(same(read_npy(folder / "x.npy"), array));
}

TEST_CASE("text from files is made printable", "[atomic_file]") {
  CHECK(printable("volume \xce\xb3.npy") == "volume \xce\xb3.npy");
  CHECK(printable("a\nb\x7f") ==
        "a\\x0a"
        "b\\x7f");
  CHECK(printable("\xff\xc0\x80\xed\xa0\x80\xc2\x9b\xce") == "\\xff\\xc0\\x80\\xed\\xa0\\x80\\xc2\\x9b\\xce");
  CHECK(printable("abcdef", 3) == "abc...");
}
