// HDF5 files that say more than they hold: types that the library's conversions cannot take, fill values in
// place of data, giant chunks.
#include "datasets/hdf5.h"

#include <hdf5.h>

#include <algorithm>
#include <array>
#include <functional>

#include "kernels/sizes.h"
#include "tests/temp_directory.h"

using namespace voxot;
using namespace voxot::test;
namespace fs = std::filesystem;

namespace {

/// What is set before an array is made.
struct Layout {
  std::vector<hsize_t> chunk;  // empty: in one piece
  bool deflate = false;
  bool written = true;
};

/// A file with one array `x` of ones.
void write_array(const fs::path& path, hid_t type, const std::vector<hsize_t>& shape,
                 const Layout& layout = {}) {
  const hid_t file = H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
  // Only an array that may grow can have chunks larger than itself.
  const std::vector<hsize_t> unlimited(shape.size(), H5S_UNLIMITED);
  const hid_t space = H5Screate_simple(static_cast<int>(shape.size()), shape.data(),
                                       layout.chunk.empty() ? nullptr : unlimited.data());
  const hid_t properties = H5Pcreate(H5P_DATASET_CREATE);
  if (!layout.chunk.empty())
    H5Pset_chunk(properties, static_cast<int>(layout.chunk.size()), layout.chunk.data());
  if (layout.deflate) H5Pset_deflate(properties, 9);
  const float one = 1;
  const bool number = H5Tget_class(type) == H5T_INTEGER || H5Tget_class(type) == H5T_FLOAT;
  if (!layout.written && number) H5Pset_fill_value(properties, H5T_NATIVE_FLOAT, &one);
  const hid_t array = H5Dcreate2(file, "x", type, space, H5P_DEFAULT, properties, H5P_DEFAULT);
  REQUIRE(array >= 0);
  if (layout.written && number) {
    std::size_t count = 1;
    for (const hsize_t extent : shape) count *= extent;
    const std::vector<float> ones(count, 1.0F);
    REQUIRE(H5Dwrite(array, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, ones.data()) >= 0);
  }
  H5Dclose(array);
  H5Pclose(properties);
  H5Sclose(space);
  H5Fclose(file);
}

std::string refusal(const fs::path& path, std::int64_t rows, std::int64_t values) {
  return error_of([&] {
    const Hdf5File file(path);
    std::vector<float> out(to_size(values));
    file.read_rows("x", 0, rows, out);
  });
}

hid_t changed(hid_t type, const std::function<void(hid_t)>& change) {
  const hid_t copy = H5Tcopy(type);
  change(copy);
  return copy;
}

hid_t half(H5T_order_t order) {
  return changed(H5T_IEEE_F32LE, [&](hid_t t) {
    H5Tset_fields(t, 15, 10, 5, 0, 10);
    H5Tset_precision(t, 16);
    H5Tset_size(t, 2);
    H5Tset_ebias(t, 15);
    H5Tset_order(t, order);
  });
}

}  // namespace

TEST_CASE("hdf5: every standard type is read", "[hdf5]") {
  const TempDirectory folder;
  const fs::path path = folder / "x.h5";
  for (const hid_t type : {H5T_STD_I8LE, H5T_STD_U8BE, H5T_STD_I16BE, H5T_STD_U16LE, H5T_STD_I32LE,
                           H5T_STD_U32BE, H5T_STD_I64BE, H5T_STD_U64LE, H5T_IEEE_F32LE, H5T_IEEE_F32BE,
                           H5T_IEEE_F64LE, H5T_IEEE_F64BE, half(H5T_ORDER_LE), half(H5T_ORDER_BE)}) {
    for (const Layout& layout : {Layout{}, Layout{{2, 8}}, Layout{{3, 5}, true}}) {
      write_array(path, type, {5, 8}, layout);
      const Hdf5File file(path);
      CHECK(file.shape("x") == std::vector<std::int64_t>{5, 8});
      std::vector<float> values(24);
      file.read_rows("x", 1, 3, values);
      CHECK(std::all_of(values.begin(), values.end(), [](float v) { return v == 1.0F; }));
    }
  }
}

