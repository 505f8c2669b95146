#include "datasets/array_file.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "engine/atomic_file.h"
#include "kernels/sizes.h"

namespace voxot {
namespace {

constexpr const char* kSingle = "data";
/// Names of what is said of samples.
constexpr std::array kLabelNames{"labels", "y", "colours"};
/// Channels of a picture or a colour volume at most, where nothing else says what an axis is.
constexpr std::int64_t kMostColours = 4;

/// Where an element lies: "sample 3, place [0, 1, 2, 2]".
std::string place_of(const HostArray& array, std::int64_t element) {
  std::vector<std::int64_t> place(array.shape.size());
  for (std::size_t axis = place.size(); axis-- > 0;) {
    place[axis] = element % array.shape[axis];
    element /= array.shape[axis];
  }
  if (place.size() < 2) return fmt::format("sample {}", place.empty() ? 0 : place[0]);
  return fmt::format("sample {}, place [{}]", place[0], fmt::join(place.begin() + 1, place.end(), ", "));
}

/// An N×A×H×W array that may be volumes without an axis of channels.
void check_images(const HostArray& array, const std::string& name) {
  const std::vector<std::int64_t>& s = array.shape;
  if (s[1] == 1 || (s[1] <= kMostColours && s[1] < s[2] && s[1] < s[3])) return;
  const bool last = s[3] <= kMostColours && s[3] < s[1] && s[3] < s[2];
  fail(
      "{}: {} can be read as volumes without an axis of channels or as images of {} channels: save "
      "x[:, None] for volumes of {}×{}×{}{}, x[:, :, None] for images of {} channels",
      name, array.describe(), s[1], s[1], s[2], s[3],
      last ? fmt::format(", numpy.moveaxis(x, -1, 1) for images whose {} channels are last", s[3]) : "",
      s[1]);
}

/// An N×A×B×H×W array whose last axis alone looks like channels.
void check_volumes(const HostArray& array, const std::string& name) {
  const std::vector<std::int64_t>& s = array.shape;
  const bool last = s[4] <= kMostColours && std::all_of(s.begin() + 1, s.begin() + 4,
                                                        [](std::int64_t e) { return e > kMostColours; });
  VOXOT_CHECK(
      !last,
      "{}: {} can be read as volumes of {} channels, or of {} channels that are last, where N×C×D×H×W "
      "is expected: save numpy.moveaxis(x, -1, 1) for {} channels, or x.swapaxes(2, 4) for {} of "
      "{}×{}×{}",
      name, array.describe(), s[1], s[4], s[4], s[1], s[4], s[3], s[2]);
}

/// [n, rows, columns] → [n, columns, rows] of elements of any size.
std::vector<std::byte> transposed(const std::vector<std::byte>& from, std::size_t n, std::size_t rows,
                                  std::size_t columns, std::size_t size) {
  std::vector<std::byte> to(from.size());
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t r = 0; r < rows; ++r) {
      for (std::size_t c = 0; c < columns; ++c) {
        std::copy_n(from.begin() + static_cast<std::ptrdiff_t>(((i * rows + r) * columns + c) * size), size,
                    to.begin() + static_cast<std::ptrdiff_t>(((i * columns + c) * rows + r) * size));
      }
    }
  }
  return to;
}

/// The array with the channels that its name leaves out or has last.
HostArray with_channels(HostArray array, const std::string& name) {
  const auto named = [&name](const char* content) {
    return name == fmt::format("train_{}", content) || name == fmt::format("val_{}", content) ||
           name == fmt::format("test_{}", content);
  };
  std::vector<std::int64_t>& s = array.shape;
  if ((named("volumes") && s.size() == 4) || (named("images") && s.size() == 3)) s.insert(s.begin() + 1, 1);
  if (!named("images") || s.size() != 4 || s[1] <= kMostColours) return array;
  if (s[3] != 1 && s[3] != 3 && s[3] != 4) return array;
  array.bytes =
      transposed(array.bytes, to_size(s[0]), to_size(s[1] * s[2]), to_size(s[3]), size_of(array.type));
  std::rotate(s.begin() + 1, s.begin() + 3, s.end());
  return array;
}

}  // namespace

ArrayFile::ArrayFile(const std::filesystem::path& path, const std::string& what)
    : file_(path), path_(printable(path.string())) {
  const std::string extension = path.extension().string();
  if (extension != ".npz" && extension != ".npy")
    fail_usage("{}: expected a .npy or .npz file, got \"{}\"", what, path_);
  if (extension == ".npz") {
    archive_.emplace(path);
  } else {
    regular_file_size(path);
  }
}

std::vector<std::string> ArrayFile::names() const {
  return archive_ ? archive_->names() : std::vector<std::string>{kSingle};
}

bool ArrayFile::has(const std::string& name) const {
  return archive_ ? archive_->has(name) : name == kSingle;
}

HostArray ArrayFile::read(const std::string& name) const {
  VOXOT_CHECK(has(name), "{}: has no array {}; it holds {}", path_, printable(name, 80), contents());
  return archive_ ? with_channels(archive_->read(name), name) : read_npy(file_);
}

