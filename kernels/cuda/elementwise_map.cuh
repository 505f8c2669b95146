#pragma once
// y[i] ← or += f(x₀[i], x₁[i], …) over flat arrays, each with its own storage type; y may be one of the x.
// Functors are structs with a VOXOT_DEVICE operator() that takes values in Compute<X>, and before them, when
// the map has an index, the element's place.
//
// Launch: up to 256 threads. A thread takes V consecutive elements, which fill 16 bytes of the widest type
// where every pointer is aligned to that, else one; the last takes the rest that fills no vector.
#include "kernels/cuda/vectors.cuh"

namespace voxot::cuda {

/// f needs no place.
struct Flat {
  struct At {
    VOXOT_DEVICE void next() {}
  };
  VOXOT_DEVICE At at(std::int64_t) const { return {}; }
};

/// Element i of a matrix with `columns` columns. One division for each thread; the rest is counting.
struct Matrix {
  struct At {
    std::int64_t row;
    std::int64_t column;
    std::int64_t columns;
    VOXOT_DEVICE void next() {
      if (++column < columns) return;
      column = 0;
      ++row;
    }
  };
  std::int64_t columns;
  VOXOT_DEVICE At at(std::int64_t i) const { return {i / columns, i % columns, columns}; }
};

/// Element i of outer × axis × inner; `result` is its place in outer × inner.
struct Reduced {
  struct At {
    std::int64_t result;
    std::int64_t column;
    std::int64_t step;
    std::int64_t axis;
    std::int64_t inner;
    VOXOT_DEVICE void next() {
      ++result;
      if (++column < inner) return;
      column = 0;
      result -= inner;
      if (++step < axis) return;
      step = 0;
      result += inner;
    }
  };
  std::int64_t axis;
  std::int64_t inner;
  VOXOT_DEVICE At at(std::int64_t i) const {
    const std::int64_t row = i / inner;
    const std::int64_t column = i % inner;
    return {row / axis * inner + column, column, row % axis, axis, inner};
  }
};

template <int V, Write W, class At, class F, class Y, class... X>
VOXOT_DEVICE void map_vector(At& at, const F& f, Y* y, const simt::Vector<X, V>&... x) {
  simt::Vector<Y, V> result;
  if constexpr (W == Write::accumulate) result = load_vector<V>(y);
  VOXOT_UNROLL
  for (int k = 0; k < V; ++k) {
    Compute<Y> value;
    if constexpr (std::is_same_v<At, Flat::At>) {
      value = static_cast<Compute<Y>>(f(load(x.values[k])...));
    } else {
      value = static_cast<Compute<Y>>(f(at, load(x.values[k])...));
      at.next();
    }
    put<W>(result.values[k], value);
  }
  store_vector<V>(y, result);
}

inline constexpr int kMapThreads = 256;

template <int V, Write W, class Index, class F, class Y, class... X>
VOXOT_KERNEL void VOXOT_LAUNCH_BOUNDS(kMapThreads, 1)
    map_kernel(std::int64_t count, Index index, F f, Y* y, const X*... x) {
  const std::int64_t first = simt::global_thread() * V;
  if (first >= count) return;
  auto at = index.at(first);
  if (first + V <= count) {
    map_vector<V, W>(at, f, y + first, load_vector<V>(x + first)...);
  } else {
    for (std::int64_t i = first; i < count; ++i) map_vector<1, W>(at, f, y + i, load_vector<1>(x + i)...);
  }
}

template <int V, Write W, class Index, class F, class Y, class... X>
void launch_map(const Stream& stream, const char* name, std::int64_t count, Index index, F f, Y* y,
                const X*... x) {
  void (*kernel)(std::int64_t, Index, F, Y*, const X*...) = map_kernel<V, W, Index, F, Y, X...>;
  const unsigned threads = threads_for((count + V - 1) / V, kMapThreads);
  simt::launch({name, {simt::blocks_for(count, std::int64_t{threads} * V)}, {threads}, 0, stream}, kernel,
               count, index, f, y, x...);
}

template <Write W, class Index, class F, class Y, class... X>
void map(const Stream& stream, const char* name, std::int64_t count, Index index, F f, Y* y, const X*... x) {
  if (count == 0) return;
  if (aligned(y) && (aligned(x) && ...)) {
    launch_map<vector_size<Y, X...>(), W>(stream, name, count, index, f, y, x...);
  } else {
    launch_map<1, W>(stream, name, count, index, f, y, x...);
  }
}

}  // namespace voxot::cuda
