#pragma once
// PyTorch's answers (tests/goldens/README.md): reading them, their axis order, and the distance to them.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "engine/parameters.h"
#include "engine/safetensors.h"
#include "kernels/sizes.h"

namespace voxot::test {

inline std::vector<double> doubles(const Tensor& t) {
  const Tensor wide = t.to(Device::cpu).to(DType::f64);
  return {wide.as<double>(), wide.as<double>() + wide.count()};
}

/// ‖got − expected‖₂/‖expected‖₂; the absolute distance where the expected is all zero, infinite where sizes
/// differ.
inline double distance(std::span<const double> got, std::span<const double> expected) {
  if (got.size() != expected.size()) return INFINITY;
  double error = 0;
  double size = 0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    error += (got[i] - expected[i]) * (got[i] - expected[i]);
    size += expected[i] * expected[i];
  }
  return std::sqrt(size > 0 ? error / size : error);
}
inline double distance(const Tensor& got, const Tensor& expected) {
  return got.shape() == expected.shape() ? distance(doubles(got), doubles(expected)) : INFINITY;
}
inline double norm(std::span<const double> values) {
  double sum = 0;
  for (const double v : values) sum += v * v;
  return std::sqrt(sum);
}

class Golden {
 public:
  explicit Golden(const std::string& name) : file_(read_safetensors(folder() / (name + ".safetensors"))) {}

  /// Where the goldens were at the build; $VOXOT_GOLDENS where the tests have moved since.
  static std::filesystem::path folder() {
    const char* moved = std::getenv("VOXOT_GOLDENS");
    return moved != nullptr ? moved : VOXOT_GOLDENS;
  }

  [[nodiscard]] bool has(const std::string& name) const { return file_.tensors.contains(name); }
  [[nodiscard]] const HostArray& array(const std::string& name) const {
    const auto found = file_.tensors.find(name);
    VOXOT_CHECK(found != file_.tensors.end(), "goldens: no {}", name);
    return found->second;
  }
  [[nodiscard]] std::vector<double> values(const std::string& name) const {
    const std::vector<float> v = array(name).to_floats();
    return {v.begin(), v.end()};
  }
  [[nodiscard]] double number(const std::string& name) const { return values(name).at(0); }
  [[nodiscard]] std::vector<std::int64_t> integers(const std::string& name) const {
    const HostArray& a = array(name);
    VOXOT_CHECK(a.type == FileType::i64, "goldens: {} is {}", name, a.describe());
    std::vector<std::int64_t> v(to_size(a.count()));
    std::memcpy(v.data(), a.bytes.data(), a.bytes.size());
    return v;
  }
  /// Three integers along D, H, W.
  [[nodiscard]] std::array<std::int64_t, 3> triple(const std::string& name) const {
    const auto v = integers(name);
    return {v.at(0), v.at(1), v.at(2)};
  }
  /// Axes as they are stored.
  [[nodiscard]] Tensor plain(const std::string& name, DType dtype) const {
    return Tensor::from(Shape(std::span(array(name).shape)), std::span<const double>(values(name)), dtype);
  }
  /// A volume or a convolution's weight, axis 1 moved to the end; other ranks as they are.
  [[nodiscard]] Tensor tensor(const std::string& name, DType dtype) const {
    const std::vector<std::int64_t>& s = array(name).shape;
    if (s.size() != 5) return plain(name, dtype);
    const std::vector<double> from = values(name);
    std::vector<double> to(from.size());
    const auto voxels = to_size(s[2] * s[3] * s[4]);
    const auto channels = to_size(s[1]);
    for (std::size_t i = 0; i < from.size(); ++i) {
      const std::size_t n = i / (channels * voxels);
      to[(n * voxels + i % voxels) * channels + i / voxels % channels] = from[i];
    }
    return Tensor::from({s[0], s[2], s[3], s[4], s[1]}, std::span<const double>(to), dtype);
  }
  /// Everything whose name begins with `prefix`, without it.
  [[nodiscard]] std::map<std::string, HostArray> below(const std::string& prefix) const {
    std::map<std::string, HostArray> found;
    for (const auto& [name, array] : file_.tensors) {
      if (name.starts_with(prefix)) found[name.substr(prefix.size())] = array;
    }
    return found;
  }

 private:
  SafetensorsFile file_;
};

inline std::vector<double> doubles(const HostArray& array) {
  const std::vector<float> v = array.to_floats();
  return {v.begin(), v.end()};
}

/// The gradients of a network by their state-dict names, in PyTorch's axis order. Overwrites the weights.
inline std::map<std::string, HostArray> named_gradients(Parameters& parameters) {
  parameters.values().copy_from(parameters.gradients());
  return state_dict(parameters.module());
}

/// The gradient that gathered in a leaf; undefined when none came.
inline Tensor gradient_of(const Tensor& leaf) {
  const auto& slot = leaf.gradient();
  return slot != nullptr && slot->ready ? slot->value : Tensor{};
}

}  // namespace voxot::test
