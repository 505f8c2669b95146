#include "engine/npy.h"

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cstring>
#include <utility>

#include "engine/atomic_file.h"
#include "kernels/sizes.h"

namespace voxot {
namespace {

static_assert(std::endian::native == std::endian::little, "files are little-endian and are read in place");

constexpr std::string_view kMagic = "\x93NUMPY";
constexpr std::size_t kMostAxes = 32;

struct NpyHeader {
  FileType type = FileType::f32;
  bool swapped = false;
  bool fortran_order = false;
  std::vector<std::int64_t> shape;
  std::size_t data_begin = 0;
  std::uint64_t data_bytes = 0;
};

constexpr std::array<std::pair<std::string_view, FileType>, 12> kKinds{{
    {"f2", FileType::f16},
    {"f4", FileType::f32},
    {"f8", FileType::f64},
    {"i1", FileType::i8},
    {"i2", FileType::i16},
    {"i4", FileType::i32},
    {"i8", FileType::i64},
    {"u1", FileType::u8},
    {"u2", FileType::u16},
    {"u4", FileType::u32},
    {"u8", FileType::u64},
    {"b1", FileType::boolean},
}};

/// Reads the Python dictionary of a header: {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }
class HeaderParser {
 public:
  HeaderParser(std::string_view text, std::string_view name) : text_(text), name_(name) {}

  NpyHeader parse() {
    expect('{');
    while (!accept('}')) {
      const std::string_view key = string();
      expect(':');
      if (key == "descr") {
        once(descr_, key);
        parse_descr();
      } else if (key == "fortran_order") {
        once(order_, key);
        header_.fortran_order = boolean();
      } else if (key == "shape") {
        once(shape_, key);
        parse_shape();
      } else {
        fail("{}: unknown key '{}' in the header", name_, printable(key, 60));
      }
      if (!accept(',')) {
        expect('}');
        break;
      }
    }
    skip_space();
    VOXOT_CHECK(text_.empty(), "{}: the header goes on after its '}}': '{}'", name_, printable(text_, 20));
    VOXOT_CHECK(descr_ && order_ && shape_, "{}: the header has no '{}'", name_,
                !descr_   ? "descr"
                : !order_ ? "fortran_order"
                          : "shape");
    return std::move(header_);
  }