TEST_CASE("hdf5: types that are no plain numbers are refused by name", "[hdf5]") {
  const TempDirectory folder;
  const fs::path path = folder / "x.h5";
  const hsize_t two = 2;
  const hid_t enumeration = H5Tenum_create(H5T_STD_I8LE);
  const signed char zero = 0;
  H5Tenum_insert(enumeration, "none", &zero);
  const std::pair<hid_t, const char*> cases[] = {
      {changed(H5T_STD_I32LE, [](hid_t t) { H5Tset_precision(t, 17); }),
       "integers of 4 bytes, 17 bits from bit 0"},
      {changed(H5T_STD_I32LE, [](hid_t t) { H5Tset_precision(t, 17), H5Tset_offset(t, 3); }),
       "integers of 4 bytes, 17 bits from bit 3"},
      {changed(H5T_STD_I64LE, [](hid_t t) { H5Tset_precision(t, 24), H5Tset_size(t, 3); }),
       "integers of 3 bytes"},
      {changed(H5T_STD_I64LE, [](hid_t t) { H5Tset_size(t, 16), H5Tset_precision(t, 128); }),
       "integers of 16 bytes"},
      {changed(H5T_IEEE_F64LE, [](hid_t t) { H5Tset_ebias(t, 7); }), "floats of 8 bytes"},
      {H5T_NATIVE_LDOUBLE, "floats of 16 bytes"},
      {H5T_STD_B8LE, "bit fields of 1 bytes"},
      {H5T_STD_REF_OBJ, "references"},
      {H5Tcreate(H5T_OPAQUE, 4), "opaque bytes"},
      {H5T_C_S1, "strings of 1 bytes"},
      {changed(H5T_C_S1, [](hid_t t) { H5Tset_size(t, H5T_VARIABLE); }), "strings"},
      {H5Tvlen_create(H5T_STD_I32LE), "lists"},
      {H5Tarray_create2(H5T_STD_I32LE, 1, &two), "arrays of 8 bytes"},
      {enumeration, "enumerations of 1 bytes"},
      {changed(H5Tcreate(H5T_COMPOUND, 4), [](hid_t t) { H5Tinsert(t, "a", 0, H5T_STD_I32LE); }),
       "compounds of 4 bytes"},
  };
  for (const auto& [type, text] : cases) {
    INFO(text);
    write_array(path, type, {5}, {{}, false, false});
    const std::string said = error_of([&] { (void)Hdf5File(path).shape("x"); });
    CHECK_THAT(said, Catch::Contains("x: expected integers or floats of 1, 2, 4 or 8 bytes in full, got ") &&
                         Catch::Contains(text));
  }
}

TEST_CASE("hdf5: a precision beyond the bytes, which ends the library, is refused", "[hdf5]") {
  const TempDirectory folder;
  const fs::path path = folder / "x.h5";
  write_array(path, H5T_STD_I64LE, {4});
  std::string bytes = as_text(read_file(path));
  // A datatype message: class and version, flags, size 8, offset 0, precision 64.
  const std::string message = from_hex("10080000080000000000") + from_hex("4000");
  const std::size_t at = bytes.find(message);
  REQUIRE(at != std::string::npos);
  bytes.replace(at + 10, 2, from_hex("0040"));
  write_file_atomically(path, as_bytes(bytes));
  CHECK_THAT(refusal(path, 4, 4), Catch::Contains("got integers of 8 bytes, 16384 bits from bit 0"));
}

