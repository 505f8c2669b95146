// Normalisation, pooling and resampling on a CUDA device against the CPU, contract by contract: every storage
// type, both ways of writing, channel counts on and off the vector, addresses that are aligned and that are
// not.
#include "kernels/normalisation.h"

#include "kernels/pooling.h"
#include "kernels/resample.h"
#include "tests/op_case.h"

using namespace voxot;
using namespace voxot::test;

namespace {

constexpr DType kTypes[] = {DType::f32, DType::bf16, DType::f64};
// Half an ulp of the storage type, times a few for sums in another order.
double limit_of(DType dtype) { return dtype == DType::bf16 ? 4e-3 : dtype == DType::f32 ? 2e-6 : 1e-13; }
DType parameter_of(DType dtype) { return dtype == DType::f64 ? DType::f64 : DType::f32; }

struct Pair {
  Tensor cpu;
  Tensor cuda;
};

/// The same values on both devices, the device's between NaN; `shift` moves it off the alignment of a vector.
Pair both(const Shape& shape, DType dtype, std::uint64_t seed, std::int64_t shift = 0,
          Values kind = Values::normal) {
  const std::vector<double> v = test_values(shape.count(), kind, seed);
  const Tensor cpu = Tensor::from(shape, std::span<const double>(v), dtype);
  const Tensor all = Tensor::full({shape.count() + 2 * kGuard}, NAN, dtype);
  all.window(kGuard + shift, shape).copy_from(cpu);
  return {cpu, all.to(Device::cuda).window(kGuard + shift, shape)};
}

void check_alike(const Pair& p, double limit, const char* what) {
  INFO(what);
  CHECK(distance(p.cuda, p.cpu) < limit);
}

void* data(const Tensor& t) { return t.defined() ? t.data() : nullptr; }

/// Calls run(stream, of) for each device; of(pair) is the pair's tensor there.
template <class Run>
void on_both(Run run) {
  run(Stream{Device::cpu, nullptr}, [](const Pair& p) { return p.cpu; });
  run(Tensor::empty({1}, DType::f32, Device::cuda).stream(), [](const Pair& p) { return p.cuda; });
}

struct Rows {
  std::int64_t outer, rows, channels, groups;
};

void check_normalisation(const Rows& n, DType dtype, std::int64_t shift, ActivationKind kind, bool affine,
                         Write write, bool fixed) {
  INFO(n.outer << "×" << n.rows << "×" << n.channels << ", " << n.groups << " groups, " << name_of(dtype)
               << ", shift " << shift << ", activation " << static_cast<int>(kind) << ", affine " << affine
               << ", accumulate " << (write == Write::accumulate) << ", fixed " << fixed);
  const NormalisationParams params{n.outer, n.rows, n.channels, n.groups, 1e-5, {kind, 0.2F}};
  const Shape shape{n.outer, n.rows, n.channels};
  const DType type = parameter_of(dtype);
  const Pair x = both(shape, dtype, 1, shift);
  const Pair gy = both(shape, dtype, 2, shift);
  const Pair y = both(shape, dtype, 3, shift);
  const Pair gx = both(shape, dtype, 4, shift);
  const Pair mean = both({n.outer, n.groups}, type, 5, shift);
  const Pair variance = both({n.outer, n.groups}, type, 6, shift, Values::positive);
  const Pair gamma = both({n.channels}, type, 7, shift, Values::away);
  const Pair beta = both({n.channels}, type, 8, shift);
  const Pair ggamma = both({n.channels}, type, 9, shift);
  const Pair gbeta = both({n.channels}, type, 10, shift);
  on_both([&](const Stream& stream, auto of) {
    const Tensor none;
    if (!fixed) {
      kernels::normalisation_statistics(stream, dtype, params, data(of(x)), data(of(mean)),
                                        data(of(variance)));
    }
    const Tensor a = affine ? of(gamma) : none;
    const Tensor b = affine ? of(beta) : none;
    kernels::normalisation_forward(stream, dtype, params,
                                   {.x = data(of(x)),
                                    .mean = data(of(mean)),
                                    .variance = data(of(variance)),
                                    .gamma = data(a),
                                    .beta = data(b),
                                    .y = data(of(y))});
    kernels::NormalisationGradients q{data(of(x)),
                                      data(of(gy)),
                                      data(of(mean)),
                                      data(of(variance)),
                                      data(a),
                                      data(b),
                                      fixed,
                                      data(of(gx)),
                                      write,
                                      affine ? data(of(ggamma)) : nullptr,
                                      affine ? data(of(gbeta)) : nullptr,
                                      write};
    kernels::normalisation_backward(stream, dtype, params, q);
    if (write == Write::overwrite && affine) {  // once more in place, and without what is not needed
      q.grad_x = data(of(gy));
      q.grad_gamma = nullptr;
      q.grad_beta = nullptr;
      kernels::normalisation_backward(stream, dtype, params, q);
      check_alike({of(gx), of(gy)}, 1e-30, "in place");
    }
  });
  const double limit = limit_of(dtype);
  const double exact = type == DType::f64 ? 1e-12 : 3e-6;
  check_alike(mean, exact, "mean");
  check_alike(variance, exact, "variance");
  check_alike(y, limit, "y");
  check_alike(gx, dtype == DType::f32 ? 1e-5 : limit, "grad_x");
  // Sums of hundreds of terms of either sign.
  check_alike(ggamma, 50 * exact, "grad_gamma");
  check_alike(gbeta, 50 * exact, "grad_beta");
}

}  // namespace

