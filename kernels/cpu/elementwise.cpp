#include "kernels/elementwise.h"

#include <algorithm>

#include "kernels/cpu/scalar.h"
#include "kernels/sizes.h"

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

void linear_combination_cpu(const Stream&, DType dtype, const LinearCombination& c) {
  with_type(dtype, [&]<class T>() {
    using F = Compute<T>;
    const auto fa = static_cast<F>(c.a);
    const auto fb = static_cast<F>(c.b);
    const T* px = static_cast<const T*>(c.x);
    const T* py = static_cast<const T*>(c.y);
    T* pz = static_cast<T*>(c.z);
    if (c.b == 0) {
      each(c.count, [=](std::int64_t i) { store(pz[i], fa * load(px[i])); });
    } else {
      each(c.count, [=](std::int64_t i) { store(pz[i], fa * load(px[i]) + fb * load(py[i])); });
    }
  });
}

void linear_combination_at_cpu(const Stream& stream, DType dtype, const LinearCombinationAt& c) {
  linear_combination_cpu(stream, dtype, {c.count, c.factors[0], c.x, c.factors[1], c.y, c.z});
}

void axpby_cpu(const Stream& stream, DType dtype, const Axpby& c) {
  linear_combination_cpu(stream, dtype, {c.count, c.a, c.x, c.b, c.y, c.y});
}

void multiply_cpu(const Stream&, DType dtype, const Multiply& m) {
  with_type(dtype, [&]<class T>() {
    const T* px = static_cast<const T*>(m.x);
    const T* py = static_cast<const T*>(m.y);
    T* pz = static_cast<T*>(m.z);
    with_write(m.write, [&]<Write W>() {
      each(m.count, [=](std::int64_t i) { put<W>(pz[i], load(px[i]) * load(py[i])); });
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

void broadcast_add_cpu(const Stream&, DType dtype, const BroadcastAdd& a) {
  with_type(dtype, [&]<class T>() {
    const std::int64_t rows = a.outer * a.rows;
#pragma omp parallel for schedule(static) if (rows * a.channels > kParallelGrain)
    for (std::int64_t r = 0; r < rows; ++r) {
      const T* const x = static_cast<const T*>(a.x) + r * a.channels;
      const T* const v = static_cast<const T*>(a.v) + r / a.rows * a.channels;
      T* const y = static_cast<T*>(a.y) + r * a.channels;
#pragma omp simd
      for (std::int64_t c = 0; c < a.channels; ++c) store(y[c], load(x[c]) + load(v[c]));
    }
  });
}

void cast_cpu(const Stream&, const Cast& c) {
  with_type(c.from, [&]<class From>() {
    with_type(c.to, [&]<class To>() {
      const From* px = static_cast<const From*>(c.x);
      To* py = static_cast<To*>(c.y);
      with_write(c.write, [&]<Write W>() {
        each(c.count, [=](std::int64_t i) { put<W>(py[i], static_cast<Compute<To>>(load(px[i]))); });
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
        store(out[4 * block + j], static_cast<Compute<T>>(values[to_size(j)]));
      }
    }
  });
}

void fill_normal_cpu(const Stream&, DType dtype, const FillNormal& f) {
  const auto m = static_cast<float>(f.mean);
  const auto d = static_cast<float>(f.deviation);
  fill_random(dtype, f.count, f.state, f.y, [m, d](const PhiloxCounter& w) {
    const auto p = normal_from(w[0], w[1]);
    const auto q = normal_from(w[2], w[3]);
    return std::array<float, 4>{m + d * p[0], m + d * p[1], m + d * q[0], m + d * q[1]};
  });
}

void fill_uniform_cpu(const Stream&, DType dtype, const FillUniform& f) {
  const auto l = static_cast<float>(f.low);
  const auto s = static_cast<float>(f.high - f.low);
  fill_random(dtype, f.count, f.state, f.y, [l, s](const PhiloxCounter& w) {
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
    {broadcast_add, Device::cpu, broadcast_add_cpu},
    {cast, Device::cpu, cast_cpu},
    {store_in_ring, Device::cpu, store_in_ring_cpu},
    {fill_normal, Device::cpu, fill_normal_cpu},
    {fill_uniform, Device::cpu, fill_uniform_cpu},
};

}  // namespace
}  // namespace voxot::kernels
