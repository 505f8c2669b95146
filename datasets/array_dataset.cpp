#include "datasets/array_dataset.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <set>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <fmt/ranges.h>

#include "engine/host_array.h"
#include "engine/npy.h"
#include "kernels/check.h"
#include "kernels/volume_sample.h"

namespace voxot {
namespace {

namespace fs = std::filesystem;

struct ArrayFile {
  HostArray data;
  std::vector<int> labels;  // empty where the file has none
};

/// Values mapped as the header says; refuses types that have no agreed scale.
std::vector<float> scaled_values(const HostArray& data, const std::string& name) {
  std::vector<float> values = data.to_floats();
  switch (data.type) {
    case FileType::f16:
    case FileType::bf16:
    case FileType::f32:
    case FileType::f64:
      break;
    case FileType::u8:
      std::transform(values.begin(), values.end(), values.begin(), [](float v) { return v / 127.5F - 1.0F; });
      break;
    case FileType::boolean:
      std::transform(values.begin(), values.end(), values.begin(), [](float v) { return 2.0F * v - 1.0F; });
      break;
    default:
      fail("{}: expected floats, u8 or booleans, got {}", name, data.describe());
  }
  const auto bad = std::find_if(values.begin(), values.end(), [](float v) { return !std::isfinite(v); });
  VOXOT_CHECK(bad == values.end(), "{}: value {} is not finite", name, bad - values.begin());
  return values;
}

template <class Integer>
std::vector<int> integers(const HostArray& array, const std::string& name) {
  std::vector<int> result(array.bytes.size() / sizeof(Integer));
  for (std::size_t i = 0; i < result.size(); ++i) {
    Integer value{};
    std::memcpy(&value, array.bytes.data() + i * sizeof(Integer), sizeof(Integer));
    const bool fits =
        std::cmp_greater_equal(value, 0) && std::cmp_less_equal(value, std::numeric_limits<int>::max());
    VOXOT_CHECK(fits, "{}: label {} is {}, expected 0 to {}", name, i, value,
                std::numeric_limits<int>::max());
    result[i] = static_cast<int>(static_cast<std::make_unsigned_t<Integer>>(value));
  }
  return result;
}

std::vector<int> read_labels(const HostArray& array, const std::string& name) {
  switch (array.type) {
    case FileType::i8:
      return integers<std::int8_t>(array, name);
    case FileType::u8:
      return integers<std::uint8_t>(array, name);
    case FileType::i16:
      return integers<std::int16_t>(array, name);
    case FileType::u16:
      return integers<std::uint16_t>(array, name);
    case FileType::i32:
      return integers<std::int32_t>(array, name);
    case FileType::u32:
      return integers<std::uint32_t>(array, name);
    case FileType::i64:
      return integers<std::int64_t>(array, name);
    case FileType::u64:
      return integers<std::uint64_t>(array, name);
    default:
      fail("{}: expected integer labels, got {}", name, array.describe());
  }
}

/// The first of the names that the archive holds; the archive's end where it holds none.
template <class Names>
auto find_named(std::map<std::string, HostArray>& arrays, const Names& names) {
  for (const char* name : names) {
    if (const auto found = arrays.find(name); found != arrays.end()) {
      return found;
    }
  }
  return arrays.end();
}

ArrayFile read_archive(const fs::path& path) {
  std::map<std::string, HostArray> arrays = read_npz(path);
  ArrayFile file;
  if (const auto labels = find_named(arrays, std::array{"labels", "y"}); labels != arrays.end()) {
    VOXOT_CHECK(labels->second.shape.size() == 1, "{}: expected labels of shape [N], got {}", path.string(),
                labels->second.describe());
    file.labels = read_labels(labels->second, path.string());
    arrays.erase(labels);
  }
  auto data = find_named(arrays, std::array{"data", "x"});
  if (data == arrays.end() && arrays.size() == 1) {
    data = arrays.begin();
  }
  if (data == arrays.end()) {
    std::vector<std::string> names;
    names.reserve(arrays.size());
    for (const auto& [name, array] : arrays) {
      names.push_back(name);
    }
    fail("{}: expected an array named data or x, or only one besides labels, found {}", path.string(), names);
  }
  file.data = std::move(data->second);
  return file;
}

ArrayFile read_array_file(const fs::path& path) {
  if (path.extension() == ".npz") {
    return read_archive(path);
  }
  if (path.extension() != ".npy") {
    fail_usage("path: expected a .npy or .npz file, got \"{}\"", path.string());
  }
  return {read_npy(path), {}};
}

/// C, D, H, W of one item.
std::array<std::int64_t, 4> item_shape(const HostArray& data, const std::string& name) {
  const std::vector<std::int64_t>& s = data.shape;
  const bool positive = std::all_of(s.begin(), s.end(), [](std::int64_t extent) { return extent > 0; });
  if (positive && s.size() == 5) {
    return {s[1], s[2], s[3], s[4]};
  }
  if (positive && s.size() == 4) {
    return {s[1], 1, s[2], s[3]};
  }
  if (positive && s.size() == 2) {
    return {s[1], 1, 1, 1};
  }
  fail("{}: expected N×C×D×H×W, N×C×H×W or N×C with no empty axis, got {}", name, data.describe());
}

class ArrayDataset final : public Dataset {
 public:
  ArrayDataset(const ArrayFile& file, const std::vector<int>& classes, Order order, Split split,
               const std::string& name)
      : order_(order) {
    const auto [channels, depth, height, width] = item_shape(file.data, name);
    shape_ = {depth, height, width, channels};
    const std::int64_t items = file.data.shape[0];
    const bool labelled = !file.labels.empty();
    VOXOT_CHECK(!labelled || static_cast<std::int64_t>(file.labels.size()) == items,
                "{}: {} labels for {} items", name, file.labels.size(), items);
    check_classes(file.labels, classes, name);
    const std::vector<float> values = scaled_values(file.data, name);
    const std::int64_t voxels = depth * height * width;
    for (std::int64_t item = 0; item < items; ++item) {
      const int label = labelled ? file.labels[item] : -1;
      const bool wanted =
          classes.empty() || std::find(classes.begin(), classes.end(), label) != classes.end();
      if (!wanted || array_split_of(item) != split) {
        continue;
      }
      labels_.push_back({label, -1, -1.0F, item});
      const float* from = values.data() + item * channels * voxels;
      for (std::int64_t v = 0; v < voxels; ++v) {
        for (std::int64_t c = 0; c < channels; ++c) {
          values_.push_back(from[c * voxels + v]);
        }
      }
    }
    VOXOT_CHECK(!labels_.empty(),
                "{}: no item of the wanted classes falls into this split (80/10/10 of {} items)", name,
                items);
  }

