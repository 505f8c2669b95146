#include "datasets/array_dataset.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <set>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "datasets/array_file.h"
#include "engine/progress.h"
#include "kernels/check.h"
#include "kernels/sizes.h"
#include "kernels/volume_sample.h"

namespace voxot {
namespace {

namespace fs = std::filesystem;

constexpr const char* kParts[] = {"train_", "val_", "test_"};       // by Split
constexpr const char* kContents[] = {"volumes", "images", "data"};  // X of an array named train_X

/// What one split reads of a file.
struct OwnArray {
  std::string title;
  NetworkSamples samples;
  std::vector<int> labels;   // empty where the file has none
  std::vector<bool> chosen;  // the items of the split
};

const char* part_of(Split split) { return kParts[static_cast<std::size_t>(split)]; }

/// X of a file whose arrays are named train_X, val_X, test_X; empty for any other file. Throws Error where
/// more than one X could be meant, and where there is no train_X.
std::string split_content(const ArrayFile& file, const std::string& key) {
  if (key.empty() ? file.has("data") || file.has("x") : file.has(key)) return "";
  std::vector<std::string> found;
  for (const std::string content : kContents) {
    if (!key.empty() && key != content) continue;
    const bool any = std::any_of(std::begin(kParts), std::end(kParts),
                                 [&](const char* part) { return file.has(part + content); });
    if (any) found.push_back(content);
  }
  if (found.empty()) return "";
  VOXOT_CHECK(found.size() == 1, "{}: holds splits of {}; key says which", file.title(),
              fmt::join(found, " and of "));
  VOXOT_CHECK(file.has(part_of(Split::train) + found.front()),
              "{}: expected train_{} beside the other splits; it holds {}", file.title(), found.front(),
              file.contents());
  return found.front();
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

/// Labels that are no whole numbers from 0 on matter only where classes are chosen by them.
std::vector<int> labels_in(const ArrayFile& file, const std::string& name, const DatasetConfig& config,
                           Split split) {
  try {
    const HostArray array = file.read(name);
    const bool column = array.shape.size() == 2 && array.shape[1] == 1;
    VOXOT_CHECK(array.shape.size() == 1 || column, "{}: expected labels of shape [N] or [N, 1], got {}",
                file.title(name), array.describe());
    return read_labels(array, file.title(name));
  } catch (const Error& error) {
    if (!config.classes.empty()) throw;
    if (split == Split::train) note(fmt::format("left out: {}", error.what()));  // once of three splits
    return {};
  }
}

OwnArray read_own_array(const fs::path& path, const DatasetConfig& config, Split split) {
  const ArrayFile file(path, "path");
  const std::string content = split_content(file, config.key);
  const auto own_part = [&](Split s) { return !content.empty() && file.has(part_of(s) + content); };
  // A split without an array of its own is held out of the training items, or of all where there are no
  // parts.
  const std::string part = content.empty() ? "" : part_of(own_part(split) ? split : Split::train);
  const std::string name = content.empty() ? file.samples(config.key, "key") : part + content;
  OwnArray own{file.title(name), network_samples(file.read(name), file.title(name)), {}, {}};
  for (const std::string labels : {"labels", "y"}) {
    if (name == part + labels || !file.has(part + labels)) continue;
    own.labels = labels_in(file, part + labels, config, split);
    break;
  }
  for (std::int64_t item = 0; item < own.samples.shape[0]; ++item) {
    const Split hashed = array_split_of(item);
    const bool whole = own_part(split) && split != Split::train;
    const bool stays = split == Split::train && own_part(hashed);  // that split has items of its own
    own.chosen.push_back(whole || stays || hashed == split);
  }
  return own;
}

class ArrayDataset final : public Dataset {
 public:
  ArrayDataset(const OwnArray& own, const std::vector<int>& classes, Order order, Split split)
      : order_(order) {
    const std::string& name = own.title;
    const auto [items, depth, height, width, channels] = own.samples.shape;
    shape_ = {depth, height, width, channels};
    const bool labelled = !own.labels.empty();
    VOXOT_CHECK(!labelled || std::ssize(own.labels) == items, "{}: {} labels for {} items", name,
                own.labels.size(), items);
    check_classes(own.labels, classes, name);
    const std::int64_t each = depth * height * width * channels;
    for (std::int64_t item = 0; item < items; ++item) {
      const int label = labelled ? own.labels[to_size(item)] : -1;
      const bool wanted =
          classes.empty() || std::find(classes.begin(), classes.end(), label) != classes.end();
      if (!wanted || !own.chosen[to_size(item)]) continue;
      labels_.push_back({label, -1, -1.0F, item});
      const auto from = own.samples.values.begin() + item * each;
      values_.insert(values_.end(), from, from + each);
    }
    const char* const split_name = split == Split::train  ? "train"
                                   : split == Split::test ? "test"
                                                          : "validation";
    VOXOT_CHECK(!labels_.empty(),
                "{}: the {} split is empty: none of its {} items{} falls into it (train takes 8 of 10, "
                "validation and test 1 each, where the file does not split them); more items are needed",
                name, split_name, items,
                classes.empty() ? "" : fmt::format(" of classes [{}]", fmt::join(classes, ", ")));
  }

  [[nodiscard]] std::array<std::int64_t, 4> sample_shape() const override { return shape_; }
  [[nodiscard]] std::int64_t size() const override { return std::ssize(labels_); }

  void draw_part(const BatchPart& part, float* out, SampleLabel* labels) override {
    const SampleDraw samples{part, order_};
    const std::int64_t stride = shape_[0] * shape_[1] * shape_[2] * shape_[3];
    for (std::int64_t i = 0; i < part.count; ++i) {
      Random random = samples.random(i);
      const std::int64_t slot = samples.item(i, size(), random);
      std::copy_n(values_.data() + slot * stride, stride, out + i * stride);
      if (labels != nullptr) {
        labels[i] = labels_[slot];
      }
    }
  }

  [[nodiscard]] std::optional<DeviceSamples> on_device(Device device) const override {
    if (static_cast<std::int64_t>(values_.size() * sizeof(float)) > kMostTableBytes) {
      return std::nullopt;
    }
    const Shape shape{size(), shape_[0], shape_[1], shape_[2], shape_[3]};
    std::vector<std::int32_t> digits;
    for (const SampleLabel& label : labels_) digits.push_back(label.digit);
    return DeviceSamples(Tensor::from(shape, std::span<const float>(values_), DType::f32, device), order_,
                         digits);
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
  const OwnArray own = read_own_array(path, config, split);
  return std::make_unique<ArrayDataset>(own, config.classes, order_of(config, false), split);
}

}  // namespace voxot
