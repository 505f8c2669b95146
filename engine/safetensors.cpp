#include "engine/safetensors.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <charconv>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "engine/atomic_file.h"
#include "engine/checksum.h"
#include "engine/progress.h"

namespace voxot {
namespace {

static_assert(std::endian::native == std::endian::little, "files are little-endian and are read in place");

constexpr std::uint64_t kMostHeaderBytes = 100'000'000;
constexpr std::size_t kPrefixBytes = 8;
constexpr std::string_view kMetadata = "__metadata__";
constexpr std::string_view kChecksum = "voxot_checksum";
constexpr std::string_view kChecksumKind = "xxh3-64:";
constexpr std::string_view kNoDigits = "0000000000000000";
static_assert(kNoDigits.size() == Checksum::kDigits);

constexpr std::array<std::pair<std::string_view, FileType>, 13> kDtypes{{
    {"F16", FileType::f16},
    {"BF16", FileType::bf16},
    {"F32", FileType::f32},
    {"F64", FileType::f64},
    {"I8", FileType::i8},
    {"U8", FileType::u8},
    {"I16", FileType::i16},
    {"U16", FileType::u16},
    {"I32", FileType::i32},
    {"U32", FileType::u32},
    {"I64", FileType::i64},
    {"U64", FileType::u64},
    {"BOOL", FileType::boolean},
}};

struct Entry {
  FileType type = FileType::f32;
  std::vector<std::int64_t> shape;
  std::vector<std::uint64_t> offsets;
};

/// Follows the header as it is read, so that a key that comes twice is seen and nothing is kept but what is
/// valid. nlohmann's parser calls these by name; its stack is on the heap, so depth is harmless.
class HeaderReader : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit HeaderReader(std::string_view name) : name_(name) {}

  std::map<std::string, Entry> entries;
  std::map<std::string, std::string> metadata;

  bool start_object(std::size_t) override {
    switch (state_) {
      case State::start:
        state_ = State::top;
        return true;
      case State::value:
        if (tensor_ == kMetadata) {
          state_ = State::metadata;
        } else {
          state_ = State::tensor;
          seen_dtype_ = seen_shape_ = seen_offsets_ = false;
          entry_ = {};
        }
        return true;
      default:
        unexpected("an object");
    }
  }
  bool end_object() override {
    if (state_ == State::tensor) {
      VOXOT_CHECK(seen_dtype_ && seen_shape_ && seen_offsets_, "{}: {} has no '{}'", name_, where(),
                  !seen_dtype_   ? "dtype"
                  : !seen_shape_ ? "shape"
                                 : "data_offsets");
      entries.emplace(tensor_, std::move(entry_));
    }
    state_ = state_ == State::top ? State::start : State::top;
    return true;
  }
  bool key(string_t& text) override {
    if (state_ == State::metadata) {
      metadata_key_ = text;
      VOXOT_CHECK(!metadata.contains(text), "{}: metadata key '{}' comes twice", name_, printable(text, 80));
      return true;
    }
    if (state_ == State::top) {
      VOXOT_CHECK(!entries.contains(text) && !(text == kMetadata && seen_metadata_), "{}: '{}' comes twice",
                  name_, printable(text, 80));
      seen_metadata_ = seen_metadata_ || text == kMetadata;
      tensor_ = text;
      state_ = State::value;
      return true;
    }
    VOXOT_CHECK(text == "dtype" || text == "shape" || text == "data_offsets",
                "{}: {} has an unknown key '{}'", name_, where(), printable(text, 40));
    bool& seen = text == "dtype" ? seen_dtype_ : text == "shape" ? seen_shape_ : seen_offsets_;
    VOXOT_CHECK(!seen, "{}: {} has '{}' twice", name_, where(), text);
    seen = true;
    state_ = text == "dtype" ? State::dtype : text == "shape" ? State::before_shape : State::before_offsets;
    return true;
  }
  bool string(string_t& text) override {
    if (state_ == State::metadata) {
      metadata.emplace(metadata_key_, std::move(text));
      return true;
    }
    if (state_ != State::dtype) unexpected("a string");
    const auto* dtype = std::ranges::find(kDtypes, text, &std::pair<std::string_view, FileType>::first);
    VOXOT_CHECK(dtype != kDtypes.end(), "{}: {} has dtype '{}', which is not supported", name_, where(),
                printable(text, 20));
    entry_.type = dtype->second;
    state_ = State::tensor;
    return true;
  }
  bool start_array(std::size_t) override {
    if (state_ == State::before_shape) {
      state_ = State::shape;
    } else if (state_ == State::before_offsets) {
      state_ = State::offsets;
    } else {
      unexpected("an array");
    }
    return true;
  }
  bool end_array() override {
    VOXOT_CHECK(state_ != State::offsets || entry_.offsets.size() == 2,
                "{}: {} has {} data offsets, expected 2", name_, where(), entry_.offsets.size());
    state_ = State::tensor;
    return true;
  }
  bool number_unsigned(number_unsigned_t number) override {
    if (state_ == State::offsets) {
      entry_.offsets.push_back(number);
    } else if (state_ == State::shape) {
      VOXOT_CHECK(number <= static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()),
                  "{}: {} has an extent of {}, beyond 64 bits with sign", name_, where(), number);
      entry_.shape.push_back(static_cast<std::int64_t>(number));
    } else {
      unexpected("a number");
    }
    return true;
  }
  bool null() override { unexpected("null"); }
  bool boolean(bool) override { unexpected("true or false"); }
  bool number_integer(number_integer_t) override { unexpected("a negative number"); }
  bool number_float(number_float_t, const string_t& text) override { unexpected(printable(text, 40)); }
  bool binary(binary_t&) override { unexpected("binary data"); }
  bool parse_error(std::size_t position, const std::string&, const nlohmann::json::exception&) override {
    fail("{}: the header is not valid JSON at byte {}", name_, position);
  }

