#include "engine/host_array.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

namespace voxot {
namespace {

float half_to_float(std::uint16_t half) {
  const std::uint32_t sign = static_cast<std::uint32_t>(half & 0x8000u) << 16;
  const int exponent = (half >> 10) & 0x1f;
  const std::uint32_t mantissa = half & 0x3ffu;
  if (exponent == 0x1f) return std::bit_cast<float>(sign | 0x7f800000u | mantissa << 13);
  if (exponent == 0) {
    const float magnitude = std::ldexp(static_cast<float>(mantissa), -24);
    return sign != 0 ? -magnitude : magnitude;
  }
  return std::bit_cast<float>(sign | static_cast<std::uint32_t>(exponent + 112) << 23 | mantissa << 13);
}

/// Every element by convert(element), whose argument is a float, a double or an integer.
template <class To, class Convert>
std::vector<To> converted(const HostArray& array, const Convert& convert) {
  array.check();
  const auto each = [&]<class T>(T, const auto& value_of) {
    std::vector<To> values(array.bytes.size() / sizeof(T));
    for (std::size_t i = 0; i < values.size(); ++i) {
      T element;
      std::memcpy(&element, array.bytes.data() + i * sizeof(T), sizeof(T));
      values[i] = convert(value_of(element));
    }
    return values;
  };
  const auto as_it_is = [](auto element) { return element; };
  switch (array.type) {
    case FileType::f16:
      return each(std::uint16_t{}, half_to_float);
    case FileType::bf16:
      return each(std::uint16_t{}, [](std::uint16_t element) {
        return std::bit_cast<float>(static_cast<std::uint32_t>(element) << 16);
      });
    case FileType::f32:
      return each(float{}, as_it_is);
    case FileType::f64:
      return each(double{}, as_it_is);
    case FileType::i8:
      return each(std::int8_t{}, as_it_is);
    case FileType::u8:
      return each(std::uint8_t{}, as_it_is);
    case FileType::i16:
      return each(std::int16_t{}, as_it_is);
    case FileType::u16:
      return each(std::uint16_t{}, as_it_is);
    case FileType::i32:
      return each(std::int32_t{}, as_it_is);
    case FileType::u32:
      return each(std::uint32_t{}, as_it_is);
    case FileType::i64:
      return each(std::int64_t{}, as_it_is);
    case FileType::u64:
      return each(std::uint64_t{}, as_it_is);
    case FileType::boolean:
      return each(std::uint8_t{}, [](std::uint8_t element) { return element != 0 ? 1 : 0; });
  }
  fail("host array: unknown element type {}", static_cast<int>(array.type));
}

template <class T>
HostArray from_values(FileType type, std::vector<std::int64_t> shape, const std::vector<T>& values) {
  HostArray array{type, std::move(shape), {}};
  VOXOT_CHECK(static_cast<std::uint64_t>(array.count()) == values.size(),
              "host array: {} holds {} values, got {}", array.describe(), array.count(), values.size());
  array.bytes.resize(values.size() * sizeof(T));
  if (!values.empty()) std::memcpy(array.bytes.data(), values.data(), array.bytes.size());
  return array;
}

}  // namespace

std::size_t size_of(FileType type) {
  switch (type) {
    case FileType::i8:
    case FileType::u8:
    case FileType::boolean:
      return 1;
    case FileType::f16:
    case FileType::bf16:
    case FileType::i16:
    case FileType::u16:
      return 2;
    case FileType::f32:
    case FileType::i32:
    case FileType::u32:
      return 4;
    case FileType::f64:
    case FileType::i64:
    case FileType::u64:
      return 8;
  }
  fail("host array: unknown element type {}", static_cast<int>(type));
}

const char* name_of(FileType type) {
  switch (type) {
    case FileType::f16:
      return "f16";
    case FileType::bf16:
      return "bf16";
    case FileType::f32:
      return "f32";
    case FileType::f64:
      return "f64";
    case FileType::i8:
      return "i8";
    case FileType::u8:
      return "u8";
    case FileType::i16:
      return "i16";
    case FileType::u16:
      return "u16";
    case FileType::i32:
      return "i32";
    case FileType::u32:
      return "u32";
    case FileType::i64:
      return "i64";
    case FileType::u64:
      return "u64";
    case FileType::boolean:
      return "bool";
  }
  return "unknown";
}

std::string describe_shape(std::span<const std::int64_t> shape) {
  constexpr std::size_t kMostShown = 12;
  std::string text = "[";
  for (std::size_t i = 0; i < shape.size() && i < kMostShown; ++i) {
    text += fmt::format("{}{}", i == 0 ? "" : ", ", shape[i]);
  }
  if (shape.size() > kMostShown) text += fmt::format(", ... ({} axes)", shape.size());
  return text + "]";
}

std::int64_t count_of(FileType type, std::span<const std::int64_t> shape) {
  // Zeros are left out of the bound, so that strides computed from the shape cannot overflow either.
  std::int64_t most = std::numeric_limits<std::int64_t>::max() / static_cast<std::int64_t>(size_of(type));
  std::int64_t count = 1;
  bool empty = false;
  for (const std::int64_t extent : shape) {
    VOXOT_CHECK(extent >= 0, "shape {} has a negative extent", describe_shape(shape));
    if (extent == 0) {
      empty = true;
      continue;
    }
    VOXOT_CHECK(extent <= most, "shape {} of {} overflows 64 bits", describe_shape(shape), name_of(type));
    most /= extent;
    count *= extent;
  }
  return empty ? 0 : count;
}

std::int64_t HostArray::count() const { return count_of(type, shape); }

void HostArray::check() const {
  const std::uint64_t expected = static_cast<std::uint64_t>(count()) * size_of(type);
  VOXOT_CHECK(bytes.size() == expected, "{} needs {} bytes, the array holds {}", describe(), expected,
              bytes.size());
}

std::string HostArray::describe() const { return fmt::format("{} {}", name_of(type), describe_shape(shape)); }

std::vector<float> HostArray::to_floats() const {
  return converted<float>(*this, [](auto element) { return static_cast<float>(element); });
}

std::vector<double> HostArray::to_doubles() const {
  return converted<double>(*this, [](auto element) { return static_cast<double>(element); });
}

std::vector<std::int64_t> HostArray::to_integers(std::string_view name) const {
  return converted<std::int64_t>(*this, [&]<class T>(T element) {
    bool whole = true;
    if constexpr (std::is_floating_point_v<T>) {
      // 2^63 itself is too large. NaN is within no bounds.
      whole = element >= T{-0x1p63} && element < T{0x1p63} && element == std::floor(element);
    } else if constexpr (std::is_same_v<T, std::uint64_t>) {
      whole = element <= static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
    }
    VOXOT_CHECK(whole, "{}: expected whole numbers of 64 bits, got {}", name, element);
    return static_cast<std::int64_t>(element);
  });
}

HostArray HostArray::from_floats(std::vector<std::int64_t> shape, const std::vector<float>& values) {
  return from_values(FileType::f32, std::move(shape), values);
}

HostArray HostArray::from_doubles(std::vector<std::int64_t> shape, const std::vector<double>& values) {
  return from_values(FileType::f64, std::move(shape), values);
}

HostArray HostArray::from_int64(std::vector<std::int64_t> shape, const std::vector<std::int64_t>& values) {
  return from_values(FileType::i64, std::move(shape), values);
}

void transpose_samples(const float* from, float* to, std::int64_t n, std::int64_t rows,
                       std::int64_t columns) {
  for (std::int64_t i = 0; i < n; ++i) {
    for (std::int64_t r = 0; r < rows; ++r) {
      for (std::int64_t c = 0; c < columns; ++c)
        to[(i * columns + c) * rows + r] = from[(i * rows + r) * columns + c];
    }
  }
}

}  // namespace voxot
