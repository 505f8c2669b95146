#pragma once
// Tensors between guards, which nobody can forget to look at.
#include <catch2/catch.hpp>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "engine/tensor.h"
#include "kernels/sizes.h"

namespace voxot::test {

inline constexpr std::int64_t kGuard = 64;  // elements, a multiple of a cache line
inline constexpr double kSentinel = -768;   // exact in bf16, and no value of a test is near

/// A tensor with `guard` before and behind it: NaN round what is read, so that a stray read shows in the
/// result, and kSentinel round what is written. Its end checks that the guards are whole. Without values it
/// holds the guard throughout. `offset` moves it so many elements off the alignment of a vector.
class Guarded : public Tensor {
 public:
  Guarded(const Shape& shape, const std::vector<double>& values, DType dtype, double guard,
          Device device = Device::cpu, std::int64_t offset = 0)
      : Guarded(filled(shape, values, dtype, guard, offset), shape, device, offset) {}
  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;
  ~Guarded() { CHECK(damaged() == 0); }

 private:
  Guarded(const Tensor& all, const Shape& shape, Device device, std::int64_t offset)
      : Guarded(all.to(device), shape, offset) {
    const std::byte* const bytes = all.as<std::byte>();
    guard_.assign(bytes, bytes + size_of(all.dtype()));
  }
  Guarded(const Tensor& all, const Shape& shape, std::int64_t offset)
      : Tensor(all.window(kGuard + offset, shape)), all_(all) {}

  static Tensor filled(const Shape& shape, const std::vector<double>& values, DType dtype, double guard,
                       std::int64_t offset) {
    const Tensor all = Tensor::full({shape.count() + offset + 2 * kGuard}, guard, dtype);
    if (!values.empty())
      all.window(kGuard + offset, shape).copy_from(Tensor::from(shape, std::span<const double>(values)));
    return all;
  }

  /// Elements outside whose bits have changed.
  [[nodiscard]] std::int64_t damaged() const {
    const Tensor now = all_.to(Device::cpu);
    const std::int64_t first = all_.count() - kGuard - count();
    std::int64_t changed = 0;
    for (std::int64_t i = 0; i < now.count(); ++i) {
      const bool inside = i >= first && i < first + count();
      const std::byte* const at = now.as<std::byte>() + to_size(i) * guard_.size();
      changed += !inside && std::memcmp(at, guard_.data(), guard_.size()) != 0 ? 1 : 0;
    }
    return changed;
  }

  Tensor all_;
  std::vector<std::byte> guard_;
};

}  // namespace voxot::test