 private:
  enum class State {
    start,
    top,
    value,
    metadata,
    tensor,
    dtype,
    before_shape,
    shape,
    before_offsets,
    offsets
  };

  [[nodiscard]] std::string where() const { return fmt::format("tensor '{}'", printable(tensor_, 80)); }

  [[noreturn]] void unexpected(std::string_view got) const {
    switch (state_) {
      case State::start:
        fail("{}: expected an object as the header, got {}", name_, got);
      case State::metadata:
        fail("{}: expected a string for metadata key '{}', got {}", name_, printable(metadata_key_, 80), got);
      case State::dtype:
        fail("{}: {}: expected a string as dtype, got {}", name_, where(), got);
      case State::before_shape:
        fail("{}: {}: expected an array as shape, got {}", name_, where(), got);
      case State::shape:
        fail("{}: {}: expected a non-negative integer in the shape, got {}", name_, where(), got);
      case State::before_offsets:
        fail("{}: {}: expected an array as data_offsets, got {}", name_, where(), got);
      case State::offsets:
        fail("{}: {}: expected a non-negative integer in the data_offsets, got {}", name_, where(), got);
      default:
        fail("{}: expected an object for '{}', got {}", name_, printable(tensor_, 80), got);
    }
  }

  std::string_view name_;
  State state_ = State::start;
  std::string tensor_, metadata_key_;
  Entry entry_;
  bool seen_metadata_ = false, seen_dtype_ = false, seen_shape_ = false, seen_offsets_ = false;
};

/// Checks that the tensors, in the order of their offsets, cover the buffer.
void check_layout(const std::map<std::string, Entry>& entries, std::uint64_t buffer_bytes,
                  std::string_view name) {
  std::vector<std::pair<const std::string*, const Entry*>> order;
  order.reserve(entries.size());
  for (const auto& [key, entry] : entries) order.emplace_back(&key, &entry);
  std::ranges::sort(
      order, {}, [](const auto& item) -> const auto& { return item.second->offsets; });
  std::uint64_t covered = 0;
  for (const auto& [key, entry] : order) {
    const std::uint64_t begin = entry->offsets[0], end = entry->offsets[1];
    const std::string tensor = printable(*key, 80);
    VOXOT_CHECK(begin <= end, "{}: tensor '{}' ends at {}, before its begin at {}", name, tensor, end, begin);
    VOXOT_CHECK(end <= buffer_bytes,
                "{}: truncated: tensor '{}' ends at byte {} of the data, the file has {}", name, tensor, end,
                buffer_bytes);
    VOXOT_CHECK(begin == covered, "{}: {} before tensor '{}': it begins at {}, expected {}", name,
                begin < covered ? "overlap" : "hole", tensor, begin, covered);
    std::uint64_t expected = 0;
    try {
      expected = static_cast<std::uint64_t>(count_of(entry->type, entry->shape)) * size_of(entry->type);
    } catch (const Error& error) {
      fail("{}: tensor '{}': {}", name, tensor, error.what());
    }
    VOXOT_CHECK(end - begin == expected, "{}: tensor '{}', {} {}, needs {} bytes, its offsets hold {}", name,
                tensor, name_of(entry->type), describe_shape(entry->shape), expected, end - begin);
    covered = end;
  }
  VOXOT_CHECK(covered == buffer_bytes, "{}: the tensors cover {} bytes of data, the file has {}", name,
              covered, buffer_bytes);
}

