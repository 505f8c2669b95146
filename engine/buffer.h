#pragma once
// Numbers and records in a device's memory that are no tensor: indices, labels, what a kernel reports.
#include <memory>
#include <span>
#include <type_traits>
#include <vector>

#include "engine/tensor.h"
#include "kernels/sizes.h"

namespace voxot {

/// `count` of T, shared as a tensor's storage is.
template <class T>
class Buffer {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  Buffer() = default;
  /// Undefined contents.
  Buffer(std::int64_t count, Device device)
      : storage_(std::make_shared<Storage>(to_size(count) * sizeof(T), device)), count_(count) {}
  /// Waits for a device that is not the host.
  static Buffer from(std::span<const T> values, Device device) {
    Buffer b(std::ssize(values), device);
    if (values.empty()) return b;
    kernels::copy_bytes(b.stream(), b.data(), values.data(), values.size_bytes());
    kernels::synchronize(b.stream());
    return b;
  }

  [[nodiscard]] bool defined() const { return storage_ != nullptr; }
  [[nodiscard]] std::int64_t count() const { return count_; }
  [[nodiscard]] Device device() const { return storage_ ? storage_->device() : Device::cpu; }
  [[nodiscard]] Stream stream() const { return kernels::stream_of(device()); }
  [[nodiscard]] T* data() const {
    return storage_ ? reinterpret_cast<T*>(static_cast<std::byte*>(storage_->data()) + offset_) : nullptr;
  }
  /// `count` of U from `first` on, which lies in this buffer's memory: a member of its records, say. Shares
  /// the memory.
  template <class U>
  [[nodiscard]] Buffer<U> part(const U* first, std::int64_t count) const {
    Buffer<U> b;
    b.storage_ = storage_;
    b.offset_ =
        to_size(reinterpret_cast<const std::byte*>(first) - static_cast<const std::byte*>(storage_->data()));
    b.count_ = count;
    return b;
  }
  /// Waits for the device.
  [[nodiscard]] std::vector<T> to_host() const {
    std::vector<T> values(to_size(count_));
    if (count_ == 0) return values;
    kernels::copy_bytes(stream(), values.data(), data(), values.size() * sizeof(T));
    kernels::synchronize(stream());
    return values;
  }

 private:
  template <class U>
  friend class Buffer;

  std::shared_ptr<Storage> storage_;
  std::size_t offset_ = 0;  // bytes
  std::int64_t count_ = 0;
};

/// The rows of t (its first axis) that `rows` names, in that order; numbers below 0 or past the last row are
/// the caller's fault. Queued; the gradient is cut. Throws Error when the two lie on different devices.
Tensor gather_rows(const Tensor& t, const Buffer<std::int32_t>& rows);

}  // namespace voxot
