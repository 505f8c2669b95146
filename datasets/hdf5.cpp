#include "datasets/hdf5.h"

#include <fmt/ranges.h>
#include <hdf5.h>

#include <algorithm>
#include <array>
#include <initializer_list>
#include <map>
#include <utility>

#include "engine/atomic_file.h"
#include "engine/host_array.h"
#include "kernels/check.h"
#include "kernels/sizes.h"

namespace voxot {
namespace {

/// Owns an HDF5 identifier.
class Handle {
 public:
  using Close = herr_t (*)(hid_t);
  Handle(hid_t id, Close close) : id_(id), close_(close) {}
  Handle(Handle&& other) noexcept : id_(std::exchange(other.id_, H5I_INVALID_HID)), close_(other.close_) {}
  Handle& operator=(Handle&&) = delete;
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  ~Handle() {
    if (id_ >= 0) close_(id_);
  }
  [[nodiscard]] hid_t id() const { return id_; }
  [[nodiscard]] bool valid() const { return id_ >= 0; }

 private:
  hid_t id_;
  Close close_;
};

/// While it lives, HDF5 prints nothing: its errors become ours.
class Silence {
 public:
  Silence() {
    H5Eget_auto2(H5E_DEFAULT, &print_, &data_);
    H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
  }
  Silence(const Silence&) = delete;
  Silence& operator=(const Silence&) = delete;
  ~Silence() { H5Eset_auto2(H5E_DEFAULT, print_, data_); }

