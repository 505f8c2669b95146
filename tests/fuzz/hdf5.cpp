// HDF5 files as kaggle3d reads them: rows of X_test and y_test, in blocks.
#include "datasets/hdf5.h"

#include <hdf5.h>

#include <algorithm>

#include "tests/fuzz/fuzz.h"

using namespace voxot;

namespace {

constexpr hsize_t kRows = 4, kCells = 32;
constexpr std::int64_t kMostValues = std::int64_t{1} << 22;

/// A good file of this type; chunks of two rows, deflated where `packed`.
std::string good(hid_t type, bool chunked, bool packed) {
  const auto path = fuzz::scratch_file("seed.h5");
  const hid_t file = H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
  for (const bool labels : {false, true}) {
    const hsize_t shape[] = {kRows, kCells}, chunk[] = {2, kCells};
    const hid_t space = H5Screate_simple(labels ? 1 : 2, shape, nullptr);
    const hid_t properties = H5Pcreate(H5P_DATASET_CREATE);
    if (chunked) H5Pset_chunk(properties, labels ? 1 : 2, chunk);
    if (packed) {
      H5Pset_shuffle(properties);
      H5Pset_deflate(properties, 9);
    }
    const hid_t set =
        H5Dcreate2(file, labels ? "y_test" : "X_test", type, space, H5P_DEFAULT, properties, H5P_DEFAULT);
    const std::vector<float> values(kRows * kCells, 1.0F);
    H5Dwrite(set, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data());
    H5Dclose(set);
    H5Pclose(properties);
    H5Sclose(space);
  }
  H5Fclose(file);
  return fuzz::bytes_of(path);
}

void read(const Hdf5File& file, const std::string& array) {
  const std::vector<std::int64_t> shape = file.shape(array);
  if (shape.empty() || shape[0] == 0) return;
  std::int64_t each = 1;
  for (std::size_t i = 1; i < shape.size(); ++i) {
    if (shape[i] == 0 || each > kMostValues / shape[i]) return;
    each *= shape[i];
  }
  const std::int64_t rows = std::min<std::int64_t>({shape[0], 3, kMostValues / each});
  std::vector<float> values(static_cast<std::size_t>(rows * each));
  file.read_rows(array, 0, rows, values);
  file.read_rows(array, shape[0] - rows, rows, values);
}

}  // namespace

std::vector<std::string> fuzz::seeds() {
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
  return {good(H5T_IEEE_F64LE, false, false), good(H5T_STD_U8LE, true, false),
          good(H5T_IEEE_F32BE, true, true), good(H5T_STD_I64LE, false, false)};
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const fuzz::MemoryFile bytes(fuzz::text_of(data, size));
  const std::string name = bytes.path().string();
  fuzz::read_or_refuse(name, [&] {
    const Hdf5File file(bytes.path());
    for (const char* array : {"X_test", "y_test"}) fuzz::read_or_refuse(name, [&] { read(file, array); });
  });
  return 0;
}
