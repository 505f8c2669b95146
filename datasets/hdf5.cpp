#include "datasets/hdf5.h"

#include <hdf5.h>

#include <algorithm>
#include <map>
#include <utility>

#include "engine/atomic_file.h"
#include "engine/host_array.h"
#include "kernels/check.h"

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

}  // namespace

struct Hdf5File::Arrays {
  Handle file;
  std::map<std::string, Handle> opened;

  const Handle& open(const std::string& name, const std::string& array) {
    const auto found = opened.find(array);
    if (found != opened.end()) return found->second;
    Handle handle(H5Dopen2(file.id(), array.c_str(), H5P_DEFAULT), &H5Dclose);
    VOXOT_CHECK(handle.valid(), "{}: expected an array {}: {}", name, array, reason());
    const Handle type(H5Dget_type(handle.id()), &H5Tclose);
    const H5T_class_t kind = H5Tget_class(type.id());
    VOXOT_CHECK(kind == H5T_INTEGER || kind == H5T_FLOAT, "{}: {}: expected integers or floats", name, array);
    return opened.emplace(array, std::move(handle)).first->second;
  }
};

Hdf5File::Hdf5File(const std::filesystem::path& path) : name_(printable(path.string())) {
  const Silence silence;
  Handle file(H5Fopen(path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT), &H5Fclose);
  VOXOT_CHECK(file.valid(), "{}: expected an HDF5 file: {}", name_, reason());
  arrays_ = std::make_unique<Arrays>(Arrays{std::move(file), {}});
}

Hdf5File::~Hdf5File() = default;

std::vector<std::int64_t> Hdf5File::shape(const std::string& array) const {
  const Silence silence;
  const Handle space(H5Dget_space(arrays_->open(name_, array).id()), &H5Sclose);
  const int rank = H5Sget_simple_extent_ndims(space.id());
  VOXOT_CHECK(rank >= 0, "{}: {}: {}", name_, array, reason());
  std::vector<hsize_t> extents(static_cast<std::size_t>(rank));
  H5Sget_simple_extent_dims(space.id(), extents.data(), nullptr);
  for (const hsize_t extent : extents) {
    VOXOT_CHECK(std::cmp_less_equal(extent, std::int64_t{1} << 48), "{}: {}: an extent of {} is too large",
                name_, array, extent);
  }
  return {extents.begin(), extents.end()};
}

void Hdf5File::read_rows(const std::string& array, std::int64_t first, std::int64_t n,
                         std::span<float> out) const {
  const std::vector<std::int64_t> all = shape(array);
  std::int64_t each = 1;
  for (std::size_t i = 1; i < all.size(); ++i) each *= all[i];
  VOXOT_CHECK(!all.empty() && first >= 0 && n >= 0 && first + n <= all[0] &&
                  static_cast<std::int64_t>(out.size()) == n * each,
              "{}: {}: rows {} to {} of shape {} do not make {} values", name_, array, first, first + n,
              describe_shape(all), out.size());
  const Silence silence;
  const Handle& handle = arrays_->open(name_, array);
  const Handle space(H5Dget_space(handle.id()), &H5Sclose);
  std::vector<hsize_t> start(all.size(), 0);
  std::vector<hsize_t> count(all.begin(), all.end());
  start[0] = static_cast<hsize_t>(first);
  count[0] = static_cast<hsize_t>(n);
  const Handle memory(H5Screate_simple(static_cast<int>(count.size()), count.data(), nullptr), &H5Sclose);
  const bool read =
      H5Sselect_hyperslab(space.id(), H5S_SELECT_SET, start.data(), nullptr, count.data(), nullptr) >= 0 &&
      H5Dread(handle.id(), H5T_NATIVE_FLOAT, memory.id(), space.id(), H5P_DEFAULT, out.data()) >= 0;
  VOXOT_CHECK(read, "{}: {}: cannot read rows {} to {}: {}", name_, array, first, first + n, reason());
}

}  // namespace voxot