 private:
  H5E_auto2_t print_ = nullptr;
  void* data_ = nullptr;
};

/// The innermost entry of HDF5's error stack, which says what was wrong.
std::string reason() {
  std::string text;
  const auto first = [](unsigned n, const H5E_error2_t* error, void* into) -> herr_t {
    if (n == 0 && error->desc != nullptr) *static_cast<std::string*>(into) = error->desc;
    return 0;
  };
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, first, &text);
  return text.empty() ? "HDF5 gives no reason" : printable(text);
}

/// IEEE's half, which HDF5 has no name for; either byte order.
bool is_half(hid_t type) {
  const Handle half(H5Tcopy(H5T_IEEE_F32LE), &H5Tclose);
  return H5Tset_fields(half.id(), 15, 10, 5, 0, 10) >= 0 && H5Tset_precision(half.id(), 16) >= 0 &&
         H5Tset_size(half.id(), 2) >= 0 && H5Tset_ebias(half.id(), 15) >= 0 &&
         (H5Tequal(type, half.id()) > 0 ||
          (H5Tset_order(half.id(), H5T_ORDER_BE) >= 0 && H5Tequal(type, half.id()) > 0));
}

/// Integers and IEEE floats that fill their bytes. HDF5's conversions write past their buffers for other
/// sizes, precisions and offsets that a file may declare.
bool is_standard(hid_t type) {
  const std::initializer_list<hid_t> known{H5T_STD_I8LE,   H5T_STD_I16LE,  H5T_STD_I32LE,  H5T_STD_I64LE,
                                           H5T_STD_U8LE,   H5T_STD_U16LE,  H5T_STD_U32LE,  H5T_STD_U64LE,
                                           H5T_STD_I8BE,   H5T_STD_I16BE,  H5T_STD_I32BE,  H5T_STD_I64BE,
                                           H5T_STD_U8BE,   H5T_STD_U16BE,  H5T_STD_U32BE,  H5T_STD_U64BE,
                                           H5T_IEEE_F32LE, H5T_IEEE_F64LE, H5T_IEEE_F32BE, H5T_IEEE_F64BE};
  return std::any_of(known.begin(), known.end(), [&](hid_t one) { return H5Tequal(type, one) > 0; }) ||
         is_half(type);
}

/// "integers of 5 bytes, 17 bits from bit 3", "compounds of 24 bytes"
std::string describe_type(hid_t type) {
  constexpr std::array kNames{"integers",     "floats",       "times",     "strings",
                              "bit fields",   "opaque bytes", "compounds", "references",
                              "enumerations", "lists",        "arrays"};
  const auto kind = static_cast<std::size_t>(H5Tget_class(type));
  std::string text =
      fmt::format("{} of {} bytes", kind < kNames.size() ? kNames[kind] : "something", H5Tget_size(type));
  if (kind <= H5T_FLOAT)
    text += fmt::format(", {} bits from bit {}", H5Tget_precision(type), H5Tget_offset(type));
  return text;
}

struct Rows {
  hsize_t first;
  hsize_t count;
};

/// An open array, and what is known of it before any of its data are read.
struct Array {
  Handle handle;
  std::uint64_t value_bytes = 0;
  std::vector<std::int64_t> shape;
  std::vector<hsize_t> chunk;  // empty where the data lie in one piece
  bool packed = false;         // the chunks are compressed
};

std::vector<std::int64_t> shape_of(const Handle& array, const std::string& name) {
  const Handle space(H5Dget_space(array.id()), &H5Sclose);
  const int rank = H5Sget_simple_extent_ndims(space.id());
  VOXOT_CHECK(rank >= 0, "{}: {}", name, reason());
  std::vector<hsize_t> extents(to_size(rank));
  H5Sget_simple_extent_dims(space.id(), extents.data(), nullptr);
  for (const hsize_t extent : extents) {
    VOXOT_CHECK(std::cmp_less_equal(extent, std::int64_t{1} << 48), "{}: an extent of {} is too large", name,
                extent);
  }
  std::vector<std::int64_t> shape(extents.begin(), extents.end());
  (void)count_of(FileType::f64, shape);
  return shape;
}

/// Whether chunks are compressed. Other filters would be loaded as programs, or grow without a bound.
bool is_packed(hid_t properties, const std::string& name) {
  const int filters = H5Pget_nfilters(properties);
  bool packed = false;
  for (int i = 0; i < filters; ++i) {
    unsigned flags = 0;
    std::size_t values = 0;
    const H5Z_filter_t filter =
        H5Pget_filter2(properties, static_cast<unsigned>(i), &flags, &values, nullptr, 0, nullptr, nullptr);
    const bool deflate = filter == H5Z_FILTER_DEFLATE;
    VOXOT_CHECK((deflate && !packed) || filter == H5Z_FILTER_SHUFFLE || filter == H5Z_FILTER_FLETCHER32,
                "{}: expected data that are raw or deflated once, got HDF5 filter {}", name,
                static_cast<int>(filter));
    packed = packed || deflate;
  }
  return packed;
}

Array open_array(hid_t file, const std::string& file_name, const std::string& path) {
  const std::string name = fmt::format("{}: {}", file_name, path);
  Array array{Handle(H5Dopen2(file, path.c_str(), H5P_DEFAULT), &H5Dclose), 0, {}, {}, false};
  VOXOT_CHECK(array.handle.valid(), "{}: expected an array {}: {}", file_name, path, reason());
  const Handle type(H5Dget_type(array.handle.id()), &H5Tclose);
  VOXOT_CHECK(type.valid() && is_standard(type.id()),
              "{}: expected integers or floats of 1, 2, 4 or 8 bytes in full, got {}", name,
              describe_type(type.id()));
  array.value_bytes = H5Tget_size(type.id());
  array.shape = shape_of(array.handle, name);
  const Handle properties(H5Dget_create_plist(array.handle.id()), &H5Pclose);
  VOXOT_CHECK(properties.valid(), "{}: {}", name, reason());
  const H5D_layout_t layout = H5Pget_layout(properties.id());
  VOXOT_CHECK((layout == H5D_COMPACT || layout == H5D_CONTIGUOUS || layout == H5D_CHUNKED) &&
                  H5Pget_external_count(properties.id()) == 0,
              "{}: expected data in this file, got a view of other files", name);
  if (layout == H5D_CHUNKED) {
    array.chunk.resize(array.shape.size());
    VOXOT_CHECK(H5Pget_chunk(properties.id(), static_cast<int>(array.chunk.size()), array.chunk.data()) ==
                    static_cast<int>(array.chunk.size()),
                "{}: {}", name, reason());
    array.packed = is_packed(properties.id(), name);
  }
  return array;
}

/// Every chunk that holds some of these rows is in the file, with no more bytes than it can need. HDF5
/// unpacks a chunk whole before it looks at its size, so that what a stream of its length could unpack to at
/// worst is bounded as well.
void check_chunks(const Array& array, const Rows& rows, std::uint64_t chunk_bytes, std::uint64_t file_bytes,
                  const std::string& name) {
  std::vector<hsize_t> at(array.chunk.size(), 0);
  at[0] = rows.first / array.chunk[0] * array.chunk[0];
  const auto advance = [&] {  // to the next chunk, the last axis first
    for (std::size_t axis = at.size(); axis-- > 0;) {
      at[axis] += array.chunk[axis];
      if (at[axis] < (axis == 0 ? rows.first + rows.count : static_cast<hsize_t>(array.shape[axis])))
        return true;
      at[axis] = 0;
    }
    return false;
  };
  do {
    hsize_t size = 0;
    const bool known = H5Dget_chunk_storage_size(array.handle.id(), at.data(), &size) >= 0;
    VOXOT_CHECK(known && size > 0, "{}: the data of row {} are not in the file", name,
                std::max(at[0], rows.first));
    VOXOT_CHECK(array.packed ? size <= chunk_bytes + chunk_bytes / 64 + 64 : size >= chunk_bytes,
                "{}: a chunk of {} bytes is stored in {}", name, chunk_bytes, size);
    VOXOT_CHECK(
        !array.packed || size <= most_unpacked(file_bytes) / kMostDeflated,
        "{}: a deflated chunk of {} bytes could unpack to up to {} bytes, more than {} from a file of {}; "
        "save it in smaller chunks, or uncompressed",
        name, size, size * kMostDeflated, most_unpacked(file_bytes), file_bytes);
  } while (advance());
}

/// A hostile file lets a fill value stand for data that it lacks, or has chunks far larger than its arrays:
/// what reading these rows takes is compared with the file's size first.
void check_stored(const Array& array, const Rows& rows, std::uint64_t file_bytes, const std::string& name) {
  const std::uint64_t stored = H5Dget_storage_size(array.handle.id());
  VOXOT_CHECK(stored <= file_bytes, "{}: says {} bytes of data, the file has {}", name, stored, file_bytes);
  if (array.chunk.empty()) {
    const auto needed = static_cast<std::uint64_t>(count_of(FileType::u8, array.shape)) * array.value_bytes;
    VOXOT_CHECK(needed <= stored, "{}: {} needs {} bytes, the file holds {}", name,
                describe_shape(array.shape), needed, stored);
    return;
  }
  const std::uint64_t most = array.packed ? most_unpacked(file_bytes) : file_bytes;
  std::uint64_t chunk_bytes = array.value_bytes, whole = array.value_bytes;
  for (std::size_t axis = 0; axis < array.chunk.size(); ++axis) {
    const std::uint64_t extent = axis == 0 ? rows.count : static_cast<std::uint64_t>(array.shape[axis]);
    const std::uint64_t side = array.chunk[axis];
    VOXOT_CHECK(side >= 1 && side <= most / chunk_bytes && extent <= most / whole,
                "{}: {} in chunks of {} need more than {} bytes, the file has {}", name,
                describe_shape(array.shape), fmt::join(array.chunk, "×"), most, file_bytes);
    chunk_bytes *= side;
    whole *= extent;
  }
  check_chunks(array, rows, chunk_bytes, file_bytes, name);
}

}  // namespace