TEST_CASE("device layers: normalisation", "[device_layers][device]") {
  if (no_device()) return;
  const Rows norms[] = {
      {1, 70, 3, 3},   {1, 300, 1, 1},   {1, 65, 8, 8}, {1, 33, 31, 31}, {3, 17, 33, 33}, {2, 40, 48, 8},
      {3, 9, 12, 1},   {1, 2, 520, 520}, {2, 5, 64, 4}, {64, 1, 12, 3},  {1, 2700, 3, 3},  // several chunks
      {2, 600, 32, 2},
  };
  for (const Rows& n : norms) {
    for (const DType dtype : kTypes) {
      check_normalisation(n, dtype, 0, ActivationKind::none, true, Write::overwrite, false);
      check_normalisation(n, dtype, 0, ActivationKind::leaky_relu, true, Write::accumulate, false);
      if (n.rows > 100) continue;
      check_normalisation(n, dtype, 1, ActivationKind::relu, true, Write::overwrite, true);
      check_normalisation(n, dtype, 1, ActivationKind::none, false, Write::accumulate, false);
      check_normalisation(n, dtype, 0, ActivationKind::leaky_relu, false, Write::overwrite, true);
    }
  }
}

TEST_CASE("device layers: the variance of a mean a thousand times as large", "[device_layers][device]") {
  if (no_device()) return;
  for (const std::int64_t channels : {3, 8}) {
    const std::int64_t rows = 3000;
    std::vector<double> values = test_values(rows * channels, Values::normal, 9);
    for (double& v : values) v = 1024 + std::round(v * 64) / 64;  // exact in fp32
    const Tensor exact = Tensor::from({rows, channels}, std::span<const double>(values), DType::f64);
    const Tensor x = exact.to(DType::f32).to(Device::cuda);
    const NormalisationParams params{1, rows, channels, channels};
    const auto variance_of = [&](const Tensor& of) {
      const DType type = of.dtype();
      const Tensor mean = Tensor::empty({channels}, type, of.device());
      const Tensor variance = Tensor::empty({channels}, type, of.device());
      kernels::normalisation_statistics(of.stream(), type, params, of.data(), mean.data(), variance.data());
      return variance;
    };
    CHECK(distance(variance_of(x), variance_of(exact)) < 1e-4);
  }
}