/// Takes the checksum out of the metadata and compares it with the file's; false where there is none.
bool take_checksum(std::span<const std::byte> bytes, std::string_view header,
                   std::map<std::string, std::string>& metadata, std::string_view name) {
  const auto found = metadata.find(std::string(kChecksum));
  for (const auto& [key, value] : metadata) {
    VOXOT_CHECK(key == kChecksum || !value.starts_with(kChecksumKind),
                "{}: damaged: a checksum under the metadata key '{}', expected '{}'", name,
                printable(key, 40), kChecksum);
  }
  if (found == metadata.end()) return false;
  const std::string& value = found->second;
  const std::string text = fmt::format("\"{}\"", value);
  const std::size_t at = header.find(text);
  VOXOT_CHECK(value.starts_with(kChecksumKind) && value.size() == kChecksumKind.size() + Checksum::kDigits &&
                  at != std::string_view::npos && header.find(text, at + 1) == std::string_view::npos,
              "{}: damaged: metadata {}: expected \"{}\" and {} digits, got \"{}\"", name, kChecksum,
              kChecksumKind, Checksum::kDigits, printable(value, 60));
  const std::size_t digits = kPrefixBytes + at + 1 + kChecksumKind.size();
  Checksum sum;
  sum.add(bytes.first(digits));
  sum.add(std::as_bytes(std::span(kNoDigits)));
  sum.add(bytes.subspan(digits + Checksum::kDigits));
  VOXOT_CHECK(value.substr(kChecksumKind.size()) == sum.digits(),
              "{}: damaged: its checksum is {}, its bytes give {} (a program that changed the file must drop "
              "the metadata '{}')",
              name, value, sum.digits(), kChecksum);
  metadata.erase(found);
  return true;
}

/// Throws, with the way out, for what torch.save writes: a zip archive, before that a pickle.
void refuse_pytorch_file(std::span<const std::byte> bytes, std::uint64_t length, std::string_view name) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  const bool zip = text.starts_with("PK\x03\x04") || text.starts_with("PK\x05\x06");
  // A header of 640 bytes begins as a pickle does.
  const bool pickle =
      length > kMostHeaderBytes && text[0] == '\x80' && text[1] >= '\x02' && text[1] <= '\x05';
  if (!zip && !pickle) return;
  const std::string to = std::filesystem::path(name).replace_extension(".safetensors").string();
  fail(
      "{0}: expected safetensors, this is {1}, as torch.save writes. Two lines of Python convert a state "
      "dict: "
      "`import torch; from safetensors.torch import save_file` and `save_file(torch.load(\"{0}\", "
      "map_location=\"cpu\", weights_only=True), \"{2}\")`",
      name, zip ? "a zip archive" : "a pickle", to);
}

}  // namespace

SafetensorsFile parse_safetensors(std::span<const std::byte> bytes, std::string_view name) {
  VOXOT_CHECK(bytes.size() >= kPrefixBytes, "{}: truncated: expected at least 8 bytes, the file has {}", name,
              bytes.size());
  std::uint64_t length = 0;
  std::memcpy(&length, bytes.data(), kPrefixBytes);
  refuse_pytorch_file(bytes, length, name);
  VOXOT_CHECK(length <= kMostHeaderBytes,
              "{}: expected safetensors: a header of {} bytes is beyond the limit of {}", name, length,
              kMostHeaderBytes);
  VOXOT_CHECK(length <= bytes.size() - kPrefixBytes,
              "{}: truncated: its header has {} bytes, the file has {} left", name, length,
              bytes.size() - kPrefixBytes);
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()) + kPrefixBytes, length);
  VOXOT_CHECK(text.starts_with('{'), "{}: expected a header that begins with '{{', got '{}'", name,
              printable(text.substr(0, 8)));
  // nlohmann takes a zero byte for the end of its input and would leave what follows unseen.
  VOXOT_CHECK(text.find('\0') == std::string_view::npos, "{}: the header has a zero byte at byte {}", name,
              text.find('\0'));
  HeaderReader header(name);
  nlohmann::json::sax_parse(text.begin(), text.end(), &header);

  const std::span<const std::byte> buffer = bytes.subspan(kPrefixBytes + length);
  check_layout(header.entries, buffer.size(), name);
  SafetensorsFile file;
  file.checked = take_checksum(bytes, text, header.metadata, name);
  file.metadata = std::move(header.metadata);
  for (auto& [key, entry] : header.entries) {
    const auto data = buffer.subspan(entry.offsets[0], entry.offsets[1] - entry.offsets[0]);
    file.tensors.emplace(key, HostArray{entry.type, std::move(entry.shape), {data.begin(), data.end()}});
  }
  return file;
}

