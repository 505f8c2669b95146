#include "datasets/mnist.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <string>

#include <fmt/ranges.h>

#include "datasets/idx.h"
#include "kernels/check.h"

namespace voxot {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kTrainImages = 60000;
constexpr std::int64_t kTestImages = 10000;
constexpr std::int64_t kValidationImages = 5000;
constexpr std::int64_t kPixels = std::int64_t{kImageSize} * kImageSize;

/// `folder`/`name`, raw or with ".gz"; empty where there is neither.
fs::path find_file(const fs::path& folder, const std::string& name) {
  std::error_code ignored;
  for (const std::string& candidate : {name, name + ".gz"}) {
    if (fs::is_regular_file(folder / candidate, ignored)) {
      return folder / candidate;
    }
  }
  return {};
}

IdxArray read_shaped(const fs::path& folder, const std::string& name,
                     const std::vector<std::int64_t>& shape) {
  const fs::path path = find_file(folder, name);
  IdxArray array = read_idx(path);
  VOXOT_CHECK(array.shape == shape, "{}: expected MNIST's shape [{}], got [{}]", path.string(),
              fmt::join(shape, ", "), fmt::join(array.shape, ", "));
  return array;
}

class MnistSource final : public ImageSource {
 public:
  MnistSource(Split split, const std::vector<int>& classes, const fs::path& folder) {
    const bool test = split == Split::test;
    const std::string prefix = test ? "t10k" : "train";
    const std::int64_t total = test ? kTestImages : kTrainImages;
    const IdxArray labels = read_shaped(folder, prefix + "-labels-idx1-ubyte", {total});
    const IdxArray images =
        read_shaped(folder, prefix + "-images-idx3-ubyte", {total, kImageSize, kImageSize});
    const std::int64_t first = split == Split::validation ? kTrainImages - kValidationImages : 0;
    slots_.assign(mnist_split_size(split), -1);
    for (std::int64_t index = 0; index < mnist_split_size(split); ++index) {
      const int digit = labels.data[first + index];
      VOXOT_CHECK(digit <= 9, "{}: label {} is {}, expected a digit", (folder / prefix).string(),
                  first + index, digit);
      if (classes.empty() || std::find(classes.begin(), classes.end(), digit) != classes.end()) {
        slots_[index] = std::ssize(items_);
        items_.push_back({index, digit});
        const auto* pixels = images.data.data() + (first + index) * kPixels;
        pixels_.insert(pixels_.end(), pixels, pixels + kPixels);
      }
    }
    VOXOT_CHECK(!items_.empty(), "{}: no image of the wanted classes", (folder / prefix).string());
  }

  [[nodiscard]] std::int64_t size() const override { return std::ssize(items_); }
  [[nodiscard]] std::span<const Item> items() const override { return items_; }
  void render(std::int64_t index, float* image) const override {
    const bool known = index >= 0 && index < std::ssize(slots_) && slots_[index] >= 0;
    VOXOT_CHECK(known, "mnist: image {} is not in this split and these classes", index);
    const std::uint8_t* pixels = pixels_.data() + slots_[index] * kPixels;
    for (std::int64_t i = 0; i < kPixels; ++i) {
      image[i] = static_cast<float>(pixels[i]) * (1.0F / 255.0F);
    }
  }

 private:
  std::vector<Item> items_;
  std::vector<std::int64_t> slots_;   // by index in the split: position in items_, or -1
  std::vector<std::uint8_t> pixels_;  // of items_, one after the other
};

}  // namespace

std::int64_t mnist_split_size(Split split) {
  switch (split) {
    case Split::train:
      return kTrainImages - kValidationImages;
    case Split::validation:
      return kValidationImages;
    case Split::test:
      return kTestImages;
  }
  fail("mnist: unknown split {}", static_cast<int>(split));
}

fs::path find_mnist(const fs::path& data_directory) {
  if (data_directory.empty()) {
    return {};
  }
  const std::array names{"train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte",
                         "t10k-labels-idx1-ubyte"};
  for (const fs::path& folder : {data_directory / "mnist", data_directory}) {
    if (std::all_of(names.begin(), names.end(),
                    [&](const char* name) { return !find_file(folder, name).empty(); })) {
      return folder;
    }
  }
  return {};
}

std::unique_ptr<ImageSource> open_mnist(Split split, const std::vector<int>& classes,
                                        const fs::path& data_directory) {
  const fs::path folder = find_mnist(data_directory);
  if (folder.empty()) {
    const std::string where =
        data_directory.empty() ? "no data directory was found (--data, $VOXOT_DATA, ./data, ../shared/data)"
                               : fmt::format("looked in {} and {}", (data_directory / "mnist").string(),
                                             data_directory.string());
    fail(
        "mnist: expected {{train,t10k}}-images-idx3-ubyte and {{train,t10k}}-labels-idx1-ubyte, raw or .gz, "
        "but {}; `voxot data fetch mnist` downloads them, and dataset = \"digits\" needs no download",
        where);
  }
  return std::make_unique<MnistSource>(split, classes, folder);
}

}  // namespace voxot