struct Hdf5File::Arrays {
  Handle file;
  std::uint64_t file_bytes;
  std::map<std::string, Array> opened;

  const Array& open(const std::string& name, const std::string& array) {
    const auto found = opened.find(array);
    if (found != opened.end()) return found->second;
    return opened.emplace(array, open_array(file.id(), name, array)).first->second;
  }
};

Hdf5File::Hdf5File(const std::filesystem::path& path) : name_(printable(path.string())) {
  const Silence silence;
  const std::uint64_t file_bytes = regular_file_size(path);
  Handle file(H5Fopen(path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT), &H5Fclose);
  VOXOT_CHECK(file.valid(), "{}: expected an HDF5 file: {}", name_, reason());
  arrays_ = std::make_unique<Arrays>(Arrays{std::move(file), file_bytes, {}});
}

Hdf5File::~Hdf5File() = default;

std::vector<std::int64_t> Hdf5File::shape(const std::string& array) const {
  const Silence silence;
  return arrays_->open(name_, array).shape;
}

void Hdf5File::read_rows(const std::string& array, std::int64_t first, std::int64_t n,
                         std::span<float> out) const {
  const Silence silence;
  const Array& open = arrays_->open(name_, array);
  const std::vector<std::int64_t>& all = open.shape;
  std::int64_t each = 1;
  for (std::size_t i = 1; i < all.size(); ++i) each *= all[i];
  VOXOT_CHECK(!all.empty() && first >= 0 && n >= 0 && first <= all[0] && n <= all[0] - first &&
                  std::ssize(out) == n * each,
              "{}: {}: rows {} to {} of shape {} do not make {} values", name_, array, first, first + n,
              describe_shape(all), out.size());
  if (out.empty()) return;
  const Rows rows{static_cast<hsize_t>(first), static_cast<hsize_t>(n)};
  check_stored(open, rows, arrays_->file_bytes, fmt::format("{}: {}", name_, array));
  const Handle space(H5Dget_space(open.handle.id()), &H5Sclose);
  std::vector<hsize_t> start(all.size(), 0);
  std::vector<hsize_t> count(all.begin(), all.end());
  start[0] = rows.first;
  count[0] = rows.count;
  const Handle memory(H5Screate_simple(static_cast<int>(count.size()), count.data(), nullptr), &H5Sclose);
  const bool read =
      H5Sselect_hyperslab(space.id(), H5S_SELECT_SET, start.data(), nullptr, count.data(), nullptr) >= 0 &&
      H5Dread(open.handle.id(), H5T_NATIVE_FLOAT, memory.id(), space.id(), H5P_DEFAULT, out.data()) >= 0;
  VOXOT_CHECK(read, "{}: {}: cannot read rows {} to {}: {}", name_, array, first, first + n, reason());
}

}  // namespace voxot
