// kernels/elementwise.h by elementwise_map.cuh, and the random fills: a thread for each Philox block, four
// consecutive elements, up to 256 threads. A ring's row is stored a thread an element.
#include "kernels/elementwise.h"

#include "kernels/cuda/elementwise_map.cuh"

namespace voxot::kernels {
namespace {

using namespace cuda;

template <class F>
struct Constant {
  F value;
  VOXOT_DEVICE F operator()() const { return value; }
};

template <class F>
struct Scale {
  F a;
  VOXOT_DEVICE F operator()(F x) const { return a * x; }
};

template <class F>
struct Combine {
  F a;
  F b;
  VOXOT_DEVICE F operator()(F x, F y) const { return a * x + b * y; }
};

template <class F>
struct CombineAt {
  const double* factors;
  VOXOT_DEVICE F operator()(F x, F y) const {
    const F a = static_cast<F>(factors[0]);
    const F b = static_cast<F>(factors[1]);
    return b == 0 ? a * x : a * x + b * y;
  }
};

struct Product {
  template <class F>
  VOXOT_DEVICE F operator()(F x, F y) const {
    return x * y;
  }
};

/// Place of v: Reduced.
template <class T>
struct AddBroadcast {
  const T* v;
  VOXOT_DEVICE Compute<T> operator()(const Reduced::At& at, Compute<T> x) const {
    return x + load(v[at.result]);
  }
};

struct Same {
  template <class F>
  VOXOT_DEVICE F operator()(F x) const {
    return x;
  }
};

template <class F>
struct Bias {
  const F* bias;
  VOXOT_DEVICE F operator()(const Matrix::At& at) const { return bias[at.column]; }
};

/// Words to four values.
struct Normal {
  float mean;
  float deviation;
  VOXOT_DEVICE simt::Vector<float, 4> operator()(const PhiloxCounter& w) const {
    const std::array<float, 2> p = normal_from(w[0], w[1]);
    const std::array<float, 2> q = normal_from(w[2], w[3]);
    return {
        {mean + deviation * p[0], mean + deviation * p[1], mean + deviation * q[0], mean + deviation * q[1]}};
  }
};

struct Uniform {
  float low;
  float extent;
  VOXOT_DEVICE simt::Vector<float, 4> operator()(const PhiloxCounter& w) const {
    simt::Vector<float, 4> v;
    VOXOT_UNROLL
    for (int j = 0; j < 4; ++j) {
      v.values[j] = std::fma(extent, uniform_from(w[static_cast<std::size_t>(j)]), low);
    }
    return v;
  }
};

constexpr int kThreads = 256;

template <bool Vectors, class T, class Transform>
VOXOT_KERNEL void VOXOT_LAUNCH_BOUNDS(kThreads, 1)
    random_kernel(std::int64_t count, RandomState state, Transform transform, T* y) {
  const std::int64_t block = simt::global_thread();
  const std::int64_t first = 4 * block;
  if (first >= count) return;
  const simt::Vector<float, 4> values = transform(state.block(static_cast<std::uint32_t>(block)));
  if (Vectors && first + 4 <= count) {
    constexpr int kVector = sizeof(T) == 8 ? 2 : 4;
    VOXOT_UNROLL
    for (int j = 0; j < 4; j += kVector) {
      simt::Vector<T, kVector> v;
      VOXOT_UNROLL
      for (int k = 0; k < kVector; ++k) v.values[k] = stored<T>(values.values[j + k]);
      store_vector<kVector>(y + first + j, v);
    }
  } else {
    VOXOT_UNROLL
    for (int j = 0; j < 4; ++j) {
      if (first + j < count) y[first + j] = stored<T>(values.values[j]);
    }
  }
}

VOXOT_KERNEL void VOXOT_LAUNCH_BOUNDS(kThreads, 1)
    ring_kernel(std::int64_t rows, std::int64_t width, const std::uint64_t* counter, const double* x,
                double* ring) {
  const std::int64_t i = simt::global_thread();
  if (i >= width) return;
  const auto row = static_cast<std::int64_t>(*counter % static_cast<std::uint64_t>(rows));
  ring[row * width + i] = x[i];
}

void store_in_ring_cuda(const Stream& stream, std::int64_t rows, std::int64_t width,
                        const std::uint64_t* counter, const double* x, double* ring) {
  if (width == 0) return;
  const unsigned threads = threads_for(width, kThreads);
  simt::launch({"store_in_ring", {simt::blocks_for(width, threads)}, {threads}, 0, stream}, ring_kernel, rows,
               width, counter, x, ring);
}

template <class Transform>
void fill_random(const Stream& stream, const char* name, DType dtype, std::int64_t count, RandomState state,
                 void* y, Transform transform) {
  VOXOT_CHECK(count <= (std::int64_t{1} << 34), "{}: {} elements exceed one stream's 2^34", name, count);
  if (count == 0) return;
  with_type(dtype, [&]<class T>() {
    void (*kernel)(std::int64_t, RandomState, Transform, T*) =
        aligned(y) ? random_kernel<true, T, Transform> : random_kernel<false, T, Transform>;
    const unsigned threads = threads_for((count + 3) / 4, kThreads);
    simt::launch({name, {simt::blocks_for(count, std::int64_t{threads} * 4)}, {threads}, 0, stream}, kernel,
                 count, state, transform, static_cast<T*>(y));
  });
}

void fill_cuda(const Stream& stream, DType dtype, std::int64_t count, double value, void* y) {
  with_type(dtype, [&]<class T>() {
    using F = Compute<T>;
    map<Write::overwrite>(stream, "fill", count, Flat{}, Constant<F>{static_cast<F>(value)},
                          static_cast<T*>(y));
  });
}

void linear_combination_cuda(const Stream& stream, DType dtype, const LinearCombination& c) {
  with_type(dtype, [&]<class T>() {
    using F = Compute<T>;
    const auto fa = static_cast<F>(c.a);
    const T* px = static_cast<const T*>(c.x);
    T* pz = static_cast<T*>(c.z);
    if (c.b == 0) {
      map<Write::overwrite>(stream, "scale", c.count, Flat{}, Scale<F>{fa}, pz, px);
    } else {
      map<Write::overwrite>(stream, "linear_combination", c.count, Flat{},
                            Combine<F>{fa, static_cast<F>(c.b)}, pz, px, static_cast<const T*>(c.y));
    }
  });
}

void axpby_cuda(const Stream& stream, DType dtype, const Axpby& c) {
  linear_combination_cuda(stream, dtype, {c.count, c.a, c.x, c.b, c.y, c.y});
}

void linear_combination_at_cuda(const Stream& stream, DType dtype, const LinearCombinationAt& c) {
  with_type(dtype, [&]<class T>() {
    map<Write::overwrite>(stream, "linear_combination_at", c.count, Flat{}, CombineAt<Compute<T>>{c.factors},
                          static_cast<T*>(c.z), static_cast<const T*>(c.x), static_cast<const T*>(c.y));
  });
}

void multiply_cuda(const Stream& stream, DType dtype, const Multiply& m) {
  with_type(dtype, [&]<class T>() {
    with_write(m.write, [&]<Write W>() {
      map<W>(stream, "multiply", m.count, Flat{}, Product{}, static_cast<T*>(m.z), static_cast<const T*>(m.x),
             static_cast<const T*>(m.y));
    });
  });
}

void add_bias_cuda(const Stream& stream, DType dtype, std::int64_t rows, std::int64_t channels,
                   const void* bias, void* y) {
  with_type(dtype, [&]<class T>() {
    using F = Compute<T>;
    map<Write::accumulate>(stream, "add_bias", rows * channels, Matrix{channels},
                           Bias<F>{static_cast<const F*>(bias)}, static_cast<T*>(y));
  });
}

void broadcast_add_cuda(const Stream& stream, DType dtype, const BroadcastAdd& a) {
  with_type(dtype, [&]<class T>() {
    map<Write::overwrite>(stream, "broadcast_add", a.outer * a.rows * a.channels, Reduced{a.rows, a.channels},
                          AddBroadcast<T>{static_cast<const T*>(a.v)}, static_cast<T*>(a.y),
                          static_cast<const T*>(a.x));
  });
}

void cast_cuda(const Stream& stream, const Cast& c) {
  with_type(c.from, [&]<class From>() {
    with_type(c.to, [&]<class To>() {
      with_write(c.write, [&]<Write W>() {
        map<W>(stream, "cast", c.count, Flat{}, Same{}, static_cast<To*>(c.y), static_cast<const From*>(c.x));
      });
    });
  });
}

void fill_normal_cuda(const Stream& stream, DType dtype, const FillNormal& f) {
  fill_random(stream, "fill_normal", dtype, f.count, f.state, f.y,
              Normal{static_cast<float>(f.mean), static_cast<float>(f.deviation)});
}

void fill_uniform_cuda(const Stream& stream, DType dtype, const FillUniform& f) {
  fill_random(stream, "fill_uniform", dtype, f.count, f.state, f.y,
              Uniform{static_cast<float>(f.low), static_cast<float>(f.high - f.low)});
}

const Implement registered[] = {
    {fill, Device::cuda, fill_cuda},
    {axpby, Device::cuda, axpby_cuda},
    {linear_combination, Device::cuda, linear_combination_cuda},
    {linear_combination_at, Device::cuda, linear_combination_at_cuda},
    {multiply, Device::cuda, multiply_cuda},
    {add_bias, Device::cuda, add_bias_cuda},
    {broadcast_add, Device::cuda, broadcast_add_cuda},
    {cast, Device::cuda, cast_cuda},
    {store_in_ring, Device::cuda, store_in_ring_cuda},
    {fill_normal, Device::cuda, fill_normal_cuda},
    {fill_uniform, Device::cuda, fill_uniform_cuda},
};

}  // namespace
}  // namespace voxot::kernels
