#include "engine/finite.h"

#include <utility>

#include "engine/buffer.h"

namespace voxot {

void FiniteCheck::add(std::string name, const Tensor& values) {
  if (spans_.empty()) {
    dtype_ = values.dtype();
    device_ = values.device();
  }
  VOXOT_CHECK(values.dtype() == dtype_ && values.device() == device_,
              "finite check: {} is {} on {}, those before are {} on {}", name, name_of(values.dtype()),
              name_of(values.device()), name_of(dtype_), name_of(device_));
  names_.push_back(std::move(name));
  spans_.push_back({values.data(), values.count()});
  tensors_.push_back(values);
}

void FiniteCheck::add(std::string name, const HostArray& values) {
  VOXOT_CHECK(dtype_ == DType::f32 && device_ == Device::cpu,
              "finite check: {} is a file's array, those before are {} on {}", name, name_of(dtype_),
              name_of(device_));
  names_.push_back(std::move(name));
  if (values.type == FileType::f32) {
    spans_.push_back({values.bytes.data(), values.count()});
    return;
  }
  converted_.push_back(values.to_floats());
  spans_.push_back({converted_.back().data(), values.count()});
}

void FiniteCheck::run(const std::string& source) const {
  if (spans_.empty()) return;
  const auto count = std::ssize(spans_);
  for (std::size_t i = 0; i < spans_.size(); ++i) {
    VOXOT_CHECK(spans_[i].count <= 0x7FFFFFFF, "finite check: {} has {} values, at most 2³¹ − 1 are counted",
                names_[i], spans_[i].count);
  }
  const Buffer<std::int32_t> found(count, device_);
  kernels::count_nonfinite(found.stream(), dtype_, count, spans_.data(), found.data());
  const std::vector<std::int32_t> bad = found.to_host();
  for (std::size_t i = 0; i < bad.size(); ++i) {
    VOXOT_CHECK(bad[i] == 0, "{}: {}: {} of {} values are NaN or infinite", source, names_[i], bad[i],
                spans_[i].count);
  }
}

}  // namespace voxot
