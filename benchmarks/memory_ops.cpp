#include "benchmarks/memory_ops.h"

#include "kernels/activation.h"
#include "kernels/elementwise.h"
#include "kernels/normalisation.h"
#include "kernels/optimizer.h"
#include "kernels/pooling.h"
#include "kernels/reduction.h"
#include "kernels/resample.h"
#include "kernels/volumes.h"

namespace voxot::bench {
namespace {

constexpr Activation kRelu{ActivationKind::relu, 0};

DType parameter_type(DType dtype) { return dtype == DType::f64 ? DType::f64 : DType::f32; }

/// Normal values that bf16 holds, so that every type computes on the same ones and meets the same ties.
Tensor values(const Shape& shape, std::uint64_t draw, DType dtype, Device device) {
  return Tensor::normal(shape, {5, Purpose::test, draw}, 0, 1, DType::bf16, device).to(dtype);
}

/// The tensors of an op on one volume.
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

double size(const Tensor& t) {
  return static_cast<double>(t.count()) * static_cast<double>(size_of(t.dtype()));
}
template <class... Tensors>
double sizes(const Tensors&... tensors) {
  return (size(tensors) + ...);
}

MemoryOpRun fill(const OpVolume& v, DType t, Device d) {
  const Setting s(v, t, d);
  const Tensor y = s.output();
  return {[=] { kernels::fill(s.stream, t, s.count(), 0.5, y.data()); }, y, sizes(y)};
}

MemoryOpRun axpby(const OpVolume& v, DType t, Device d) {
  const Setting s(v, t, d);
  const Tensor x = s.input(0);
  const Tensor y = s.output();
  return {[=] { kernels::axpby(s.stream, t, s.count(), 2, x.data(), 0, y.data()); }, y, sizes(x, y)};
}

MemoryOpRun linear_combination(const OpVolume& v, DType t, Device d) {
  const Setting s(v, t, d);
  const Tensor x = s.input(0);
  const Tensor y = s.input(1);
  const Tensor z = s.output();
  return {[=] { kernels::linear_combination(s.stream, t, s.count(), 1, x.data(), 0.5, y.data(), z.data()); },
          z, sizes(x, y, z)};
}

MemoryOpRun multiply(const OpVolume& v, DType t, Device d) {
  const Setting s(v, t, d);
  const Tensor x = s.input(0);
  const Tensor y = s.input(1);
  const Tensor z = s.output();
  return {[=] { kernels::multiply(s.stream, t, s.count(), x.data(), y.data(), z.data(), Write::overwrite); },
          z, sizes(x, y, z)};
}

MemoryOpRun cast(const OpVolume& v, DType t, Device d) {
  const Setting s(v, t, d);
  const DType from = parameter_type(t);
  const Tensor x = values(s.shape(), 0, from, d);
  const Tensor y = s.output();
  return {[=] { kernels::cast(s.stream, from, t, s.count(), x.data(), y.data(), Write::overwrite); }, y,
          sizes(x, y)};
}

MemoryOpRun fill_normal(const OpVolume& v, DType t, Device d) {
  const Setting s(v, t, d);
  const Tensor y = s.output();
  return {[=] {
            kernels::fill_normal(s.stream, t, s.count(), {5, Purpose::test, 9}, 0, 1, y.data());
          },
          y, sizes(y)};
}

MemoryOpRun fill_uniform(const OpVolume& v, DType t, Device d) {
  const Setting s(v, t, d);
  const Tensor y = s.output();
  return {[=] {
            kernels::fill_uniform(s.stream, t, s.count(), {5, Purpose::test, 9}, -1, 1, y.data());
          },
          y, sizes(y)};
}

MemoryOpRun relu_forward(const OpVolume& v, DType t, Device d) {
  const Setting s(v, t, d);
  const Tensor x = s.input(0);
  const Tensor y = s.output();
  return {[=] { kernels::activation_forward(s.stream, t, kRelu, s.count(), x.data(), y.data()); }, y,
          sizes(x, y)};
}

MemoryOpRun relu_backward(const OpVolume& v, DType t, Device d) {
  const Setting s(v, t, d);
  const Tensor y = s.input(0);
  const Tensor g = s.input(1);
  const Tensor gx = s.output();
  return {[=] {
            kernels::activation_backward(s.stream, t, kRelu, s.count(), y.data(), g.data(), gx.data(),
                                         Write::overwrite);
          },
          gx, sizes(y, g, gx)};
}

NormalisationParams batch_norm(const Setting& s) {
  return {1, s.rows(), s.volume.channels, s.volume.channels, 1e-5, kRelu};
}

MemoryOpRun normalisation_statistics(const OpVolume& v, DType t, Device d) {
  const Setting s(v, t, d);
  const Tensor x = s.input(0);
  const Tensor mean = Tensor::full({v.channels}, 0, parameter_type(t), d);
  const Tensor variance = Tensor::full({v.channels}, 0, parameter_type(t), d);
  return {[=] {
            kernels::normalisation_statistics(s.stream, t, batch_norm(s), x.data(), mean.data(),
                                              variance.data());
          },
          variance, sizes(x)};
}

MemoryOpRun normalisation_forward(const OpVolume& v, DType t, Device d) {
  const Setting s(v, t, d);
  const Tensor x = s.input(0);
  const Tensor mean = Tensor::full({v.channels}, 0.125, parameter_type(t), d);
  const Tensor variance = Tensor::full({v.channels}, 1, parameter_type(t), d);
  const Tensor gamma = s.parameter(1, v.channels);
  const Tensor beta = s.parameter(2, v.channels);
  const Tensor y = s.output();
  return {[=] {
            kernels::normalisation_forward(s.stream, t, batch_norm(s), x.data(), mean.data(), variance.data(),
                                           gamma.data(), beta.data(), y.data());
          },
          y, sizes(x, y)};
}

MemoryOpRun normalisation_backward(const OpVolume& v, DType t, Device d) {
  const Setting s(v, t, d);
  const Tensor x = s.input(0);
  const Tensor g = s.input(1);
  const Tensor mean = Tensor::full({v.channels}, 0, parameter_type(t), d);
  const Tensor variance = Tensor::full({v.channels}, 1, parameter_type(t), d);
  const Tensor gamma = s.parameter(2, v.channels);
  const Tensor beta = s.parameter(3, v.channels);
  const Tensor gx = s.output();
  const Tensor grad_gamma = Tensor::full({v.channels}, 0, parameter_type(t), d);
  const Tensor grad_beta = Tensor::full({v.channels}, 0, parameter_type(t), d);
  return {[=] {
            kernels::NormalisationGradients n{x.data(),        g.data(),     mean.data(),
                                              variance.data(), gamma.data(), beta.data()};
            n.grad_x = gx.data();
            n.grad_gamma = grad_gamma.data();
            n.grad_beta = grad_beta.data();
            kernels::normalisation_backward(s.stream, t, batch_norm(s), n);
          },
          gx, sizes(x, g, gx)};
}

/// Statistics of each sample's groups of channels, or of each of its channels.
MemoryOpRun sample_statistics(const Setting& s, std::int64_t members) {
  const std::int64_t batch = s.volume.batch;
  const std::int64_t groups = s.volume.channels / members;
  const NormalisationParams p{batch, s.rows() / batch, s.volume.channels, groups, 1e-5, kRelu};
  const Tensor x = s.input(0);
  const Tensor mean = Tensor::full({batch * groups}, 0, parameter_type(s.dtype), s.device);
  const Tensor variance = Tensor::full({batch * groups}, 0, parameter_type(s.dtype), s.device);
  return {[=] {
            kernels::normalisation_statistics(s.stream, s.dtype, p, x.data(), mean.data(), variance.data());
          },
          variance, sizes(x)};
}
MemoryOpRun group_statistics(const OpVolume& v, DType t, Device d) { return sample_statistics({v, t, d}, 4); }
MemoryOpRun instance_statistics(const OpVolume& v, DType t, Device d) {
  return sample_statistics({v, t, d}, 1);
}

PoolParams max_pool(const Setting& s) {
  const std::int64_t e = s.volume.extent;
  return {s.volume.batch, s.volume.channels, {e, e, e}};
}
PoolParams average_pool(const Setting& s) {
  PoolParams p = max_pool(s);
  p.kernel = {3, 3, 3};
  p.padding = {1, 1, 1};
  return p;
}
/// One byte an output, in the elements of a tensor.
Tensor winners(const Setting& s) {
  return Tensor::full({(s.shape(s.volume.extent / 2).count() + 3) / 4}, 0, DType::f32, s.device);
}

MemoryOpRun max_pool_forward(const OpVolume& v, DType t, Device d) {
  const Setting s(v, t, d);
  const Tensor x = s.input(0);
  const Tensor y = s.output(v.extent / 2);
  const Tensor winner = winners(s);
  return {[=] {
            kernels::max_pool_forward(s.stream, t, max_pool(s), x.data(), y.data(),
                                      winner.as<std::uint8_t>());
          },
          y, sizes(x, y, winner)};
}

MemoryOpRun max_pool_backward(const OpVolume& v, DType t, Device d) {
  const Setting s(v, t, d);
  const Tensor x = s.input(0);
  const Tensor y = s.output(v.extent / 2);
  const Tensor winner = winners(s);
  kernels::max_pool_forward(s.stream, t, max_pool(s), x.data(), y.data(), winner.as<std::uint8_t>());
  const Tensor g = s.input(1, v.extent / 2);
  const Tensor gx = s.output();
  return {[=] {
            kernels::max_pool_backward(s.stream, t, max_pool(s), winner.as<std::uint8_t>(), g.data(),
                                       gx.data(), Write::overwrite);
          },
          gx, sizes(winner, g, gx)};
}

MemoryOpRun average_pool_forward(const OpVolume& v, DType t, Device d) {
  const Setting s(v, t, d);
  const Tensor x = s.input(0);
  const Tensor y = s.output(v.extent / 2);
  return {[=] { kernels::average_pool_forward(s.stream, t, average_pool(s), x.data(), y.data()); }, y,
          sizes(x, y)};
}

MemoryOpRun average_pool_backward(const OpVolume& v, DType t, Device d) {
  const Setting s(v, t, d);
  const Tensor g = s.input(0, v.extent / 2);
  const Tensor gx = s.output();
  return {[=] {
            kernels::average_pool_backward(s.stream, t, average_pool(s), g.data(), gx.data(),
                                           Write::overwrite);
          },
          gx, sizes(g, gx)};
}

UpsampleParams upsample(const Setting& s, bool trilinear = false) {
  const std::int64_t e = s.volume.extent / 2;
  return {s.volume.batch, s.volume.channels, {e, e, e}, {2, 2, 2}, trilinear};
}

MemoryOpRun upsample_forward(const OpVolume& v, DType t, Device d) {
  const Setting s(v, t, d);
  const Tensor x = s.input(0, v.extent / 2);
  const Tensor y = s.output();
  return {[=] { kernels::upsample_forward(s.stream, t, upsample(s), x.data(), y.data()); }, y, sizes(x, y)};
}

MemoryOpRun upsample_trilinear(const OpVolume& v, DType t, Device d) {
  const Setting s(v, t, d);
  const Tensor x = s.input(0, v.extent / 2);
  const Tensor y = s.output();
  return {[=] { kernels::upsample_forward(s.stream, t, upsample(s, true), x.data(), y.data()); }, y,
          sizes(x, y)};
}

MemoryOpRun upsample_backward(const OpVolume& v, DType t, Device d) {
  const Setting s(v, t, d);
  const Tensor g = s.input(0);
  const Tensor gx = s.output(v.extent / 2);
  return {
      [=] { kernels::upsample_backward(s.stream, t, upsample(s), g.data(), gx.data(), Write::overwrite); },
      gx, sizes(g, gx)};
}

/// Into the first half of rows twice as wide, as a skip connection is joined.
MemoryOpRun copy_channels(const OpVolume& v, DType t, Device d) {
  const Setting s(v, t, d);
  const Tensor x = s.input(0);
  const Tensor y = Tensor::full({s.rows(), 2 * v.channels}, 0, t, d);
  return {[=] {
            kernels::copy_channels(s.stream, t, s.rows(), v.channels, x.data(), v.channels, 0, y.data(),
                                   2 * v.channels, 0, Write::overwrite);
          },
          y, 2 * size(x)};
}

MemoryOpRun reduce_forward(const OpVolume& v, DType t, Device d) {
  const Setting s(v, t, d);
  const Tensor x = s.input(0);
  const Tensor y = Tensor::full({v.batch}, 0, t, d);
  const ReductionParams p{Reduction::variance, v.batch, s.count() / v.batch, 1};
  return {[=] { kernels::reduce_forward(s.stream, t, p, x.data(), y.data()); }, y, sizes(x)};
}

/// Over all voxels for each channel, as a convolution's bias has its gradient.
MemoryOpRun sum_of_channels(const OpVolume& v, DType t, Device d) {
  const Setting s(v, t, d);
  const Tensor x = s.input(0);
  const Tensor y = Tensor::full({v.channels}, 0, t, d);
  const ReductionParams p{Reduction::sum, 1, s.rows(), v.channels};
  return {[=] { kernels::reduce_forward(s.stream, t, p, x.data(), y.data()); }, y, sizes(x)};
}

MemoryOpRun mean_squared_error_forward(const OpVolume& v, DType t, Device d) {
  const Setting s(v, t, d);
  const Tensor a = s.input(0);
  const Tensor b = s.input(1);
  const Tensor loss = Tensor::full({1}, 0, t, d);
  return {
      [=] { kernels::mean_squared_error_forward(s.stream, t, s.count(), a.data(), b.data(), loss.data()); },
      loss, sizes(a, b)};
}

MemoryOpRun mean_squared_error_backward(const OpVolume& v, DType t, Device d) {
  const Setting s(v, t, d);
  const Tensor a = s.input(0);
  const Tensor b = s.input(1);
  const Tensor grad = Tensor::full({1}, 1024, t, d);
  const Tensor ga = s.output();
  return {[=] {
            kernels::mean_squared_error_backward(s.stream, t, s.count(), a.data(), b.data(), grad.data(), 1,
                                                 ga.data(), Write::overwrite);
          },
          ga, sizes(a, b, ga)};
}

/// Adam on as many parameters as the volume has elements.
MemoryOpRun optimizer_step(const OpVolume& v, DType t, Device d) {
  const Setting s(v, t, d);
  const Tensor g = s.input(0);
  const Tensor p = s.input(1);
  const Tensor m = s.output();
  const Tensor n = s.output();
  // {learning rate, clip, step}: the last an integer of the same size.
  const Tensor scalars = Tensor::full({3}, 0, DType::f64, Device::cpu);
  *scalars.as<OptimizerScalars>() = {1e-3, 1, 1};
  const Tensor there = scalars.to(d);
  return {[=] {
            kernels::optimizer_step(s.stream, t, {}, there.as<OptimizerScalars>(), s.count(), g.data(),
                                    p.data(), m.data(), n.data());
          },
          p, size(g) + 2 * sizes(p, m, n)};
}

MemoryOpRun clip_factor(const OpVolume& v, DType t, Device d) {
  const Setting s(v, t, d);
  const Tensor g = s.input(0);
  const Tensor scalars = Tensor::full({3}, 0, DType::f64, d);
  return {[=] { kernels::clip_factor(s.stream, t, s.count(), g.data(), 1, scalars.as<OptimizerScalars>()); },
          scalars, sizes(g)};
}

/// Samples of three channels, about as many values as the volume has, of a thousand images; fp32 whatever the
/// type.
MemoryOpRun paint(const OpVolume& v, Device d, Turn turn) {
  constexpr std::int64_t kItems = 1000;
  const Stream stream = kernels::stream_of(d);
  const std::int64_t n = std::max<std::int64_t>(1, v.batch * v.channels / 3);
  const int extent = static_cast<int>(v.extent);
  VolumeParams p;
  p.extent = {extent, extent, extent};
  p.extrude = {extent / 3, extent - extent / 3};
  p.turn = turn;
  p.degrees = 180;
  p.hues = Hues::uniform;
  const Tensor images = values({kItems, v.extent, v.extent}, 0, DType::f32, d);
  const Tensor samples =
      Tensor::empty({n * static_cast<std::int64_t>(sizeof(VolumeSample) / sizeof(double))}, DType::f64, d);
  kernels::draw_samples(stream, p, kItems, {{5, Purpose::test, 1}, n}, samples.as<VolumeSample>());
  const Tensor y = Tensor::full({n, v.extent, v.extent, v.extent, 3}, 0, DType::f32, d);
  return {[=] {
            kernels::paint_volumes(stream, p, images.as<float>(), n, samples.as<VolumeSample>(),
                                   y.as<float>());
          },
          y, sizes(y)};
}
MemoryOpRun paint_upright(const OpVolume& v, DType, Device d) { return paint(v, d, Turn::none); }
MemoryOpRun paint_rotated(const OpVolume& v, DType, Device d) { return paint(v, d, Turn::free); }

const MemoryOp kOps[] = {
    {"fill", fill},
    {"axpby", axpby},
    {"linear_combination", linear_combination},
    {"multiply", multiply},
    {"cast", cast},
    {"fill_normal", fill_normal},
    {"fill_uniform", fill_uniform},
    {"relu_forward", relu_forward},
    {"relu_backward", relu_backward},
    {"normalisation_statistics", normalisation_statistics},
    {"normalisation_forward", normalisation_forward},
    {"normalisation_backward", normalisation_backward},
    {"group_statistics", group_statistics},
    {"instance_statistics", instance_statistics},
    {"max_pool_forward", max_pool_forward},
    {"max_pool_backward", max_pool_backward},
    {"average_pool_forward", average_pool_forward},
    {"average_pool_backward", average_pool_backward},
    {"upsample_forward", upsample_forward},
    {"upsample_trilinear", upsample_trilinear},
    {"upsample_backward", upsample_backward},
    {"copy_channels", copy_channels},
    {"reduce_forward", reduce_forward},
    {"sum_of_channels", sum_of_channels},
    {"mean_squared_error_forward", mean_squared_error_forward},
    {"mean_squared_error_backward", mean_squared_error_backward},
    {"optimizer_step", optimizer_step, true},
    {"clip_factor", clip_factor, true},
    {"paint_volumes", paint_upright, true},
    {"paint_volumes_rotated", paint_rotated, true},
};

}  // namespace

std::span<const MemoryOp> memory_ops() { return kOps; }

}  // namespace voxot::bench