  [[nodiscard]] std::array<std::int64_t, 4> sample_shape() const override { return shape_; }
  [[nodiscard]] std::int64_t size() const override { return static_cast<std::int64_t>(labels_.size()); }

  void draw(const RandomState& state, std::int64_t n, float* out, std::vector<SampleLabel>* labels) override {
    VOXOT_CHECK(n >= 0 && n <= (std::int64_t{1} << 20), "draw: expected 0 to 2^20 samples, got {}", n);
    if (labels != nullptr) {
      labels->resize(n);
    }
    const SampleDraw samples{state, n, order_};
    const std::int64_t stride = shape_[0] * shape_[1] * shape_[2] * shape_[3];
    for (std::int64_t i = 0; i < n; ++i) {
      Random random = samples.random(i);
      const std::int64_t slot = samples.item(i, size(), random);
      std::copy_n(values_.data() + slot * stride, stride, out + i * stride);
      if (labels != nullptr) {
        (*labels)[i] = labels_[slot];
      }
    }
  }

  [[nodiscard]] std::optional<DeviceSamples> on_device(Device device) const override {
    if (static_cast<std::int64_t>(values_.size() * sizeof(float)) > kMostTableBytes) {
      return std::nullopt;
    }
    const Shape shape{size(), shape_[0], shape_[1], shape_[2], shape_[3]};
    return DeviceSamples(Tensor::from(shape, std::span<const float>(values_), DType::f32, device), order_);
  }

 private:
  static void check_classes(const std::vector<int>& labels, const std::vector<int>& classes,
                            const std::string& name) {
    if (!classes.empty() && labels.empty()) {
      fail_usage("classes: {} holds no labels (\"labels\" or \"y\"), so no class can be chosen", name);
    }
    const std::set<int> present(labels.begin(), labels.end());
    for (const int wanted : classes) {
      if (!present.contains(wanted)) {
        fail_usage("classes: {} has no item of class {}; its labels run from {} to {}", name, wanted,
                   *present.begin(), *present.rbegin());
      }
    }
  }

  Order order_;
  std::array<std::int64_t, 4> shape_;  // D, H, W, C
  std::vector<float> values_;          // items of the split, channels last
  std::vector<SampleLabel> labels_;
};

}  // namespace

Split array_split_of(std::int64_t index) {
  auto hash = static_cast<std::uint64_t>(index) + 0x9E3779B97F4A7C15;
  hash = (hash ^ (hash >> 30)) * 0xBF58476D1CE4E5B9;
  hash = (hash ^ (hash >> 27)) * 0x94D049BB133111EB;
  hash ^= hash >> 31;
  const std::uint64_t tenth = hash % 10;
  return tenth < 8 ? Split::train : tenth == 8 ? Split::validation : Split::test;
}

std::unique_ptr<Dataset> open_array_dataset(const DatasetConfig& config, Split split,
                                            const fs::path& data_directory) {
  if (config.path.empty()) {
    fail_usage("path: dataset \"npy\" needs the .npy or .npz file");
  }
  fs::path path = config.path;
  std::error_code ignored;
  if (!fs::exists(path, ignored)) {
    const fs::path below = data_directory.empty() ? fs::path{} : data_directory / path;
    if (path.is_absolute() || below.empty() || !fs::exists(below, ignored)) {
      fail("npy: expected a file {}{}, found none; dataset = \"digits\" needs no file", path.string(),
           path.is_absolute() || below.empty() ? "" : " or " + below.string());
    }
    path = below;
  }
  const ArrayFile file = read_array_file(path);
  return std::make_unique<ArrayDataset>(file, config.classes, order_of(config, false), split, path.string());
}

}  // namespace voxot
