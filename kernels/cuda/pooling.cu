// Max and average pooling. Forward, a thread takes an output voxel's channels, V at a time, and walks its
// window; backward, an input voxel's, and walks the windows that cover it, in the order of the outputs: any
// overlap is summed without atomics, and rounded once. Layout: N×D×H×W×C, winner bytes like the output.
// Launch: launch_rows (channels.cuh), a row is a voxel. Source: kernels/pooling.h; the semantics of ties and
// NaN are those of kernels/cpu/pooling.cpp.
#include "kernels/pooling.h"

#include <limits>

#include "kernels/cuda/channels.cuh"

namespace voxot::kernels {
namespace {

using namespace cuda;

/// PoolParams as a kernel reads them.
struct Pool {
  int channels;
  Extent in;
  Extent out;
  Extent stride;
  int kernel[3];
  int padding[3];
  bool count_padding;

  explicit Pool(const PoolParams& p)
      : channels(static_cast<int>(p.channels)),
        in(p.in_extent),
        out(p.out_extent()),
        stride(p.stride),
        count_padding(p.count_padding) {
    for (std::size_t a = 0; a < 3; ++a) {
      kernel[a] = static_cast<int>(p.kernel[a]);
      padding[a] = static_cast<int>(p.padding[a]);
    }
  }

  VOXOT_DEVICE int window() const { return kernel[0] * kernel[1] * kernel[2]; }
};

/// Positions first ≤ i < last, of a window that starts at `low`.
struct Range {
  int low, first, last;
};

/// Inputs in the window of output o.
VOXOT_DEVICE Range window_of(const Pool& p, int axis, int o) {
  const int low = o * p.stride.size[axis] - p.padding[axis];
  const int end = low + p.kernel[axis];
  return {low, low < 0 ? 0 : low, end < p.in.size[axis] ? end : p.in.size[axis]};
}

/// Outputs whose window covers input i.
VOXOT_DEVICE Range windows_over(const Pool& p, int axis, int i) {
  const Divisor& stride = p.stride.divisors[axis];
  const int at = i + p.padding[axis];
  const int before = at - p.kernel[axis];
  const int end = stride.divide(at) + 1;
  return {0, before < 0 ? 0 : stride.divide(before) + 1, end < p.out.size[axis] ? end : p.out.size[axis]};
}

template <int V>
VOXOT_DEVICE void store_bytes(std::uint8_t* to, const int (&values)[V]) {
  simt::Vector<std::uint8_t, V> bytes;
  VOXOT_UNROLL
  for (int k = 0; k < V; ++k) bytes.values[k] = static_cast<std::uint8_t>(values[k]);
  store_vector<V>(to, bytes);
}

template <class T, int V>
VOXOT_KERNEL void max_forward_kernel(int rows, Pool p, const T* x, T* y, std::uint8_t* winner) {
  using F = Compute<T>;
  const std::int64_t row = row_of_thread();
  if (row >= rows) return;
  const Voxel at = p.out.voxel(static_cast<int>(row));
  const Range rd = window_of(p, 0, at.d);
  const Range rh = window_of(p, 1, at.h);
  const Range rw = window_of(p, 2, at.w);
  const int step = static_cast<int>(simt::block_extent().x) * V;
  for (int c = static_cast<int>(simt::thread_index().x) * V; c < p.channels; c += step) {
    F best[V];
    int index[V];
    VOXOT_UNROLL
    for (int k = 0; k < V; ++k) {
      best[k] = -std::numeric_limits<F>::infinity();
      index[k] = 0;
    }
    for (int d = rd.first; d < rd.last; ++d) {
      for (int h = rh.first; h < rh.last; ++h) {
        const T* line = x + p.in.row(at.n, d, h, 0) * p.channels + c;
        const int position = ((d - rd.low) * p.kernel[1] + h - rh.low) * p.kernel[2] - rw.low;
        for (int w = rw.first; w < rw.last; ++w) {
          F v[V];
          load_channels<V>(line + static_cast<std::int64_t>(w) * p.channels, v);
          VOXOT_UNROLL
          for (int k = 0; k < V; ++k) {
            const bool wins = v[k] > best[k] || v[k] != v[k];  // NaN wins
            best[k] = wins ? v[k] : best[k];
            index[k] = wins ? position + w : index[k];
          }
        }
      }
    }
    put_channels<Write::overwrite, V>(y + row * p.channels + c, best);
    if (winner != nullptr) store_bytes<V>(winner + row * p.channels + c, index);
  }
}

template <class T, int V>
VOXOT_KERNEL void average_forward_kernel(int rows, Pool p, const T* x, T* y) {
  using F = Compute<T>;
  const std::int64_t row = row_of_thread();
  if (row >= rows) return;
  const Voxel at = p.out.voxel(static_cast<int>(row));
  const Range rd = window_of(p, 0, at.d);
  const Range rh = window_of(p, 1, at.h);
  const Range rw = window_of(p, 2, at.w);
  const int valid = (rd.last - rd.first) * (rh.last - rh.first) * (rw.last - rw.first);
  const F scale = F{1} / static_cast<F>(p.count_padding ? p.window() : valid);
  const int step = static_cast<int>(simt::block_extent().x) * V;
  for (int c = static_cast<int>(simt::thread_index().x) * V; c < p.channels; c += step) {
    F sum[V] = {};
    for (int d = rd.first; d < rd.last; ++d) {
      for (int h = rh.first; h < rh.last; ++h) {
        const T* line = x + p.in.row(at.n, d, h, 0) * p.channels + c;
        for (int w = rw.first; w < rw.last; ++w) {
          F v[V];
          load_channels<V>(line + static_cast<std::int64_t>(w) * p.channels, v);
          VOXOT_UNROLL
          for (int k = 0; k < V; ++k) sum[k] += v[k];
        }
      }
    }
    VOXOT_UNROLL
    for (int k = 0; k < V; ++k) sum[k] *= scale;
    put_channels<Write::overwrite, V>(y + row * p.channels + c, sum);
  }
}

/// The share of grad_y that reaches an input voxel: all of it where the winner is this position.
template <class T, int V>
struct MaxShare {
  const std::uint8_t* winner;