TEST_CASE("hdf5: what a file says that it holds is compared with its size", "[hdf5]") {
  const TempDirectory folder;
  const fs::path path = folder / "x.h5";
  const hsize_t many = hsize_t{1} << 40;
  // Fill values in place of data, which would become 4 GB.
  write_array(path, H5T_IEEE_F32LE, {hsize_t{1} << 18, 4096}, {{1024, 4096}, true, false});
  CHECK_THAT(refusal(path, 1, 4096), Catch::Contains("the data of row 0 are not in the file"));
  write_array(path, H5T_IEEE_F32LE, {hsize_t{1} << 18, 4096}, {{1024, 4096}, false, false});
  CHECK_THAT(refusal(path, 1, 4096), Catch::Contains("in chunks of 1024×4096 need more than"));
  write_array(path, H5T_STD_U8LE, {many}, {{}, false, false});
  CHECK_THAT(refusal(path, 4, 4), Catch::Contains("the file holds 0"));
  // One giant chunk for a small array.
  write_array(path, H5T_IEEE_F32LE, {4, 4}, {{1 << 14, 1 << 15}, true, false});
  CHECK_THAT(refusal(path, 4, 16), Catch::Contains("in chunks of 16384×32768 need more than"));
  // Some chunks are there, others are not.
  write_array(path, H5T_STD_U8LE, {4, 16}, {{2, 16}, false, true});
  CHECK(refusal(path, 4, 64).empty());
  const hid_t file = H5Fopen(path.c_str(), H5F_ACC_RDWR, H5P_DEFAULT);
  const hsize_t shape[] = {8, 16}, chunk[] = {2, 16};
  const hid_t space = H5Screate_simple(2, shape, nullptr);
  const hid_t properties = H5Pcreate(H5P_DATASET_CREATE);
  H5Pset_chunk(properties, 2, chunk);
  const hid_t array = H5Dcreate2(file, "half", H5T_STD_U8LE, space, H5P_DEFAULT, properties, H5P_DEFAULT);
  const hsize_t start[] = {0, 0}, count[] = {3, 16};
  const hid_t part = H5Screate_simple(2, count, nullptr);
  H5Sselect_hyperslab(space, H5S_SELECT_SET, start, nullptr, count, nullptr);
  const std::vector<float> ones(48, 1.0F);
  REQUIRE(H5Dwrite(array, H5T_NATIVE_FLOAT, part, space, H5P_DEFAULT, ones.data()) >= 0);
  for (const hid_t id : {part, space}) H5Sclose(id);
  H5Pclose(properties);
  H5Dclose(array);
  H5Fclose(file);
  const Hdf5File partly(path);
  std::vector<float> values(64);
  CHECK_NOTHROW(partly.read_rows("half", 0, 4, values));
  CHECK_THAT(error_of([&] { partly.read_rows("half", 2, 4, values); }),
             Catch::Contains("half: the data of row 4 are not in the file"));
}

TEST_CASE("hdf5: data that lie elsewhere or would load a program are refused", "[hdf5]") {
  const TempDirectory folder;
  const fs::path path = folder / "x.h5";
  const auto with = [&](const std::function<void(hid_t)>& set) {
    const hid_t file = H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    const hsize_t shape[] = {4};
    const hid_t space = H5Screate_simple(1, shape, nullptr);
    const hid_t properties = H5Pcreate(H5P_DATASET_CREATE);
    set(properties);
    H5Dclose(H5Dcreate2(file, "x", H5T_STD_U8LE, space, H5P_DEFAULT, properties, H5P_DEFAULT));
    H5Pclose(properties);
    H5Sclose(space);
    H5Fclose(file);
  };
  with([](hid_t p) { H5Pset_external(p, "/etc/hostname", 0, 4); });
  CHECK_THAT(refusal(path, 4, 4), Catch::Contains("got a view of other files"));
  const hsize_t chunk[] = {4};
  with([&](hid_t p) {
    H5Pset_chunk(p, 1, chunk);
    H5Pset_scaleoffset(p, H5Z_SO_INT, 0);
  });
  CHECK_THAT(refusal(path, 4, 4), Catch::Contains("got HDF5 filter 6"));
}