std::string ArrayFile::title(const std::string& name) const {
  return archive_ ? fmt::format("{}: {}", path_, printable(name, 80)) : path_;
}

std::string ArrayFile::contents() const {
  if (!archive_) return fmt::format("one array without a name, {}", read_npy(file_).describe());
  std::vector<std::string> all;
  for (const std::string& name : names()) {
    std::string what;
    try {
      what = archive_->read(name).describe();
    } catch (const Error& error) {
      const std::string begin = title(name + ".npy") + ": ";
      what = error.what();
      if (what.starts_with(begin)) what = what.substr(begin.size());
      what = fmt::format("({})", what);
    }
    all.push_back(fmt::format("{} {}", printable(name, 80), what));
  }
  for (const std::string& other : archive_->others()) all.push_back(fmt::format("{} (no .npy array)", other));
  return all.empty() ? "no array" : fmt::format("{}", fmt::join(all, ", "));
}

std::string ArrayFile::samples(const std::string& key, const std::string& option) const {
  if (!key.empty()) {
    VOXOT_CHECK(archive_.has_value(), "{}: {} {} names an array of a .npz file; a .npy file has one array",
                path_, option, key);
    VOXOT_CHECK(has(key), "{}: has no array {}; it holds {}", path_, printable(key, 80), contents());
    return key;
  }
  for (const char* name : {kSingle, "x"}) {
    if (has(name)) return name;
  }
  std::vector<std::string> left = names();
  std::erase_if(left, [](const std::string& name) {
    return std::find(kLabelNames.begin(), kLabelNames.end(), name) != kLabelNames.end();
  });
  if (left.size() > 1) {
    std::erase_if(left, [&](const std::string& name) {
      try {
        return read(name).shape.empty();
      } catch (const Error&) {
        return true;
      }
    });
  }
  VOXOT_CHECK(left.size() == 1,
              "{}: expected an array named data or x, or only one besides labels; {} says which. It holds {}",
              path_, option, contents());
  return left.front();
}

std::array<std::int64_t, 5> sample_axes(const HostArray& array, const std::string& name) {
  const std::vector<std::int64_t>& s = array.shape;
  const bool positive = std::all_of(s.begin(), s.end(), [](std::int64_t extent) { return extent > 0; });
  if (positive && s.size() == 5) {
    check_volumes(array, name);
    return {s[0], s[1], s[2], s[3], s[4]};
  }
  if (positive && s.size() == 4) {
    check_images(array, name);
    return {s[0], s[1], 1, s[2], s[3]};
  }
  if (positive && s.size() == 2) return {s[0], s[1], 1, 1, 1};
  fail("{}: expected N×C×D×H×W volumes, N×C×H×W images or N×C vectors with no empty axis, got {}{}", name,
       array.describe(), positive && s.size() == 3 ? "; save x[:, None] for images of one channel" : "");
}

template <class T>
std::vector<T> network_values(const HostArray& array, const std::string& name) {
  if (array.type != FileType::u8 && array.type != FileType::boolean && !is_float(array.type)) {
    fail(
        "{}: expected floats, u8 or booleans, got {}: what range {} has is not known; save it as floats, in "
        "[-1, 1] for a network",
        name, array.describe(), name_of(array.type));
  }
  const auto refuse_at = [&](auto values, const char* fits) {
    const auto bad = std::find_if(values.begin(), values.end(), [](auto v) { return !std::isfinite(v); });
    fail("{}: {} is {}; expected finite numbers{}", name, place_of(array, bad - values.begin()),
         array.to_doubles()[to_size(bad - values.begin())], fits);
  };
  std::vector<T> values;
  if constexpr (std::is_same_v<T, double>) {
    values = array.to_doubles();
  } else {
    values = array.to_floats();
  }
  if (is_float(array.type)) {
    if (std::any_of(values.begin(), values.end(), [](T v) { return !std::isfinite(v); }))
      refuse_at(values, array.type == FileType::f64 && std::is_same_v<T, float> ? " that fp32 holds" : "");
    return values;
  }
  const T half = array.type == FileType::u8 ? T{127.5} : T{0.5};
  std::transform(values.begin(), values.end(), values.begin(), [half](T v) { return v / half - T{1}; });
  return values;
}

template std::vector<float> network_values(const HostArray&, const std::string&);
template std::vector<double> network_values(const HostArray&, const std::string&);

std::string scale_text(const HostArray& array) {
  if (array.type == FileType::u8) return "0 to 255 read as -1 to 1";
  if (array.type == FileType::boolean) return "false and true read as -1 and 1";
  return "";
}

NetworkSamples network_samples(const HostArray& array, const std::string& name) {
  const auto [n, channels, depth, height, width] = sample_axes(array, name);
  const std::vector<float> from = network_values<float>(array, name);
  NetworkSamples samples{{n, depth, height, width, channels}, std::vector<float>(from.size())};
  transpose_samples(from.data(), samples.values.data(), n, channels, depth * height * width);
  return samples;
}

}  // namespace voxot
