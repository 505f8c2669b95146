#include "engine/tensor.h"

#include <utility>

#include "kernels/elementwise.h"
#include "kernels/sizes.h"

namespace voxot {

Shape::Shape(std::span<const std::int64_t> extents) : rank_(extents.size()) {
  VOXOT_CHECK(extents.size() <= kMaxRank, "shape: rank {} exceeds {}", extents.size(), kMaxRank);
  std::int64_t count = 1;
  for (std::size_t a = 0; a < rank_; ++a) {
    VOXOT_CHECK(extents[a] >= 0, "shape: extent {} of axis {} is negative", extents[a], a);
    VOXOT_CHECK(extents[a] == 0 || count <= (std::int64_t{1} << 62) / extents[a],
                "shape: more than 2^62 elements");
    extents_[a] = extents[a];
    count *= extents[a];
  }
}

std::int64_t Shape::count() const {
  std::int64_t count = 1;
  for (const std::int64_t e : extents()) count *= e;
  return count;
}

std::string Shape::text() const {
  std::string text;
  for (const std::int64_t e : extents()) text += (text.empty() ? "" : "×") + std::to_string(e);
  return text.empty() ? "scalar" : text;
}

Tensor Tensor::empty(const Shape& shape, DType dtype, Device device) {
  Tensor t;
  t.shape_ = shape;
  t.dtype_ = dtype;
  t.storage_ = std::make_shared<Storage>(to_size(shape.count()) * size_of(dtype), device);
  return t;
}

Tensor Tensor::outline(const Shape& shape) {
  Tensor t;
  t.shape_ = shape;
  return t;
}

Tensor Tensor::full(const Shape& shape, double value, DType dtype, Device device) {
  Tensor t = empty(shape, dtype, device);
  t.fill(value);
  return t;
}

namespace {

template <class T>
Tensor from_values(const Shape& shape, std::span<const T> values, DType from, DType dtype, Device device) {
  VOXOT_CHECK(std::ssize(values) == shape.count(), "tensor: {} values for shape {}", values.size(),
              shape.text());
  Tensor t = Tensor::empty(shape, dtype);
  kernels::cast(t.stream(),
                {.count = t.count(), .from = from, .x = values.data(), .to = dtype, .y = t.data()});
  return t.to(device);
}

}  // namespace

Tensor Tensor::from(const Shape& shape, std::span<const float> values, DType dtype, Device device) {
  return from_values(shape, values, DType::f32, dtype, device);
}

Tensor Tensor::from(const Shape& shape, std::span<const double> values, DType dtype, Device device) {
  return from_values(shape, values, DType::f64, dtype, device);
}

Tensor Tensor::normal(const Shape& shape, const RandomState& state, double mean, double deviation,
                      DType dtype, Device device) {
  Tensor t = empty(shape, dtype, device);
  kernels::fill_normal(
      t.stream(), dtype,
      {.count = t.count(), .state = state, .mean = mean, .deviation = deviation, .y = t.data()});
  return t;
}

Tensor Tensor::reshaped(const Shape& shape) const {
  VOXOT_CHECK(shape.count() == count(), "reshape: {} to {} changes the number of elements", shape_.text(),
              shape.text());
  Tensor t = detached();
  t.shape_ = shape;
  return t;
}

Tensor Tensor::window(std::int64_t first, const Shape& shape) const {
  VOXOT_CHECK(first >= 0 && first + shape.count() <= count(), "window: {} elements from {} of {}",
              shape.count(), first, count());
  Tensor t = detached();
  t.shape_ = shape;
  t.offset_ += to_size(first) * size_of(dtype_);
  return t;
}

Tensor Tensor::clone() const {
  Tensor t = empty(shape_, dtype_, device());
  t.copy_from(*this);
  return t;
}

Tensor Tensor::to(DType dtype) const {
  Tensor t = empty(shape_, dtype, device());
  t.copy_from(*this);
  return t;
}

Tensor Tensor::to(Device device) const {
  if (device == this->device()) return *this;
  Tensor t = empty(shape_, dtype_, device);
  t.copy_from(*this);
  return t;
}

void Tensor::copy_from(const Tensor& other) const {
  VOXOT_CHECK(other.count() == count(), "copy: {} into {}", other.shape_.text(), shape_.text());
  if (other.device() == device()) {
    return kernels::cast(
        stream(), {.count = count(), .from = other.dtype_, .x = other.data(), .to = dtype_, .y = data()});
  }
  // Bytes travel; the conversion happens where they come from.
  const Tensor same = other.dtype_ == dtype_ ? other : other.to(dtype_);
  const Stream stream = kernels::stream_of(Device::cuda);
  kernels::copy_bytes(stream, data(), same.data(), to_size(count()) * size_of(dtype_));
  kernels::synchronize(stream);
}

void Tensor::fill(double value) const { kernels::fill(stream(), dtype_, count(), value, data()); }

std::vector<float> Tensor::to_floats() const {
  const Tensor here = to(Device::cpu);
  std::vector<float> values(to_size(count()));
  kernels::cast(here.stream(),
                {.count = count(), .from = dtype_, .x = here.data(), .to = DType::f32, .y = values.data()});
  return values;
}

double Tensor::item() const {
  VOXOT_CHECK(count() == 1, "item: the tensor has shape {}", shape_.text());
  const Tensor here = to(Device::cpu);
  double value = 0;
  kernels::cast(here.stream(), {.count = 1, .from = dtype_, .x = here.data(), .to = DType::f64, .y = &value});
  return value;
}

void Tensor::require_gradient() {
  gradient_ = std::make_shared<GradientSlot>();
  gradient_->shape = shape_;
  gradient_->dtype = dtype_;
  gradient_->device = device();
}

Tensor Tensor::detached() const {
  Tensor t = *this;
  t.gradient_ = nullptr;
  return t;
}

GradientSlot::Destination GradientSlot::destination() {
  if (!ready) {
    if (!persistent) value = Tensor::empty(shape, dtype, device);
    ready = true;
    return {value.data(), Write::overwrite};
  }
  if (!persistent && !value.exclusive()) value = value.clone();
  return {value.data(), Write::accumulate};
}

void GradientSlot::give(Tensor contribution) {
  if (!ready && !persistent && contribution.dtype() == dtype) {
    value = std::move(contribution);
    value = value.reshaped(shape);
    ready = true;
    return;
  }
  const auto [data, write] = destination();
  kernels::cast(contribution.stream(), {.count = contribution.count(),
                                        .from = contribution.dtype(),
                                        .x = contribution.data(),
                                        .to = dtype,
                                        .y = data,
                                        .write = write});
}

Tensor GradientSlot::take() {
  if (!ready) return {};
  ready = false;
  return persistent ? value : std::move(value);
}

}  // namespace voxot