SafetensorsFile read_safetensors(const std::filesystem::path& path) {
  return parse_safetensors(read_file(path), printable(path.string()));
}

void write_safetensors(const std::filesystem::path& path, const SafetensorsFile& file) {
  const std::string name = printable(path.string());
  std::vector<std::pair<const std::string*, const HostArray*>> order;
  for (const auto& [key, array] : file.tensors) {
    VOXOT_CHECK(key != kMetadata && !key.starts_with(kChecksumKind), "{}: no tensor can be named '{}'", name,
                printable(key, 80));
    try {
      array.check();
    } catch (const Error& error) {
      fail("{}: tensor '{}': {}", name, printable(key, 80), error.what());
    }
    order.emplace_back(&key, &array);
  }
  std::ranges::stable_sort(order, std::greater{},
                           [](const auto& item) { return size_of(item.second->type); });

  for (const auto& [key, value] : file.metadata) {
    VOXOT_CHECK(!value.starts_with(kChecksumKind), "{}: metadata '{}' begins with '{}' as a checksum does",
                name, printable(key, 40), kChecksumKind);
  }

  nlohmann::json header = nlohmann::json::object();
  nlohmann::json& metadata = header[std::string(kMetadata)] = file.metadata;
  metadata[std::string(kChecksum)] = fmt::format("{}{}", kChecksumKind, kNoDigits);
  std::vector<std::span<const std::byte>> parts(2);
  std::uint64_t offset = 0;
  for (const auto& [key, array] : order) {
    const auto* dtype =
        std::ranges::find(kDtypes, array->type, &std::pair<std::string_view, FileType>::second);
    const std::uint64_t end = offset + array->bytes.size();
    header[*key] = {{"dtype", dtype->first}, {"shape", array->shape}, {"data_offsets", {offset, end}}};
    parts.emplace_back(array->bytes);
    offset = end;
  }
  std::string text;
  try {
    text = header.dump();
  } catch (const nlohmann::json::exception&) {
    fail("{}: the name of a tensor or the metadata is not valid UTF-8", name);
  }
  text.append((8 - text.size() % 8) % 8, ' ');
  const std::uint64_t length = text.size();
  VOXOT_CHECK(length <= kMostHeaderBytes, "{}: the header needs {} bytes, the format allows {}", name, length,
              kMostHeaderBytes);
  parts[0] = std::as_bytes(std::span(&length, 1));
  parts[1] = std::as_bytes(std::span(text));
  Checksum sum;
  for (const std::span<const std::byte> part : parts) sum.add(part);
  const std::string unset = fmt::format("\"{}{}\"", kChecksumKind, kNoDigits);
  text.replace(text.find(unset) + 1 + kChecksumKind.size(), Checksum::kDigits, sum.digits());
  write_file_atomically(path, parts);
}

void note_without_checksum(const SafetensorsFile& file, const std::filesystem::path& path) {
  static std::atomic<bool> said{false};
  if (file.checked || said.exchange(true)) return;
  note(fmt::format("note: {} has no checksum (an older voxot wrote it): damage would not be seen",
                   printable(path.string())));
}

template <class T>
std::optional<T> metadata_number(const std::map<std::string, std::string>& metadata, const std::string& key,
                                 std::string_view name, T low, T high) {
  const auto found = metadata.find(key);
  if (found == metadata.end()) return std::nullopt;
  const std::string& text = found->second;
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  VOXOT_CHECK(error == std::errc() && end == text.data() + text.size() && value >= low && value <= high,
              "{}: metadata {}: expected a number from {} to {}, got \"{}\"", name, key, low, high,
              printable(text, 100));
  return value;
}
template std::optional<double> metadata_number(const std::map<std::string, std::string>&, const std::string&,
                                               std::string_view, double, double);
template std::optional<std::int64_t> metadata_number(const std::map<std::string, std::string>&,
                                                     const std::string&, std::string_view, std::int64_t,
                                                     std::int64_t);

}  // namespace voxot
