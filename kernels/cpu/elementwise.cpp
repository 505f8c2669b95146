#include "kernels/elementwise.h"

#include <algorithm>

#include "kernels/cpu/scalar.h"

namespace voxot::kernels {
namespace {

using namespace cpu;

void fill_cpu(const Stream&, DType dtype, std::int64_t count, double value, void* y) {
  with_type(dtype, [&]<class T>() {
    T v;
    store(v, static_cast<Compute<T>>(value));
    T* out = static_cast<T*>(y);
    each(count, [=](std::int64_t i) { out[i] = v; });
  });
}

void linear_combination_cpu(const Stream&, DType dtype, std::int64_t count, double a, const void* x, double b,
                            const void* y, void* z) {
  with_type(dtype, [&]<class T>() {
    using F = Compute<T>;
    const auto fa = static_cast<F>(a);
    const auto fb = static_cast<F>(b);
    const T* px = static_cast<const T*>(x);
    const T* py = static_cast<const T*>(y);
    T* pz = static_cast<T*>(z);
    if (b == 0) {
      each(count, [=](std::int64_t i) { store(pz[i], fa * load(px[i])); });
    } else {
      each(count, [=](std::int64_t i) { store(pz[i], fa * load(px[i]) + fb * load(py[i])); });
    }
  });
}

void linear_combination_at_cpu(const Stream& stream, DType dtype, std::int64_t count, const double* factors,
                               const void* x, const void* y, void* z) {
  linear_combination_cpu(stream, dtype, count, factors[0], x, factors[1], y, z);
}

void axpby_cpu(const Stream& stream, DType dtype, std::int64_t count, double a, const void* x, double b,
               void* y) {
  linear_combination_cpu(stream, dtype, count, a, x, b, y, y);
}

void multiply_cpu(const Stream&, DType dtype, std::int64_t count, const void* x, const void* y, void* z,
                  Write write) {
  with_type(dtype, [&]<class T>() {
    const T* px = static_cast<const T*>(x);
    const T* py = static_cast<const T*>(y);
    T* pz = static_cast<T*>(z);
    with_write(write, [&]<Write W>() {
      each(count, [=](std::int64_t i) { put<W>(pz[i], load(px[i]) * load(py[i])); });
    });
  });
}

void add_bias_cpu(const Stream&, DType dtype, std::int64_t rows, std::int64_t channels, const void* bias,
                  void* y) {
  with_type(dtype, [&]<class T>() {
    const auto* b = static_cast<const Compute<T>*>(bias);
    T* out = static_cast<T*>(y);
#pragma omp parallel for schedule(static) if (rows * channels > kParallelGrain)
    for (std::int64_t r = 0; r < rows; ++r) {
      for (std::int64_t c = 0; c < channels; ++c) put<Write::accumulate>(out[r * channels + c], b[c]);
    }
  });
}

void cast_cpu(const Stream&, DType from, DType to, std::int64_t count, const void* x, void* y, Write write) {
  with_type(from, [&]<class From>() {
    with_type(to, [&]<class To>() {
      const From* px = static_cast<const From*>(x);
      To* py = static_cast<To*>(y);
      with_write(write, [&]<Write W>() {
        each(count, [=](std::int64_t i) { put<W>(py[i], static_cast<Compute<To>>(load(px[i]))); });
      });
    });
  });
}

void store_in_ring_cpu(const Stream&, std::int64_t rows, std::int64_t width, const std::uint64_t* counter,
                       const double* x, double* ring) {
  const auto row = static_cast<std::int64_t>(*counter % static_cast<std::uint64_t>(rows));
  std::copy_n(x, width, ring + row * width);
}

template <class Transform>
void fill_random(DType dtype, std::int64_t count, RandomState state, void* y, Transform transform) {
  VOXOT_CHECK(count <= (std::int64_t{1} << 34), "fill_random: {} elements exceed one stream's 2^34", count);
  with_type(dtype, [&]<class T>() {
    T* out = static_cast<T*>(y);
#pragma omp parallel for schedule(static) if (count > kParallelGrain)
    for (std::int64_t block = 0; block < (count + 3) / 4; ++block) {
      const std::array<float, 4> values = transform(state.block(static_cast<std::uint32_t>(block)));
      for (std::int64_t j = 0; j < 4 && 4 * block + j < count; ++j) {
        store(out[4 * block + j], static_cast<Compute<T>>(values[static_cast<std::size_t>(j)]));
      }
    }
  });
}

void fill_normal_cpu(const Stream&, DType dtype, std::int64_t count, RandomState state, double mean,
                     double deviation, void* y) {
  const auto m = static_cast<float>(mean);
  const auto d = static_cast<float>(deviation);
  fill_random(dtype, count, state, y, [m, d](const PhiloxCounter& w) {
    const auto p = normal_from(w[0], w[1]);
    const auto q = normal_from(w[2], w[3]);
    return std::array<float, 4>{m + d * p[0], m + d * p[1], m + d * q[0], m + d * q[1]};
  });
}

void fill_uniform_cpu(const Stream&, DType dtype, std::int64_t count, RandomState state, double low,
                      double high, void* y) {
  const auto l = static_cast<float>(low);
  const auto s = static_cast<float>(high - low);
  fill_random(dtype, count, state, y, [l, s](const PhiloxCounter& w) {
    // One rounding, whatever the compiler makes of a product and a sum: devices agree in every bit.
    return std::array<float, 4>{std::fma(s, uniform_from(w[0]), l), std::fma(s, uniform_from(w[1]), l),
                                std::fma(s, uniform_from(w[2]), l), std::fma(s, uniform_from(w[3]), l)};
  });
}

const Implement registered[] = {
    {fill, Device::cpu, fill_cpu},
    {axpby, Device::cpu, axpby_cpu},
    {linear_combination, Device::cpu, linear_combination_cpu},
    {linear_combination_at, Device::cpu, linear_combination_at_cpu},
    {multiply, Device::cpu, multiply_cpu},
    {add_bias, Device::cpu, add_bias_cpu},
    {cast, Device::cpu, cast_cpu},
    {store_in_ring, Device::cpu, store_in_ring_cpu},
    {fill_normal, Device::cpu, fill_normal_cpu},
    {fill_uniform, Device::cpu, fill_uniform_cpu},
};

}  // namespace
}  // namespace voxot::kernels