  VOXOT_DEVICE void add(const Pool& p, const Voxel& at, int od, int oh, int ow, std::int64_t offset,
                        const Compute<T> (&g)[V], Compute<T> (&sum)[V]) const {
    const int position =
        ((at.d - window_of(p, 0, od).low) * p.kernel[1] + at.h - window_of(p, 1, oh).low) * p.kernel[2] +
        at.w - window_of(p, 2, ow).low;
    const auto bytes = load_vector<V>(winner + offset);
    VOXOT_UNROLL
    for (int k = 0; k < V; ++k) sum[k] += bytes.values[k] == position ? g[k] : 0;
  }
};

/// One part in as many as the window counts.
template <class T, int V>
struct AverageShare {
  VOXOT_DEVICE void add(const Pool& p, const Voxel&, int od, int oh, int ow, std::int64_t,
                        const Compute<T> (&g)[V], Compute<T> (&sum)[V]) const {
    int count = p.window();
    if (!p.count_padding) {
      const Range rd = window_of(p, 0, od);
      const Range rh = window_of(p, 1, oh);
      const Range rw = window_of(p, 2, ow);
      count = (rd.last - rd.first) * (rh.last - rh.first) * (rw.last - rw.first);
    }
    const Compute<T> scale = Compute<T>{1} / static_cast<Compute<T>>(count);
    VOXOT_UNROLL
    for (int k = 0; k < V; ++k) sum[k] += g[k] * scale;
  }
};

template <class T, int V, Write W, class Share>
VOXOT_KERNEL void backward_kernel(int rows, Pool p, Share share, const T* grad_y, T* grad_x) {
  const std::int64_t row = row_of_thread();
  if (row >= rows) return;
  const Voxel at = p.in.voxel(static_cast<int>(row));
  const Range rd = windows_over(p, 0, at.d);
  const Range rh = windows_over(p, 1, at.h);
  const Range rw = windows_over(p, 2, at.w);
  const int step = static_cast<int>(simt::block_extent().x) * V;
  for (int c = static_cast<int>(simt::thread_index().x) * V; c < p.channels; c += step) {
    Compute<T> sum[V] = {};
    for (int d = rd.first; d < rd.last; ++d) {
      for (int h = rh.first; h < rh.last; ++h) {
        for (int w = rw.first; w < rw.last; ++w) {
          const std::int64_t offset = p.out.row(at.n, d, h, w) * p.channels + c;
          Compute<T> g[V];
          load_channels<V>(grad_y + offset, g);
          share.add(p, at, d, h, w, offset, g, sum);
        }
      }
    }
    put_channels<W, V>(grad_x + row * p.channels + c, sum);
  }
}

std::int64_t volume(const std::array<std::int64_t, 3>& extent) { return extent[0] * extent[1] * extent[2]; }

void max_forward(const Stream& stream, DType dtype, const PoolParams& p, const void* x, void* y,
                 std::uint8_t* winner) {
  with_type(dtype, [&]<class T>() {
    with_width<T>({p.channels}, {x, y, winner}, [&]<int V>() {
      launch_rows("max_pool_forward", stream, p.batch * volume(p.out_extent()), p.channels / V,
                  max_forward_kernel<T, V>, Pool(p), static_cast<const T*>(x), static_cast<T*>(y), winner);
    });
  });
}

void average_forward(const Stream& stream, DType dtype, const PoolParams& p, const void* x, void* y) {
  with_type(dtype, [&]<class T>() {
    with_width<T>({p.channels}, {x, y}, [&]<int V>() {
      launch_rows("average_pool_forward", stream, p.batch * volume(p.out_extent()), p.channels / V,
                  average_forward_kernel<T, V>, Pool(p), static_cast<const T*>(x), static_cast<T*>(y));
    });
  });
}

template <class T, int V, class Share>
void launch_backward(const char* name, const Stream& stream, const PoolParams& p, const Share& share,
                     const void* grad_y, void* grad_x, Write write) {
  with_write(write, [&]<Write W>() {
    launch_rows(name, stream, p.batch * volume(p.in_extent), p.channels / V, backward_kernel<T, V, W, Share>,
                Pool(p), share, static_cast<const T*>(grad_y), static_cast<T*>(grad_x));
  });
}

void max_backward(const Stream& stream, DType dtype, const PoolParams& p, const MaxPoolGradients& q) {
  with_type(dtype, [&]<class T>() {
    with_width<T>({p.channels}, {q.winner, q.grad_y, q.grad_x}, [&]<int V>() {
      launch_backward<T, V>("max_pool_backward", stream, p, MaxShare<T, V>{q.winner}, q.grad_y, q.grad_x,
                            q.write);
    });
  });
}

void average_backward(const Stream& stream, DType dtype, const PoolParams& p, const void* grad_y,
                      void* grad_x, Write write) {
  with_type(dtype, [&]<class T>() {
    with_width<T>({p.channels}, {grad_y, grad_x}, [&]<int V>() {
      launch_backward<T, V>("average_pool_backward", stream, p, AverageShare<T, V>{}, grad_y, grad_x, write);
    });
  });
}

const Implement registered[] = {
    {max_pool_forward, Device::cuda, max_forward},
    {max_pool_backward, Device::cuda, max_backward},
    {average_pool_forward, Device::cuda, average_forward},
    {average_pool_backward, Device::cuda, average_backward},
};

}  // namespace
}  // namespace voxot::kernels
