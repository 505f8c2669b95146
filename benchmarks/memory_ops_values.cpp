// Ops of values, of parameters and of sums: everything that does not know its volume's extent.
#include "benchmarks/memory_ops_setting.h"
#include "kernels/elementwise.h"
#include "kernels/optimizer.h"
#include "kernels/reduction.h"
#include "kernels/spectral_norm.h"

namespace voxot::bench {
namespace {

MemoryOpRun fill(const OpVolume& v, DType t, Device d) {
  const Setting s(v, t, d);
  const Tensor y = s.output();
  return {[=] { kernels::fill(s.stream, t, s.count(), 0.5, y.data()); }, y, sizes(y)};
}

MemoryOpRun axpby(const OpVolume& v, DType t, Device d) {
  const Setting s(v, t, d);
  const Tensor x = s.input(0);
  const Tensor y = s.output();
  return {[=] {
            kernels::axpby(s.stream, t, {.count = s.count(), .a = 2, .x = x.data(), .b = 0, .y = y.data()});
          },
          y, sizes(x, y)};
}

MemoryOpRun linear_combination(const OpVolume& v, DType t, Device d) {
  const Setting s(v, t, d);
  const Tensor x = s.input(0);
  const Tensor y = s.input(1);
  const Tensor z = s.output();
  return {[=] {
            kernels::linear_combination(
                s.stream, t,
                {.count = s.count(), .a = 1, .x = x.data(), .b = 0.5, .y = y.data(), .z = z.data()});
          },
          z, sizes(x, y, z)};
}

/// Averaged weights: z ← 0.999·z + 0.001·y by factors in memory, into a third tensor so that it can be run
/// again.
MemoryOpRun average_weights(const OpVolume& v, DType t, Device d) {
  const Setting s(v, t, d);
  const Tensor x = s.input(0);
  const Tensor y = s.input(1);
  const Tensor z = s.output();
  const Tensor factors = Tensor::full({2}, 0.999, DType::f64, Device::cpu);
  factors.as<double>()[1] = 0.001;
  const Tensor there = factors.to(d);
  return {
      [=] {
        kernels::linear_combination_at(
            s.stream, t,
            {.count = s.count(), .factors = there.as<double>(), .x = x.data(), .y = y.data(), .z = z.data()});
      },
      z, sizes(x, y, z)};
}

MemoryOpRun multiply(const OpVolume& v, DType t, Device d) {
  const Setting s(v, t, d);
  const Tensor x = s.input(0);
  const Tensor y = s.input(1);
  const Tensor z = s.output();
  return {[=] {
            kernels::multiply(s.stream, t, {.count = s.count(), .x = x.data(), .y = y.data(), .z = z.data()});
          },
          z, sizes(x, y, z)};
}

MemoryOpRun cast(const OpVolume& v, DType t, Device d) {
  const Setting s(v, t, d);
  const DType from = parameter_type(t);
  const Tensor x = values(s.shape(), 0, from, d);
  const Tensor y = s.output();
  return {[=] {
            kernels::cast(s.stream,
                          {.count = s.count(), .from = from, .x = x.data(), .to = t, .y = y.data()});
          },
          y, sizes(x, y)};
}

MemoryOpRun fill_normal(const OpVolume& v, DType t, Device d) {
  const Setting s(v, t, d);
  const Tensor y = s.output();
  return {
      [=] {
        kernels::fill_normal(
            s.stream, t,
            {.count = s.count(), .state = {5, Purpose::test, 9}, .mean = 0, .deviation = 1, .y = y.data()});
      },
      y, sizes(y)};
}

MemoryOpRun fill_uniform(const OpVolume& v, DType t, Device d) {
  const Setting s(v, t, d);
  const Tensor y = s.output();
  return {[=] {
            kernels::fill_uniform(
                s.stream, t,
                {.count = s.count(), .state = {5, Purpose::test, 9}, .low = -1, .high = 1, .y = y.data()});
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
            kernels::activation_backward(s.stream, t,
                                         {.activation = kRelu,
                                          .count = s.count(),
                                          .saved = y.data(),
                                          .grad_y = g.data(),
                                          .grad_x = gx.data()});
          },
          gx, sizes(y, g, gx)};
}

MemoryOpRun silu_forward(const OpVolume& v, DType t, Device d) {
  const Setting s(v, t, d);
  const Tensor x = s.input(0);
  const Tensor y = s.output();
  return {
      [=] {
        kernels::activation_forward(s.stream, t, {ActivationKind::silu, 0}, s.count(), x.data(), y.data());
      },
      y, sizes(x, y)};
}

MemoryOpRun prelu_forward(const OpVolume& v, DType t, Device d) {
  const Setting s(v, t, d);
  const Tensor x = s.input(0);
  const Tensor slope = s.parameter(1, v.channels);
  const Tensor y = s.output();
  return {[=] {
            kernels::prelu_forward(s.stream, t,
                                   {.rows = s.rows(), .channels = v.channels, .slopes = v.channels}, x.data(),
                                   slope.data(), y.data());
          },
          y, sizes(x, y)};
}

MemoryOpRun prelu_backward(const OpVolume& v, DType t, Device d) {
  const Setting s(v, t, d);
  const Tensor x = s.input(0);
  const Tensor slope = s.parameter(1, v.channels);
  const Tensor g = s.input(2);
  const Tensor gx = s.output();
  const Tensor grad_slope = Tensor::full({v.channels}, 0, parameter_type(t), d);
  return {[=] {
            kernels::prelu_backward(s.stream, t,
                                    {.rows = s.rows(), .channels = v.channels, .slopes = v.channels},
                                    {.x = x.data(),
                                     .slope = slope.data(),
                                     .grad_y = g.data(),
                                     .grad_x = gx.data(),
                                     .grad_slope = grad_slope.data()});
          },
          gx, sizes(x, g, gx)};
}

/// y drifts as it is run again, which changes no time.
MemoryOpRun add_bias(const OpVolume& v, DType t, Device d) {
  const Setting s(v, t, d);
  const Tensor y = s.input(0);
  const Tensor bias = s.parameter(1, v.channels);
  return {[=] { kernels::add_bias(s.stream, t, s.rows(), v.channels, bias.data(), y.data()); }, y,
          2 * size(y)};
}

MemoryOpRun reduce_forward(const OpVolume& v, DType t, Device d) {
  const Setting s(v, t, d);
  const Tensor x = s.input(0);
  const Tensor y = Tensor::full({v.batch}, 0, t, d);
  const ReductionParams p{Reduction::variance, v.batch, s.count() / v.batch, 1};
  return {[=] { kernels::reduce_forward(s.stream, t, p, x.data(), y.data()); }, y, sizes(x)};
}

MemoryOpRun reduce_backward(const OpVolume& v, DType t, Device d) {
  const Setting s(v, t, d);
  const Tensor x = s.input(0);
  const Tensor g = values({v.batch}, 1, t, d);
  const Tensor gx = s.output();
  const ReductionParams p{Reduction::variance, v.batch, s.count() / v.batch, 1};
  return {[=] {
            kernels::reduce_backward(s.stream, t, p,
                                     {.x = x.data(), .grad_y = g.data(), .grad_x = gx.data()});
          },
          gx, sizes(x, gx)};
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
            kernels::mean_squared_error_backward(s.stream, t,
                                                 {.count = s.count(),
                                                  .a = a.data(),
                                                  .b = b.data(),
                                                  .grad_loss = grad.data(),
                                                  .gradient = ga.data()});
          },
          ga, sizes(a, b, ga)};
}

