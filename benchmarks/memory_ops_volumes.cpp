// Ops of volumes: normalisation, pooling, resampling, and the samples themselves.
#include "benchmarks/memory_ops_setting.h"
#include "kernels/gather.h"
#include "kernels/normalisation.h"
#include "kernels/pooling.h"
#include "kernels/resample.h"
#include "kernels/volumes.h"

namespace voxot::bench {
namespace {

/// Whose mean and variance are taken: each channel's; in each sample, each group's of four channels or each
/// channel's.
enum class Over : std::uint8_t { batch, group, instance };

/// A normalisation with inputs in place; its statistics are not those of x, which changes no time.
struct Normalised {
  Normalised(const Setting& s, Over over)
      : params(over == Over::batch
                   ? NormalisationParams{1, s.rows(), s.volume.channels, s.volume.channels, 1e-5, kRelu}
                   : NormalisationParams{s.volume.batch, s.rows() / s.volume.batch, s.volume.channels,
                                         s.volume.channels / (over == Over::group ? 4 : 1), 1e-5, kRelu}),
        x(s.input(0)),
        mean(Tensor::full({params.outer * params.groups}, 0.125, parameter_type(s.dtype), s.device)),
        variance(Tensor::full({params.outer * params.groups}, 1, parameter_type(s.dtype), s.device)),
        gamma(s.parameter(1, s.volume.channels)),
        beta(s.parameter(2, s.volume.channels)) {}
  NormalisationParams params;
  Tensor x, mean, variance, gamma, beta;
};

template <Over kOver>
MemoryOpRun normalisation_statistics(const OpVolume& v, DType t, Device d) {
  const Setting s(v, t, d);
  const Normalised n(s, kOver);
  return {[=] {
            kernels::normalisation_statistics(s.stream, t, n.params, n.x.data(), n.mean.data(),
                                              n.variance.data());
          },
          n.variance, sizes(n.x)};
}

template <Over kOver>
MemoryOpRun normalisation_forward(const OpVolume& v, DType t, Device d) {
  const Setting s(v, t, d);
  const Normalised n(s, kOver);
  const Tensor y = s.output();
  return {[=] {
            kernels::normalisation_forward(s.stream, t, n.params,
                                           {.x = n.x.data(),
                                            .mean = n.mean.data(),
                                            .variance = n.variance.data(),
                                            .gamma = n.gamma.data(),
                                            .beta = n.beta.data(),
                                            .y = y.data()});
          },
          y, sizes(n.x, y)};
}

template <Over kOver>
MemoryOpRun normalisation_backward(const OpVolume& v, DType t, Device d) {
  const Setting s(v, t, d);
  const Normalised n(s, kOver);
  const Tensor g = s.input(3);
  const Tensor gx = s.output();
  const Tensor grad_gamma = Tensor::full({v.channels}, 0, parameter_type(t), d);
  const Tensor grad_beta = Tensor::full({v.channels}, 0, parameter_type(t), d);
  return {[=] {
            kernels::NormalisationGradients gradients{n.x.data(),        g.data(),       n.mean.data(),
                                                      n.variance.data(), n.gamma.data(), n.beta.data()};
            gradients.grad_x = gx.data();
            gradients.grad_gamma = grad_gamma.data();
            gradients.grad_beta = grad_beta.data();
            kernels::normalisation_backward(s.stream, t, n.params, gradients);
          },
          gx, sizes(n.x, g, gx)};
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
            kernels::max_pool_backward(
                s.stream, t, max_pool(s),
                {.winner = winner.as<std::uint8_t>(), .grad_y = g.data(), .grad_x = gx.data()});
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

UpsampleParams upsample(const Setting& s, bool trilinear) {
  const std::int64_t e = s.volume.extent / 2;
  return {s.volume.batch, s.volume.channels, {e, e, e}, {2, 2, 2}, trilinear};
}

template <bool kTrilinear>
MemoryOpRun upsample_forward(const OpVolume& v, DType t, Device d) {
  const Setting s(v, t, d);
  const Tensor x = s.input(0, v.extent / 2);
  const Tensor y = s.output();
  return {[=] { kernels::upsample_forward(s.stream, t, upsample(s, kTrilinear), x.data(), y.data()); }, y,
          sizes(x, y)};
}

template <bool kTrilinear>
MemoryOpRun upsample_backward(const OpVolume& v, DType t, Device d) {
  const Setting s(v, t, d);
  const Tensor g = s.input(0);
  const Tensor gx = s.output(v.extent / 2);
  return {[=] {
            kernels::upsample_backward(s.stream, t, upsample(s, kTrilinear), g.data(), gx.data(),
                                       Write::overwrite);
          },
          gx, sizes(g, gx)};
}

/// Into the first half of rows twice as wide, as a skip connection is joined.
MemoryOpRun copy_channels(const OpVolume& v, DType t, Device d) {
  const Setting s(v, t, d);
  const Tensor x = s.input(0);
  const Tensor y = Tensor::full({s.rows(), 2 * v.channels}, 0, t, d);
  return {[=] {
            kernels::copy_channels(s.stream, t,
                                   {.rows = s.rows(),
                                    .width = v.channels,
                                    .from = {.rows = x.data(), .pitch = v.channels},
                                    .to = {.rows = y.data(), .pitch = 2 * v.channels}});
          },
          y, 2 * size(x)};
}

/// Which item each of `n` samples is of, and its colour and turn.
Tensor drawn_samples(const VolumeParams& p, std::int64_t items, std::int64_t n, Device d) {
  const Tensor samples =
      Tensor::empty({n * static_cast<std::int64_t>(sizeof(VolumeSample) / sizeof(double))}, DType::f64, d);
  kernels::draw_samples(kernels::stream_of(d), p, items, {{{5, Purpose::test, 1}, n}},
                        samples.as<VolumeSample>());
  return samples;
}

/// A batch out of four as many volumes.
MemoryOpRun gather_volumes(const OpVolume& v, DType t, Device d) {
  const Setting s(v, t, d);
  const std::int64_t items = 4 * v.batch;
  const std::int64_t width = s.count() / v.batch;
  const Tensor all = values({items, width}, 0, DType::f32, d);
  const Tensor samples = drawn_samples({}, items, v.batch, d);
  const Tensor y = Tensor::full({v.batch, width}, 0, DType::f32, d);
  return {[=] {
            kernels::gather_volumes(s.stream, width, all.as<float>(), v.batch, samples.as<VolumeSample>(),
                                    y.as<float>());
          },
          y, 2 * size(y)};
}

/// The rows of a batch in another order, as partners are taken from it.
MemoryOpRun gather_rows(const OpVolume& v, DType t, Device d) {
  const Setting s(v, t, d);
  const std::int64_t width = s.count() / v.batch;
  const Tensor x = s.input(0);
  const Tensor rows = Tensor::full({v.batch}, 0, DType::f32, Device::cpu);
  for (std::int64_t i = 0; i < v.batch; ++i)
    rows.as<std::int32_t>()[i] = static_cast<std::int32_t>(v.batch - 1 - i);
  const Tensor there = rows.to(d);
  const Tensor y = s.output();
  return {[=] {
            kernels::gather_rows(s.stream, t,
                                 {.width = width,
                                  .count = v.batch,
                                  .from = x.data(),
                                  .rows = there.as<std::int32_t>(),
                                  .out = y.data()});
          },
          y, sizes(x, y)};
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
  const Tensor samples = drawn_samples(p, kItems, n, d);
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
    {"batch_statistics", normalisation_statistics<Over::batch>},
    {"batch_norm_forward", normalisation_forward<Over::batch>},
    {"batch_norm_backward", normalisation_backward<Over::batch>},
    {"group_statistics", normalisation_statistics<Over::group>},
    {"group_norm_forward", normalisation_forward<Over::group>},
    {"group_norm_backward", normalisation_backward<Over::group>},
    {"instance_statistics", normalisation_statistics<Over::instance>},
    {"instance_norm_forward", normalisation_forward<Over::instance>},
    {"instance_norm_backward", normalisation_backward<Over::instance>},
    {"max_pool_forward", max_pool_forward},
    {"max_pool_backward", max_pool_backward},
    {"average_pool_forward", average_pool_forward},
    {"average_pool_backward", average_pool_backward},
    {"upsample_forward", upsample_forward<false>},
    {"upsample_backward", upsample_backward<false>},
    {"upsample_trilinear_forward", upsample_forward<true>},
    {"upsample_trilinear_backward", upsample_backward<true>},
    {"copy_channels", copy_channels},
    {"gather_rows", gather_rows},
    {"gather_volumes", gather_volumes, true},
    {"paint_volumes", paint_upright, true},
    {"paint_volumes_rotated", paint_rotated, true},
};

}  // namespace

std::span<const MemoryOp> volume_ops() { return kOps; }

}  // namespace voxot::bench
