#pragma once
// What the ops of memory_ops.h begin with: the tensors of an op on one volume.
#include "benchmarks/memory_ops.h"
#include "kernels/activation.h"
#include "kernels/memory.h"

namespace voxot::bench {

inline constexpr Activation kRelu{ActivationKind::relu, 0};

inline DType parameter_type(DType dtype) { return dtype == DType::f64 ? DType::f64 : DType::f32; }

/// Normal values that bf16 holds, so that every type computes on the same ones and meets the same ties.
inline Tensor values(const Shape& shape, std::uint64_t draw, DType dtype, Device device) {
  return Tensor::normal(shape, {5, Purpose::test, draw}, 0, 1, DType::bf16, device).to(dtype);
}

/// An op's place, type and shapes.
struct Setting {
  Setting(const OpVolume& v, DType type, Device where)
      : volume(v), dtype(type), device(where), stream(kernels::stream_of(where)) {}

  [[nodiscard]] Shape shape(std::int64_t extent = 0) const {
    const std::int64_t e = extent == 0 ? volume.extent : extent;
    return {volume.batch, e, e, e, volume.channels};
  }
  [[nodiscard]] Tensor input(std::uint64_t draw, std::int64_t extent = 0) const {
    return values(shape(extent), draw, dtype, device);
  }
  [[nodiscard]] Tensor output(std::int64_t extent = 0) const {
    return Tensor::full(shape(extent), 0, dtype, device);
  }
  [[nodiscard]] Tensor parameter(std::uint64_t draw, std::int64_t count) const {
    return values({count}, draw, parameter_type(dtype), device);
  }
  [[nodiscard]] std::int64_t count() const { return shape().count(); }
  [[nodiscard]] std::int64_t rows() const { return count() / volume.channels; }

  OpVolume volume;
  DType dtype;
  Device device;
  Stream stream;
};

inline double size(const Tensor& t) {
  return static_cast<double>(t.count()) * static_cast<double>(size_of(t.dtype()));
}
template <class... Tensors>
double sizes(const Tensors&... tensors) {
  return (size(tensors) + ...);
}

}  // namespace voxot::bench