 private:
  void skip_space() {
    while (!text_.empty() && (text_[0] == ' ' || text_[0] == '\n' || text_[0] == '\t' || text_[0] == '\r')) {
      text_.remove_prefix(1);
    }
  }
  bool accept(char wanted) {
    skip_space();
    if (text_.empty() || text_[0] != wanted) return false;
    text_.remove_prefix(1);
    return true;
  }
  [[noreturn]] void unexpected(std::string_view wanted) {
    fail("{}: expected {} in the header, got '{}'", name_, wanted, printable(text_, 20));
  }
  void expect(char wanted) {
    if (!accept(wanted)) unexpected(fmt::format("'{}'", wanted));
  }
  void once(bool& seen, std::string_view key) {
    VOXOT_CHECK(!seen, "{}: key '{}' comes twice in the header", name_, key);
    seen = true;
  }
  std::string_view string() {
    skip_space();
    if (text_.empty() || (text_[0] != '\'' && text_[0] != '"')) unexpected("a string");
    const std::size_t end = text_.find(text_[0], 1);
    if (end == std::string_view::npos) unexpected("a closed string");
    const std::string_view value = text_.substr(1, end - 1);
    if (value.find_first_of("\\\n") != std::string_view::npos) unexpected("a plain string");
    text_.remove_prefix(end + 1);
    return value;
  }
  bool boolean() {
    skip_space();
    for (const bool value : {true, false}) {
      const std::string_view word = value ? "True" : "False";
      if (text_.starts_with(word)) {
        text_.remove_prefix(word.size());
        return value;
      }
    }
    unexpected("True or False");
  }
  void parse_descr() {
    skip_space();
    VOXOT_CHECK(!text_.starts_with('['), "{}: structured arrays are not supported: {}", name_,
                printable(text_, 40));
    const std::string_view descr = string();
    const auto kind = std::ranges::find(kKinds, descr.substr(std::min<std::size_t>(1, descr.size())),
                                        &std::pair<std::string_view, FileType>::first);
    const bool known = kind != kKinds.end() && (descr[0] == '<' || descr[0] == '>' || descr[0] == '=' ||
                                                (descr[0] == '|' && size_of(kind->second) == 1));
    VOXOT_CHECK(known, "{}: element type '{}' is not supported: expected f2 f4 f8, i1 to i8, u1 to u8 or b1",
                name_, printable(descr, 20));
    header_.type = kind->second;
    header_.swapped = descr[0] == '>' && size_of(kind->second) > 1;
  }
  void parse_shape() {
    expect('(');
    while (!accept(')')) {
      VOXOT_CHECK(header_.shape.size() < kMostAxes, "{}: more than {} axes", name_, kMostAxes);
      skip_space();
      std::int64_t extent = -1;
      const auto [end, error] = std::from_chars(text_.data(), text_.data() + text_.size(), extent);
      if (error == std::errc::result_out_of_range)
        fail("{}: shape overflows 64 bits: {}", name_, printable(text_, 30));
      if (error != std::errc{} || text_[0] == '-') unexpected("a non-negative extent");
      text_.remove_prefix(to_size(end - text_.data()));
      accept('L');  // as Python 2 wrote long integers
      header_.shape.push_back(extent);
      if (!accept(',')) {
        // (3) is a number in Python, not a tuple.
        if (header_.shape.size() == 1) unexpected("',' after the only extent");
        expect(')');
        break;
      }
    }
  }

  std::string_view text_;
  std::string_view name_;
  NpyHeader header_;
  bool descr_ = false, order_ = false, shape_ = false;
};

/// Reads the header of a whole file and checks that the data have the size that it says.
NpyHeader parse_header(std::span<const std::byte> bytes, std::string_view name) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  VOXOT_CHECK(!text.empty(), "{}: expected an npy array, the file is empty", name);
  VOXOT_CHECK(text.starts_with(kMagic.substr(0, text.size())),
              "{}: expected an npy array, it begins with '{}'", name,
              printable(text.substr(0, kMagic.size())));
  const auto byte = [&](std::size_t i) {
    VOXOT_CHECK(i < text.size(), "{}: truncated in the header's first bytes: the file has {} bytes", name,
                text.size());
    return to_size(static_cast<unsigned char>(text[i]));
  };
  const std::size_t major = byte(6), minor = byte(7);
  VOXOT_CHECK(major >= 1 && major <= 3 && minor == 0,
              "{}: npy version {}.{} is not supported: expected 1.0 to 3.0", name, major, minor);
  const std::size_t begin = major == 1 ? 10 : 12;
  const std::size_t length =
      major == 1 ? byte(8) | byte(9) << 8 : byte(8) | byte(9) << 8 | byte(10) << 16 | byte(11) << 24;
  VOXOT_CHECK(length <= text.size() - begin, "{}: truncated: its header has {} bytes, the file has {} left",
              name, length, text.size() - begin);
  NpyHeader header = HeaderParser(text.substr(begin, length), name).parse();
  header.data_begin = begin + length;
  try {
    header.data_bytes =
        static_cast<std::uint64_t>(count_of(header.type, header.shape)) * size_of(header.type);
  } catch (const Error& error) {
    fail("{}: {}", name, error.what());
  }
  const std::size_t present = text.size() - header.data_begin;
  VOXOT_CHECK(present >= header.data_bytes,
              "{}: truncated: the header says {} bytes of data, the file has {}", name, header.data_bytes,
              present);
  VOXOT_CHECK(present == header.data_bytes, "{}: the header says {} bytes of data, {} more follow", name,
              header.data_bytes, present - header.data_bytes);
  return header;
}

void swap_bytes(std::vector<std::byte>& bytes, std::size_t size) {
  for (std::size_t i = 0; i < bytes.size(); i += size) {
    std::reverse(bytes.begin() + static_cast<std::ptrdiff_t>(i),
                 bytes.begin() + static_cast<std::ptrdiff_t>(i + size));
  }
}

/// From column-major to row-major.
std::vector<std::byte> transpose(const std::vector<std::byte>& bytes, std::span<const std::int64_t> shape,
                                 std::size_t size) {
  std::vector<std::byte> result(bytes.size());
  std::vector<std::size_t> stride(shape.size()), index(shape.size(), 0);
  std::size_t next = size;
  for (std::size_t axis = 0; axis < shape.size(); ++axis) {
    stride[axis] = next;
    next *= to_size(shape[axis]);
  }
  std::size_t source = 0;
  for (std::size_t target = 0; target < result.size(); target += size) {
    std::memcpy(result.data() + target, bytes.data() + source, size);
    for (std::size_t axis = shape.size(); axis-- > 0;) {
      source += stride[axis];
      if (++index[axis] < to_size(shape[axis])) break;
      source -= stride[axis] * index[axis];
      index[axis] = 0;
    }
  }
  return result;
}

HostArray to_array(NpyHeader header, std::vector<std::byte> data) {
  const std::size_t size = size_of(header.type);
  if (header.swapped) swap_bytes(data, size);
  if (header.fortran_order && header.shape.size() > 1) data = transpose(data, header.shape, size);
  return {header.type, std::move(header.shape), std::move(data)};
}

}  // namespace

