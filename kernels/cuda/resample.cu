// Upsampling and copies of channels. Forward, a thread takes an output voxel's channels, V at a time;
// backward, an input voxel's, and gathers the outputs it went into, in their order: no atomics, one rounding.
// Trilinear, output o of an axis lies at max(0, (2o + 1 − f)/(2f)) between input voxels: a whole number and a
// rest over 2f, so that integers give the place, and the weight to one rounding. Layout: N×D×H×W×C, the
// output's rows `pitch` wide. Launch: launch_rows (channels.cuh), a row is a voxel. Source:
// kernels/resample.h.
#include "kernels/resample.h"

#include "kernels/cuda/channels.cuh"

namespace voxot::kernels {
namespace {

using namespace cuda;

/// UpsampleParams as a kernel reads them.
struct Upsample {
  int channels;
  std::int64_t pitch;
  std::int64_t offset;
  Extent in;
  Extent out;
  Extent factor;
  Divisor twice[3];  // by 2·factor

  explicit Upsample(const UpsampleParams& p)
      : channels(static_cast<int>(p.channels)),
        pitch(p.row()),
        offset(p.offset),
        in(p.in_extent),
        out({p.in_extent[0] * p.factor[0], p.in_extent[1] * p.factor[1], p.in_extent[2] * p.factor[2]}),
        factor(p.factor) {
    for (std::size_t a = 0; a < 3; ++a) twice[a] = Divisor(2 * p.factor[a]);
  }
};

/// The two input positions that make an output position, and the weight of the second.
template <class F>
struct Taps {
  int first, second;
  F weight;
};

template <class F>
VOXOT_DEVICE Taps<F> taps(const Upsample& u, int axis, int o) {
  const int numerator = 2 * o + 1 - u.factor.size[axis];
  int low = numerator < 0 ? 0 : numerator;
  const int rest = u.twice[axis].split(low);
  const int last = u.in.size[axis] - 1;
  return {low, low < last ? low + 1 : last, static_cast<F>(rest) / static_cast<F>(2 * u.factor.size[axis])};
}

template <class T, int V>
VOXOT_KERNEL void nearest_forward_kernel(int rows, Upsample u, const T* x, T* y) {
  const std::int64_t row = row_of_thread();
  if (row >= rows) return;
  const Voxel at = u.out.voxel(static_cast<int>(row));
  const T* from = x + u.in.row(at.n, u.factor.divisors[0].divide(at.d), u.factor.divisors[1].divide(at.h),
                               u.factor.divisors[2].divide(at.w)) *
                          u.channels;
  T* to = y + row * u.pitch + u.offset;
  const int step = static_cast<int>(simt::block_extent().x) * V;
  for (int c = static_cast<int>(simt::thread_index().x) * V; c < u.channels; c += step) {
    Compute<T> v[V];
    load_channels<V>(from + c, v);
    put_channels<Write::overwrite, V>(to + c, v);
  }
}

template <class T, int V>
VOXOT_KERNEL void trilinear_forward_kernel(int rows, Upsample u, const T* x, T* y) {
  using F = Compute<T>;
  const std::int64_t row = row_of_thread();
  if (row >= rows) return;
  const Voxel at = u.out.voxel(static_cast<int>(row));
  const Taps<F> td = taps<F>(u, 0, at.d);
  const Taps<F> th = taps<F>(u, 1, at.h);
  const Taps<F> tw = taps<F>(u, 2, at.w);
  T* to = y + row * u.pitch + u.offset;
  const int step = static_cast<int>(simt::block_extent().x) * V;
  for (int c = static_cast<int>(simt::thread_index().x) * V; c < u.channels; c += step) {
    F sum[V] = {};
    VOXOT_UNROLL
    for (int corner = 0; corner < 8; ++corner) {
      const bool d1 = (corner & 4) != 0;
      const bool h1 = (corner & 2) != 0;
      const bool w1 = (corner & 1) != 0;
      const F weight = (d1 ? td.weight : 1 - td.weight) * (h1 ? th.weight : 1 - th.weight) *
                       (w1 ? tw.weight : 1 - tw.weight);
      const std::int64_t from =
          u.in.row(at.n, d1 ? td.second : td.first, h1 ? th.second : th.first, w1 ? tw.second : tw.first);
      F v[V];
      load_channels<V>(x + from * u.channels + c, v);
      VOXOT_UNROLL
      for (int k = 0; k < V; ++k) sum[k] += weight * v[k];
    }
    put_channels<Write::overwrite, V>(to + c, sum);
  }
}

/// The outputs that an input position went into, each with a weight.
template <class F>
struct Nearest {
  VOXOT_DEVICE int first(const Upsample& u, int axis, int i) const { return i * u.factor.size[axis]; }
  VOXOT_DEVICE int last(const Upsample& u, int axis, int i) const {
    return (i + 1) * u.factor.size[axis] - 1;
  }
  VOXOT_DEVICE F weight(const Upsample&, int, int, int) const { return 1; }
};
template <class F>
struct Trilinear {
  /// o with i − 1 < (2o + 1 − f)/(2f) < i + 1.
  VOXOT_DEVICE int first(const Upsample& u, int axis, int i) const {
    const int f = u.factor.size[axis];
    const int o = (i - 1) * f + (f - 1) / 2 + 1;
    return o < 0 ? 0 : o;
  }
  VOXOT_DEVICE int last(const Upsample& u, int axis, int i) const {
    const int f = u.factor.size[axis];
    const int o = (i + 1) * f + f / 2 - 1;
    return o < u.out.size[axis] ? o : u.out.size[axis] - 1;
  }
  VOXOT_DEVICE F weight(const Upsample& u, int axis, int i, int o) const {
    const Taps<F> t = taps<F>(u, axis, o);
    return (t.first == i ? 1 - t.weight : F{0}) + (t.second == i ? t.weight : F{0});
  }
};

template <class T, int V, Write W, class Outputs>
VOXOT_KERNEL void backward_kernel(int rows, Upsample u, Outputs outputs, const T* grad_y, T* grad_x) {
  using F = Compute<T>;
  const std::int64_t row = row_of_thread();
  if (row >= rows) return;
  const Voxel at = u.in.voxel(static_cast<int>(row));
  const int d_last = outputs.last(u, 0, at.d);
  const int h_last = outputs.last(u, 1, at.h);
  const int w_first = outputs.first(u, 2, at.w);
  const int w_last = outputs.last(u, 2, at.w);
  const int step = static_cast<int>(simt::block_extent().x) * V;
  for (int c = static_cast<int>(simt::thread_index().x) * V; c < u.channels; c += step) {
    F sum[V] = {};
    for (int d = outputs.first(u, 0, at.d); d <= d_last; ++d) {
      const F weight_d = outputs.weight(u, 0, at.d, d);
      for (int h = outputs.first(u, 1, at.h); h <= h_last; ++h) {
        const F weight_h = weight_d * outputs.weight(u, 1, at.h, h);
        const T* line = grad_y + u.out.row(at.n, d, h, 0) * u.pitch + u.offset + c;
        for (int w = w_first; w <= w_last; ++w) {
          const F weight = weight_h * outputs.weight(u, 2, at.w, w);
          F g[V];
          load_channels<V>(line + w * u.pitch, g);
          VOXOT_UNROLL
          for (int k = 0; k < V; ++k) sum[k] += weight * g[k];
        }
      }
    }
    put_channels<W, V>(grad_x + row * u.channels + c, sum);
  }
}

template <class T, int V, Write W>
VOXOT_KERNEL void copy_channels_kernel(int rows, int width, const T* from, std::int64_t from_pitch, T* to,
                                       std::int64_t to_pitch) {
  const std::int64_t row = row_of_thread();
  if (row >= rows) return;
  const int step = static_cast<int>(simt::block_extent().x) * V;
  for (int c = static_cast<int>(simt::thread_index().x) * V; c < width; c += step) {
    Compute<T> v[V];
    load_channels<V>(from + row * from_pitch + c, v);
    put_channels<W, V>(to + row * to_pitch + c, v);
  }
}

void forward(const Stream& stream, DType dtype, const UpsampleParams& p, const void* x, void* y) {
  const Upsample u(p);
  const std::int64_t voxels = p.in_extent[0] * p.in_extent[1] * p.in_extent[2];
  const std::int64_t rows = p.batch * voxels * p.factor[0] * p.factor[1] * p.factor[2];
  with_type(dtype, [&]<class T>() {
    with_width<T>({p.channels, p.row(), p.offset}, {x, y}, [&]<int V>() {
      const auto kernel = p.trilinear ? trilinear_forward_kernel<T, V> : nearest_forward_kernel<T, V>;
      launch_rows("upsample_forward", stream, rows, p.channels / V, kernel, u, static_cast<const T*>(x),
                  static_cast<T*>(y));
    });
  });
}

void backward(const Stream& stream, DType dtype, const UpsampleParams& p, const void* grad_y, void* grad_x,
              Write write) {
  const std::int64_t rows = p.batch * p.in_extent[0] * p.in_extent[1] * p.in_extent[2];
  const auto launch = [&]<class T, int V, Write W, class Outputs>(Outputs outputs) {
    launch_rows("upsample_backward", stream, rows, p.channels / V, backward_kernel<T, V, W, Outputs>,
                Upsample(p), outputs, static_cast<const T*>(grad_y), static_cast<T*>(grad_x));
  };
  with_type(dtype, [&]<class T>() {
    with_width<T>({p.channels, p.row(), p.offset}, {grad_y, grad_x}, [&]<int V>() {
      with_write(write, [&]<Write W>() {
        if (p.trilinear) return launch.template operator()<T, V, W>(Trilinear<Compute<T>>{});
        launch.template operator()<T, V, W>(Nearest<Compute<T>>{});
      });
    });
  });
}

void copy(const Stream& stream, DType dtype, const CopyChannels& k) {
  with_type(dtype, [&]<class T>() {
    const T* a = static_cast<const T*>(k.from.rows) + k.from.offset;
    T* b = static_cast<T*>(k.to.rows) + k.to.offset;
    with_width<T>({k.width, k.from.pitch, k.to.pitch}, {a, b}, [&]<int V>() {
      with_write(k.write, [&]<Write W>() {
        launch_rows("copy_channels", stream, k.rows, k.width / V, copy_channels_kernel<T, V, W>,
                    static_cast<int>(k.width), a, k.from.pitch, b, k.to.pitch);
      });
    });
  });
}

const Implement registered[] = {
    {upsample_forward, Device::cuda, forward},
    {upsample_backward, Device::cuda, backward},
    {copy_channels, Device::cuda, copy},
};

}  // namespace
}  // namespace voxot::kernels