/// A class for each voxel, as many as channels.
Tensor labels(const Setting& s) {
  const Tensor all = Tensor::full({s.rows()}, 0, DType::f32, Device::cpu);
  for (std::int64_t i = 0; i < s.rows(); ++i)
    all.as<std::int32_t>()[i] = static_cast<std::int32_t>(i * 7 % s.volume.channels);
  return all.to(s.device);
}

MemoryOpRun cross_entropy_forward(const OpVolume& v, DType t, Device d) {
  const Setting s(v, t, d);
  const Tensor x = s.input(0);
  const Tensor classes = labels(s);
  const Tensor probabilities = s.output();
  const Tensor loss = Tensor::full({1}, 0, t, d);
  return {[=] {
            kernels::cross_entropy_forward(s.stream, t,
                                           {.rows = s.rows(),
                                            .classes = v.channels,
                                            .x = x.data(),
                                            .labels = classes.as<std::int32_t>(),
                                            .probabilities = probabilities.data(),
                                            .loss = loss.data()});
          },
          probabilities, sizes(x, classes, probabilities)};
}

MemoryOpRun cross_entropy_backward(const OpVolume& v, DType t, Device d) {
  const Setting s(v, t, d);
  const Tensor probabilities = s.input(0);
  const Tensor classes = labels(s);
  const Tensor grad = Tensor::full({1}, 1024, t, d);
  const Tensor gx = s.output();
  return {[=] {
            kernels::cross_entropy_backward(s.stream, t,
                                            {.rows = s.rows(),
                                             .classes = v.channels,
                                             .probabilities = probabilities.data(),
                                             .labels = classes.as<std::int32_t>(),
                                             .grad_loss = grad.data(),
                                             .grad_x = gx.data()});
          },
          gx, sizes(probabilities, classes, gx)};
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
            kernels::optimizer_step(s.stream, t, {},
                                    {.scalars = there.as<OptimizerScalars>(),
                                     .count = s.count(),
                                     .gradient = g.data(),
                                     .parameter = p.data(),
                                     .first = m.data(),
                                     .second = n.data()});
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

/// A matrix of 16 rows.
struct Matrix {
  explicit Matrix(const Setting& s)
      : params{16, s.count() / 16, 1e-12},
        w(s.input(0)),
        u(values({16}, 1, s.dtype, s.device)),
        v(values({params.columns}, 2, s.dtype, s.device)) {}
  SpectralNormParams params;
  Tensor w, u, v;
};

MemoryOpRun spectral_norm_iterate(const OpVolume& v, DType t, Device d) {
  const Setting s(v, t, d);
  const Matrix m(s);
  return {[=] { kernels::spectral_norm_iterate(s.stream, t, m.params, m.w.data(), m.u.data(), m.v.data()); },
          m.v, sizes(m.w, m.v)};
}

MemoryOpRun spectral_norm_forward(const OpVolume& v, DType t, Device d) {
  const Setting s(v, t, d);
  const Matrix m(s);
  const Tensor sigma = Tensor::full({1}, 0, t, d);
  const Tensor y = s.output();
  return {
      [=] {
        kernels::spectral_norm_forward(
            s.stream, t, m.params,
            {.weight = m.w.data(), .u = m.u.data(), .v = m.v.data(), .sigma = sigma.data(), .y = y.data()});
      },
      y, sizes(m.w, m.v, y)};
}

MemoryOpRun spectral_norm_backward(const OpVolume& v, DType t, Device d) {
  const Setting s(v, t, d);
  const Matrix m(s);
  const Tensor sigma = Tensor::full({1}, 2, t, d);
  const Tensor g = s.input(3);
  const Tensor gw = s.output();
  return {[=] {
            kernels::spectral_norm_backward(s.stream, t, m.params,
                                            {.y = m.w.data(),
                                             .u = m.u.data(),
                                             .v = m.v.data(),
                                             .sigma = sigma.data(),
                                             .grad_y = g.data(),
                                             .grad_weight = gw.data()});
          },
          gw, sizes(m.w, m.v, g, gw)};
}

const MemoryOp kOps[] = {
    {"fill", fill},
    {"axpby", axpby},
    {"linear_combination", linear_combination},
    {"average_weights", average_weights, true},
    {"multiply", multiply},
    {"cast", cast},
    {"fill_normal", fill_normal},
    {"fill_uniform", fill_uniform},
    {"relu_forward", relu_forward},
    {"relu_backward", relu_backward},
    {"silu_forward", silu_forward},
    {"prelu_forward", prelu_forward},
    {"prelu_backward", prelu_backward},
    {"add_bias", add_bias},
    {"reduce_forward", reduce_forward},
    {"reduce_backward", reduce_backward},
    {"sum_of_channels", sum_of_channels},
    {"mean_squared_error_forward", mean_squared_error_forward},
    {"mean_squared_error_backward", mean_squared_error_backward},
    {"cross_entropy_forward", cross_entropy_forward},
    {"cross_entropy_backward", cross_entropy_backward},
    {"optimizer_step", optimizer_step, true},
    {"clip_factor", clip_factor, true},
    {"spectral_norm_iterate", spectral_norm_iterate, true},
    {"spectral_norm_forward", spectral_norm_forward, true},
    {"spectral_norm_backward", spectral_norm_backward, true},
};

}  // namespace

std::span<const MemoryOp> value_ops() { return kOps; }

}  // namespace voxot::bench
