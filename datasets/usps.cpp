#include "datasets/usps.h"

#include <zlib.h>

#include <algorithm>
#include <charconv>
#include <string>
#include <string_view>

#include "engine/atomic_file.h"
#include "kernels/check.h"
#include "kernels/sizes.h"

namespace voxot {
namespace {

namespace fs = std::filesystem;

constexpr int kSide = 16;
constexpr std::int64_t kPixels = std::int64_t{kSide} * kSide;
constexpr std::int64_t kTrainImages = 7291;
constexpr std::int64_t kValidationImages = 729;
constexpr std::int64_t kTestImages = 2007;
/// Unpacked; the training file has 17 MB.
constexpr std::size_t kMostBytes = std::size_t{1} << 26;

fs::path find_file(const fs::path& folder, const std::string& name) {
  std::error_code ignored;
  for (const std::string& candidate : {name, name + ".gz"}) {
    if (fs::is_regular_file(folder / candidate, ignored)) return folder / candidate;
  }
  return {};
}

/// The text of a file, raw or gzip.
std::string unpacked(const fs::path& path, const std::string& name) {
  const std::unique_ptr<gzFile_s, int (*)(gzFile)> file(gzopen(path.c_str(), "rb"), &gzclose);
  VOXOT_CHECK(file != nullptr, "{}: cannot open the file", name);
  std::string text;
  constexpr unsigned kBlock = 1U << 20;
  int got = 1;
  while (got > 0) {
    const std::size_t before = text.size();
    VOXOT_CHECK(before <= kMostBytes, "{}: expected at most {} bytes of text, got more", name, kMostBytes);
    text.resize(before + kBlock);
    got = gzread(file.get(), text.data() + before, kBlock);
    text.resize(before + to_size(std::max(got, 0)));
  }
  int code = Z_OK;
  const char* reason = gzerror(file.get(), &code);
  VOXOT_CHECK(got == 0 && code == Z_OK, "{}: damaged or truncated gzip data: {}", name, printable(reason));
  return text;
}

/// The next number of a line, which it leaves.
float take_number(std::string_view& line, const std::string& name, std::int64_t row) {
  line.remove_prefix(std::min(line.find_first_not_of(" \t\r"), line.size()));
  float value = 0;
  const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), value);
  const bool whole = end == line.data() + line.size() || *end == ' ' || *end == '\t' || *end == '\r';
  VOXOT_CHECK(error == std::errc{} && whole, "{}: line {}: expected a digit and {} greys, got \"{}\"", name,
              row + 1, kPixels, printable(line.substr(0, line.find(' ')), 32));
  line.remove_prefix(to_size(end - line.data()));
  return value;
}

class UspsSource final : public ImageSource {
 public:
  UspsSource(Split split, const std::vector<int>& classes, const fs::path& folder) {
    const bool test = split == Split::test;
    const fs::path path = find_file(folder, test ? "zip.test" : "zip.train");
    const UspsImages images = read_usps_images(path, test ? kTestImages : kTrainImages);
    const std::int64_t first = split == Split::validation ? kTrainImages - kValidationImages : 0;
    slots_.assign(to_size(usps_split_size(split)), -1);
    for (std::int64_t index = 0; index < usps_split_size(split); ++index) {
      const int digit = images.digits[first + index];
      if (!classes.empty() && std::find(classes.begin(), classes.end(), digit) == classes.end()) continue;
      slots_[index] = std::ssize(items_);
      items_.push_back({index, digit});
      const auto from = images.pixels.begin() + (first + index) * kPixels;
      pixels_.insert(pixels_.end(), from, from + kPixels);
    }
    VOXOT_CHECK(!items_.empty(), "{}: no image of the wanted classes", printable(path.string()));
  }

  [[nodiscard]] int side() const override { return kSide; }
  [[nodiscard]] std::int64_t size() const override { return std::ssize(items_); }
  [[nodiscard]] std::span<const Item> items() const override { return items_; }
  void render(std::int64_t index, float* image) const override {
    const bool known = index >= 0 && index < std::ssize(slots_) && slots_[index] >= 0;
    VOXOT_CHECK(known, "usps: image {} is not in this split and these classes", index);
    std::copy_n(pixels_.data() + slots_[index] * kPixels, kPixels, image);
  }

 private:
  std::vector<Item> items_;
  std::vector<std::int64_t> slots_;  // by index in the split: position in items_, or -1
  std::vector<float> pixels_;        // of items_, one after the other
};

}  // namespace

UspsImages read_usps_images(const fs::path& path, std::int64_t count) {
  const std::string name = printable(path.string());
  const std::string text = unpacked(path, name);
  std::string_view rest = text;
  UspsImages images;
  for (std::int64_t row = 0; row < count; ++row) {
    VOXOT_CHECK(!rest.empty(), "{}: truncated: expected {} lines, got {}", name, count, row);
    std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(line.size() + 1, rest.size()));
    const float digit = take_number(line, name, row);
    VOXOT_CHECK(digit >= 0 && digit <= 9 && digit == static_cast<float>(static_cast<int>(digit)),
                "{}: line {}: expected a digit, got {}", name, row + 1, digit);
    images.digits.push_back(static_cast<int>(digit));
    for (std::int64_t p = 0; p < kPixels; ++p) {
      const float grey = take_number(line, name, row);
      VOXOT_CHECK(grey >= -1 && grey <= 1, "{}: line {}: grey {} is {}, expected -1 to 1", name, row + 1, p,
                  grey);
      images.pixels.push_back(0.5F * (grey + 1.0F));
    }
    VOXOT_CHECK(line.find_first_not_of(" \t\r") == std::string_view::npos, "{}: line {}: more than {} greys",
                name, row + 1, kPixels);
  }
  VOXOT_CHECK(rest.empty(), "{}: expected {} lines, got more", name, count);
  return images;
}

std::int64_t usps_split_size(Split split) {
  switch (split) {
    case Split::train:
      return kTrainImages - kValidationImages;
    case Split::validation:
      return kValidationImages;
    case Split::test:
      return kTestImages;
  }
  fail("usps: unknown split {}", static_cast<int>(split));
}

fs::path find_usps(const fs::path& data_directory) {
  if (data_directory.empty()) return {};
  for (const fs::path& folder : {data_directory / "usps", data_directory}) {
    if (!find_file(folder, "zip.train").empty() && !find_file(folder, "zip.test").empty()) return folder;
  }
  return {};
}

std::unique_ptr<ImageSource> open_usps(Split split, const std::vector<int>& classes,
                                       const fs::path& data_directory) {
  const fs::path folder = find_usps(data_directory);
  VOXOT_CHECK(!folder.empty(), "usps: expected zip.train and zip.test, raw or .gz, in {} or {}",
              (data_directory / "usps").string(),
              data_directory.empty() ? "a data directory" : data_directory.string());
  return std::make_unique<UspsSource>(split, classes, folder);
}

}  // namespace voxot