TEST_CASE("device layers: pooling", "[device_layers][device]") {
  if (no_device()) return;
  const PoolParams shapes[] = {
      {2, 3, {4, 2, 6}, {2, 2, 2}, {2, 2, 2}, {0, 0, 0}, true},
      {1, 8, {5, 3, 7}, {2, 2, 2}, {2, 2, 2}, {0, 0, 0}, true},
      {2, 16, {5, 6, 3}, {3, 3, 3}, {2, 2, 2}, {1, 1, 1}, false},
      {1, 1, {3, 4, 5}, {3, 3, 3}, {1, 1, 1}, {1, 1, 1}, false},
      {1, 33, {3, 5, 7}, {1, 2, 3}, {1, 2, 1}, {0, 1, 0}, true},
      {1, 31, {7, 7, 4}, {2, 1, 2}, {3, 2, 2}, {0, 0, 0}, false},
      {1, 520, {2, 2, 2}, {2, 2, 1}, {2, 2, 1}, {0, 0, 0}, true},
  };
  for (const PoolParams& p : shapes) {
    p.validate();
    const auto out = p.out_extent();
    const Shape in_shape{p.batch, p.in_extent[0], p.in_extent[1], p.in_extent[2], p.channels};
    const Shape out_shape{p.batch, out[0], out[1], out[2], p.channels};
    for (const DType dtype : kTypes) {
      for (const Write write : {Write::overwrite, Write::accumulate}) {
        const std::int64_t shift = write == Write::accumulate ? 1 : 0;
        INFO(in_shape.text() << " to " << out_shape.text() << ", " << name_of(dtype) << ", shift " << shift);
        // Multiples of 1/32: ties are frequent.
        const Pair x = both(in_shape, dtype, 1, shift);
        const Pair gy = both(out_shape, dtype, 2, shift);
        const Pair maximum = both(out_shape, dtype, 3, shift);
        const Pair average = both(out_shape, dtype, 4, shift);
        const Pair of_maximum = both(in_shape, dtype, 5, shift);
        const Pair of_average = both(in_shape, dtype, 6, shift);
        const Pair winner = both({out_shape.count() + 16}, DType::f32, 7);  // bytes
        on_both([&](const Stream& stream, auto of) {
          auto* bytes = static_cast<std::uint8_t*>(data(of(winner))) + shift;
          kernels::max_pool_forward(stream, dtype, p, data(of(x)), data(of(maximum)), nullptr);
          kernels::max_pool_forward(stream, dtype, p, data(of(x)), data(of(maximum)), bytes);
          kernels::max_pool_backward(
              stream, dtype, p,
              {.winner = bytes, .grad_y = data(of(gy)), .grad_x = data(of(of_maximum)), .write = write});
          kernels::average_pool_forward(stream, dtype, p, data(of(x)), data(of(average)));
          kernels::average_pool_backward(stream, dtype, p, data(of(gy)), data(of(of_average)), write);
        });
        const Tensor back = winner.cuda.to(Device::cpu);
        const auto* a = static_cast<const std::uint8_t*>(data(winner.cpu)) + shift;
        CHECK(std::equal(a, a + out_shape.count(), static_cast<const std::uint8_t*>(data(back)) + shift));
        check_alike(maximum, 1e-30, "maximum");
        // The CPU rounds bf16 gradients after each window, the device once.
        check_alike(of_maximum, limit_of(dtype), "gradient of maximum");
        check_alike(average, limit_of(dtype), "average");
        check_alike(of_average, limit_of(dtype), "gradient of average");
      }
    }
  }
}

TEST_CASE("device layers: resampling", "[device_layers][device]") {
  if (no_device()) return;
  const UpsampleParams shapes[] = {
      {2, 3, {2, 3, 1}, {2, 2, 2}},
      {1, 1, {1, 1, 1}, {2, 2, 2}},
      {1, 8, {3, 2, 4}, {1, 2, 3}},
      {2, 16, {2, 3, 4}, {3, 1, 2}, false, 40, 24},
      {1, 31, {2, 2, 2}, {2, 4, 1}, false, 33, 1},
      {1, 8, {2, 1, 3}, {2, 2, 2}, false, 11, 3},
      {1, 260, {2, 1, 2}, {2, 1, 2}},
  };
  for (UpsampleParams p : shapes) {
    const Shape in_shape{p.batch, p.in_extent[0], p.in_extent[1], p.in_extent[2], p.channels};
    const Shape out_shape{p.batch, p.in_extent[0] * p.factor[0], p.in_extent[1] * p.factor[1],
                          p.in_extent[2] * p.factor[2], p.row()};
    const std::int64_t rows = out_shape.count() / p.row();
    for (const DType dtype : kTypes) {
      for (const Write write : {Write::overwrite, Write::accumulate}) {
        for (const bool trilinear : {false, true}) {
          p.trilinear = trilinear;
          const std::int64_t shift = write == Write::accumulate ? 1 : 0;
          INFO(in_shape.text() << " to " << out_shape.text() << ", " << name_of(dtype) << ", shift " << shift
                               << ", trilinear " << trilinear);
          const Pair x = both(in_shape, dtype, 1, shift);
          const Pair gy = both(out_shape, dtype, 2, shift);
          const Pair y = both(out_shape, dtype, 3, shift);  // channels outside the offset stay
          const Pair gx = both(in_shape, dtype, 4, shift);
          const Pair copy = both({rows, p.channels + 2}, dtype, 5, shift);
          on_both([&](const Stream& stream, auto of) {
            kernels::upsample_forward(stream, dtype, p, data(of(x)), data(of(y)));
            kernels::upsample_backward(stream, dtype, p, data(of(gy)), data(of(gx)), write);
            kernels::copy_channels(stream, dtype,
                                   {.rows = rows,
                                    .width = p.channels,
                                    .from = {.rows = data(of(gy)), .pitch = p.row(), .offset = p.offset},
                                    .to = {.rows = data(of(copy)), .pitch = p.channels + 2, .offset = 2},
                                    .write = write});
          });
          // The CPU sums the eight corners in the storage type.
          check_alike(y, trilinear ? 2 * limit_of(dtype) : 1e-30, "y");
          check_alike(gx, limit_of(dtype), "grad_x");
          check_alike(copy, 1e-30, "copy");
        }
      }
    }
  }
}
