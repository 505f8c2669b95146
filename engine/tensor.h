#pragma once
// Tensor: shared storage, an inline shape of rank ≤ 5, contiguous, channels last (N, D, H, W, C; vectors are
// N, C).
#include <array>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/allocator.h"
#include "kernels/device.h"
#include "kernels/memory.h"
#include "kernels/philox.h"

namespace voxot {

/// Extents of up to kMaxRank axes, row-major.
class Shape {
 public:
  static constexpr std::size_t kMaxRank = 5;

  Shape() = default;
  /// Throws Error for a rank over 5, a negative extent or an element count over 2^62.
  Shape(std::initializer_list<std::int64_t> extents) : Shape(std::span(extents.begin(), extents.size())) {}
  explicit Shape(std::span<const std::int64_t> extents);

  [[nodiscard]] std::size_t rank() const { return rank_; }
  /// The extent of an axis below rank(); back(): of the last.
  [[nodiscard]] std::int64_t operator[](std::size_t axis) const { return extents_[axis]; }
  [[nodiscard]] std::int64_t back() const { return extents_[rank_ - 1]; }
  [[nodiscard]] std::int64_t count() const;
  [[nodiscard]] std::span<const std::int64_t> extents() const { return {extents_.data(), rank_}; }
  /// "2×16×16×16×3"
  [[nodiscard]] std::string text() const;
  bool operator==(const Shape&) const = default;

 private:
  std::array<std::int64_t, kMaxRank> extents_{};
  std::size_t rank_ = 0;
};

struct GradientSlot;

/// Values of one type on one device, in memory that copies of the tensor share.
class Tensor {
 public:
  Tensor() = default;
  /// Memory with undefined contents.
  static Tensor empty(const Shape& shape, DType dtype = DType::f32, Device device = Device::cpu);
  /// A shape that has no memory yet: not defined().
  static Tensor outline(const Shape& shape);
  /// Every element `value`.
  static Tensor full(const Shape& shape, double value, DType dtype = DType::f32, Device device = Device::cpu);
  /// Throws Error when the number of values is not the shape's.
  static Tensor from(const Shape& shape, std::span<const float> values, DType dtype = DType::f32,
                     Device device = Device::cpu);
  static Tensor from(const Shape& shape, std::span<const double> values, DType dtype = DType::f64,
                     Device device = Device::cpu);
  /// N(mean, deviation²), the same on every device but for last bits.
  static Tensor normal(const Shape& shape, const RandomState& state, double mean, double deviation,
                       DType dtype = DType::f32, Device device = Device::cpu);

  [[nodiscard]] bool defined() const { return storage_ != nullptr; }
  [[nodiscard]] const Shape& shape() const { return shape_; }
  /// Of an axis below the rank.
  [[nodiscard]] std::int64_t extent(std::size_t axis) const { return shape_[axis]; }
  [[nodiscard]] std::int64_t count() const { return shape_.count(); }
  [[nodiscard]] DType dtype() const { return dtype_; }
  [[nodiscard]] Device device() const { return storage_ ? storage_->device() : Device::cpu; }
  [[nodiscard]] Stream stream() const { return kernels::stream_of(device()); }
  /// The first element.
  [[nodiscard]] void* data() const { return static_cast<std::byte*>(storage_->data()) + offset_; }
  template <class T>
  [[nodiscard]] T* as() const {
    return static_cast<T*>(data());
  }

  /// The same memory under another shape. Throws Error when the counts differ.
  [[nodiscard]] Tensor reshaped(const Shape& shape) const;
  /// `count` elements from element `first`, seen as `shape`.
  [[nodiscard]] Tensor window(std::int64_t first, const Shape& shape) const;
  /// A copy in memory of its own.
  [[nodiscard]] Tensor clone() const;
  [[nodiscard]] Tensor to(DType dtype) const;
  /// Itself when it is there already, else a copy.
  [[nodiscard]] Tensor to(Device device) const;
  /// The other's values, converted; from another device too.
  void copy_from(const Tensor& other) const;
  void fill(double value) const;
  [[nodiscard]] std::vector<float> to_floats() const;
  /// The value of a tensor with one element; waits for the device.
  [[nodiscard]] double item() const;
  /// No other tensor shares this memory.
  [[nodiscard]] bool exclusive() const { return storage_.use_count() == 1; }

  // Differentiation (engine/tape.h).
  [[nodiscard]] const std::shared_ptr<GradientSlot>& gradient() const { return gradient_; }
  /// Makes this tensor one whose gradient is wanted: a parameter, or an input under study.
  void require_gradient();
  /// The same values, cut from the tape.
  [[nodiscard]] Tensor detached() const;

 private:
  Shape shape_;
  DType dtype_ = DType::f32;
  std::size_t offset_ = 0;  // bytes
  std::shared_ptr<Storage> storage_;
  std::shared_ptr<GradientSlot> gradient_;
};

/// Where the gradient of one tensor gathers.
struct GradientSlot {
  Shape shape;
  DType dtype = DType::f32;
  Device device = Device::cpu;
  bool required = true;     // false while frozen
  bool ready = false;       // `value` holds a gradient
  bool persistent = false;  // `value` is memory of the owner's (a parameter's slice of the flat gradient)
  Tensor value;

  /// Memory for a gradient, and how it is written.
  struct Destination {
    void* data;
    Write write;
  };
  /// Where a kernel shall write its contribution, and how; marks the slot ready.
  Destination destination();
  /// Adds a finished contribution; takes over its memory when it can.
  void give(Tensor contribution);
  /// Moves the gradient out and leaves the slot empty. Undefined tensor when nothing came.
  Tensor take();
};

}  // namespace voxot