std::string npy_header(const HostArray& array, std::string_view name) {
  VOXOT_CHECK(array.type != FileType::bf16, "{}: npy has no bf16: convert to f32 first", name);
  VOXOT_CHECK(array.shape.size() <= kMostAxes, "{}: {} axes, npy holds at most {}", name, array.shape.size(),
              kMostAxes);
  try {
    array.check();
  } catch (const Error& error) {
    fail("{}: {}", name, error.what());
  }
  const auto* kind = std::ranges::find(kKinds, array.type, &std::pair<std::string_view, FileType>::second);
  std::string dictionary = fmt::format("{{'descr': '{}{}', 'fortran_order': False, 'shape': (",
                                       size_of(array.type) == 1 ? '|' : '<', kind->first);
  for (std::size_t i = 0; i < array.shape.size(); ++i) {
    dictionary += fmt::format("{}{}", i == 0 ? "" : ", ", array.shape[i]);
  }
  dictionary += array.shape.size() == 1 ? ",), }" : "), }";
  constexpr std::size_t kBegin = 10, kAlignment = 64;
  const std::size_t unpadded = kBegin + dictionary.size() + 1;
  dictionary.append((kAlignment - unpadded % kAlignment) % kAlignment, ' ');
  dictionary += '\n';
  std::string header(kMagic);
  header += {'\x01', '\x00', static_cast<char>(dictionary.size() & 0xff),
             static_cast<char>(dictionary.size() >> 8)};
  return header + dictionary;
}

HostArray parse_npy(std::span<const std::byte> bytes, std::string_view name) {
  NpyHeader header = parse_header(bytes, name);
  const auto data = bytes.subspan(header.data_begin);
  return to_array(std::move(header), {data.begin(), data.end()});
}

HostArray parse_npy(std::vector<std::byte>&& bytes, std::string_view name) {
  NpyHeader header = parse_header(bytes, name);
  bytes.erase(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(header.data_begin));
  return to_array(std::move(header), std::move(bytes));
}

HostArray read_npy(const std::filesystem::path& path) {
  return parse_npy(read_file(path), printable(path.string()));
}

void write_npy(const std::filesystem::path& path, const HostArray& array) {
  const std::string header = npy_header(array, printable(path.string()));
  const std::array<std::span<const std::byte>, 2> parts{std::as_bytes(std::span(header)), array.bytes};
  write_file_atomically(path, parts);
}

}  // namespace voxot
