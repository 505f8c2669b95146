#include "datasets/idx.h"

#include <zlib.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <limits>
#include <memory>
#include <span>
#include <string>

#include "engine/atomic_file.h"
#include "engine/host_array.h"
#include "kernels/check.h"

namespace voxot {
namespace {

constexpr std::uint8_t kUnsignedByte = 0x08;
constexpr int kMostAxes = 8;

/// Bytes of a file, one after another.
class ByteSource {
 public:
  virtual ~ByteSource() = default;
  /// Fills `out` as far as there are bytes; returns how many came.
  virtual std::size_t read(std::span<std::uint8_t> out) = 0;
  /// A bound on the bytes that the whole file can hold.
  [[nodiscard]] virtual std::uint64_t most_bytes() const = 0;
  /// Throws Error where the file is compressed and should not unpack to this much.
  virtual void expect(std::uint64_t bytes) const = 0;
};

class RawSource : public ByteSource {
 public:
  explicit RawSource(std::span<const std::byte> bytes) : bytes_(bytes), size_(bytes.size()) {}
  std::size_t read(std::span<std::uint8_t> out) override {
    const std::size_t n = std::min(out.size(), bytes_.size());
    if (n > 0) std::memcpy(out.data(), bytes_.data(), n);
    bytes_ = bytes_.subspan(n);
    return n;
  }
  [[nodiscard]] std::uint64_t most_bytes() const override { return size_; }
  void expect(std::uint64_t) const override {}

 private:
  std::span<const std::byte> bytes_;
  std::uint64_t size_;
};

bool is_gzip(std::span<const std::byte> bytes) {
  return bytes.size() >= 2 && bytes[0] == std::byte{0x1f} && bytes[1] == std::byte{0x8b};
}

/// One gzip member or several, one after another, as gunzip takes them.
class GzipSource : public ByteSource {
 public:
  GzipSource(std::span<const std::byte> bytes, std::string_view name)
      : bytes_(bytes), size_(bytes.size()), name_(name) {
    constexpr int kLargestWindow = 15, kGzip = 16;
    VOXOT_CHECK(inflateInit2(&stream_, kLargestWindow + kGzip) == Z_OK, "{}: cannot start zlib", name_);
  }
  GzipSource(const GzipSource&) = delete;
  GzipSource& operator=(const GzipSource&) = delete;
  ~GzipSource() override { inflateEnd(&stream_); }

  std::size_t read(std::span<std::uint8_t> out) override {
    std::size_t done = 0;
    while (done < out.size() && !ended_) done += inflate_some(out.subspan(done));
    return done;
  }
  [[nodiscard]] std::uint64_t most_bytes() const override { return size_ * kMostDeflated; }
  void expect(std::uint64_t bytes) const override { check_unpacked(bytes, size_, name_); }

 private:
  std::size_t inflate_some(std::span<std::uint8_t> out) {
    constexpr std::size_t kLargest = std::numeric_limits<uInt>::max();
    const std::size_t room = std::min(out.size(), kLargest), input = std::min(bytes_.size(), kLargest);
    VOXOT_CHECK(input > 0, "{}: truncated: the gzip data end after {} compressed bytes", name_, size_);
    stream_.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(bytes_.data()));
    stream_.avail_in = static_cast<uInt>(input);
    stream_.next_out = out.data();
    stream_.avail_out = static_cast<uInt>(room);
    const int status = inflate(&stream_, Z_NO_FLUSH);
    VOXOT_CHECK(status == Z_OK || status == Z_STREAM_END || status == Z_BUF_ERROR,
                "{}: damaged gzip data: {}", name_, stream_.msg != nullptr ? stream_.msg : "zlib refuses it");
    bytes_ = bytes_.subspan(input - stream_.avail_in);
    if (status == Z_STREAM_END) {
      ended_ = bytes_.empty();
      VOXOT_CHECK(ended_ || is_gzip(bytes_), "{}: {} bytes follow the gzip data", name_, bytes_.size());
      VOXOT_CHECK(inflateReset(&stream_) == Z_OK, "{}: cannot restart zlib", name_);
    }
    return room - stream_.avail_out;
  }

  std::span<const std::byte> bytes_;
  std::uint64_t size_;
  std::string_view name_;
  z_stream stream_{};
  bool ended_ = false;
};

void read_exactly(ByteSource& source, std::span<std::uint8_t> out, std::string_view name) {
  const std::size_t got = source.read(out);
  VOXOT_CHECK(got == out.size(), "{}: truncated: expected {} bytes in the IDX header, got {}", name,
              out.size(), got);
}

std::vector<std::int64_t> read_shape(ByteSource& source, std::string_view name) {
  std::uint8_t magic[4];
  read_exactly(source, magic, name);
  VOXOT_CHECK(magic[0] == 0 && magic[1] == 0,
              "{}: expected an IDX file, which begins with 00 00, got {:02x} {:02x} {:02x} {:02x}", name,
              magic[0], magic[1], magic[2], magic[3]);
  VOXOT_CHECK(magic[2] == kUnsignedByte,
              "{}: IDX element type 0x{:02x} is not supported: expected 0x08, unsigned bytes", name,
              magic[2]);
  VOXOT_CHECK(magic[3] >= 1 && magic[3] <= kMostAxes, "{}: expected 1 to {} axes, got {}", name, kMostAxes,
              magic[3]);
  std::vector<std::uint8_t> sizes(std::size_t{4} * magic[3]);
  read_exactly(source, sizes, name);
  std::vector<std::int64_t> shape;
  for (std::size_t i = 0; i < sizes.size(); i += 4) {
    shape.push_back(std::int64_t{sizes[i]} << 24 | sizes[i + 1] << 16 | sizes[i + 2] << 8 | sizes[i + 3]);
  }
  return shape;
}

IdxArray read_array(ByteSource& source, std::string_view name) {
  IdxArray array{read_shape(source, name), {}};
  const std::uint64_t header = 4 + 4 * array.shape.size(), most = source.most_bytes();
  std::uint64_t count = 1;
  bool fits = true;
  for (const std::int64_t extent : array.shape) {
    const auto factor = static_cast<std::uint64_t>(extent);
    fits = fits && (factor == 0 || count <= most / factor);
    count = fits ? count * factor : 0;
  }
  VOXOT_CHECK(fits && header + count <= most,
              "{}: truncated: the header says {} bytes of data, the file holds at most {}", name,
              describe_shape(array.shape), most - std::min(header, most));
  source.expect(count);
  // Memory grows with what really arrives, not with what a compressed file says.
  constexpr std::uint64_t kFirst = std::uint64_t{1} << 20;
  std::size_t done = 0;
  while (done < count) {
    array.data.resize(std::min(count, std::max<std::uint64_t>(kFirst, 2 * done)));
    const std::size_t got = source.read(std::span(array.data).subspan(done));
    VOXOT_CHECK(got > 0, "{}: truncated: the header says {} bytes of data, the file has {}", name, count,
                done);
    done += got;
  }
  std::uint8_t extra;
  VOXOT_CHECK(source.read({&extra, 1}) == 0, "{}: the header says {} bytes of data, more follow", name,
              count);
  return array;
}

}  // namespace

IdxArray read_idx(const std::filesystem::path& path) {
  const std::string name = printable(path.string());
  const std::vector<std::byte> bytes = read_file(path);
  std::unique_ptr<ByteSource> source;
  if (is_gzip(bytes)) {
    source = std::make_unique<GzipSource>(bytes, name);
  } else {
    source = std::make_unique<RawSource>(bytes);
  }
  return read_array(*source, name);
}

}  // namespace voxot
