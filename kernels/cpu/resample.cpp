#include "kernels/resample.h"

#include <algorithm>
#include <vector>

#include "kernels/cpu/scalar.h"
#include "kernels/sizes.h"

namespace voxot::kernels {
namespace {

using namespace cpu;

/// The two input positions and the weight of the second that make output position o (half-pixel centres).
struct Taps {
  std::int64_t first;
  std::int64_t second;
  double weight;
};

Taps taps(std::int64_t o, std::int64_t factor, std::int64_t extent, bool trilinear) {
  if (!trilinear) return {o / factor, o / factor, 0};
  const double at = std::max(0.0, (static_cast<double>(o) + 0.5) / static_cast<double>(factor) - 0.5);
  const auto low = static_cast<std::int64_t>(at);
  return {low, std::min(low + 1, extent - 1), at - static_cast<double>(low)};
}

/// Calls body(output row, {input row, weight} of each of the 8 corners; 1 corner for nearest).
template <class Body>
void corners(const UpsampleParams& p, std::int64_t n, std::int64_t od, Body body) {
  const auto& in = p.in_extent;
  const std::array<std::int64_t, 3> out{in[0] * p.factor[0], in[1] * p.factor[1], in[2] * p.factor[2]};
  const Taps td = taps(od, p.factor[0], in[0], p.trilinear);
  for (std::int64_t oh = 0; oh < out[1]; ++oh) {
    const Taps th = taps(oh, p.factor[1], in[1], p.trilinear);
    for (std::int64_t ow = 0; ow < out[2]; ++ow) {
      const Taps tw = taps(ow, p.factor[2], in[2], p.trilinear);
      const std::int64_t to = ((n * out[0] + od) * out[1] + oh) * out[2] + ow;
      for (int corner = 0; corner < (p.trilinear ? 8 : 1); ++corner) {
        const bool d1 = (corner & 4) != 0;
        const bool h1 = (corner & 2) != 0;
        const bool w1 = (corner & 1) != 0;
        const double weight = (d1 ? td.weight : 1 - td.weight) * (h1 ? th.weight : 1 - th.weight) *
                              (w1 ? tw.weight : 1 - tw.weight);
        const std::int64_t from =
            ((n * in[0] + (d1 ? td.second : td.first)) * in[1] + (h1 ? th.second : th.first)) * in[2] +
            (w1 ? tw.second : tw.first);
        body(to, from, weight, corner);
      }
    }
  }
}

template <class T>
void upsample_forward_typed(const UpsampleParams& p, const T* in, T* out) {
  using F = Compute<T>;
  const std::int64_t depth = p.in_extent[0] * p.factor[0];
  const std::int64_t channels = p.channels;
#pragma omp parallel for schedule(static)
  for (std::int64_t job = 0; job < p.batch * depth; ++job) {
    corners(p, job / depth, job % depth, [&](std::int64_t to, std::int64_t from, double weight, int corner) {
      const T* a = in + from * channels;
      T* b = out + to * p.row() + p.offset;
      if (!p.trilinear) {
        std::copy(a, a + channels, b);
        return;
      }
      const F w = static_cast<F>(weight);
      for (std::int64_t c = 0; c < channels; ++c) {
        store(b[c], (corner == 0 ? F{0} : static_cast<F>(load(b[c]))) + w * load(a[c]));
      }
    });
  }
}

/// Nearest: each input voxel sums its factor³ children in fp32.
template <class T, Write W>
void nearest_backward(const UpsampleParams& p, const T* gy, T* gx) {
  using F = Compute<T>;
  const auto& in = p.in_extent;
  const auto& f = p.factor;
  const std::int64_t channels = p.channels;
#pragma omp parallel for schedule(static)
  for (std::int64_t job = 0; job < p.batch * in[0] * in[1]; ++job) {
    const std::int64_t nd = job / in[1];
    const std::int64_t h = job % in[1];
    constexpr std::int64_t kWidth = 256;
    F sum[kWidth];
    for (std::int64_t w = 0; w < in[2]; ++w) {
      for (std::int64_t c0 = 0; c0 < channels; c0 += kWidth) {
        const std::int64_t width = std::min(kWidth, channels - c0);
        std::fill(sum, sum + width, F{0});
        for (std::int64_t i = 0; i < f[0] * f[1] * f[2]; ++i) {
          const std::int64_t od = nd * f[0] + i / (f[1] * f[2]);
          const std::int64_t oh = h * f[1] + i / f[2] % f[1];
          const std::int64_t ow = w * f[2] + i % f[2];
          const T* row = gy + ((od * in[1] * f[1] + oh) * in[2] * f[2] + ow) * p.row() + p.offset + c0;
          for (std::int64_t c = 0; c < width; ++c) sum[c] += load(row[c]);
        }
        T* to = gx + (job * in[2] + w) * channels + c0;
        for (std::int64_t c = 0; c < width; ++c) put<W>(to[c], sum[c]);
      }
    }
  }
}

/// Scatters one sample into sums of the computing type, so that bf16 gradients are rounded once.
template <class T, Write W>
void trilinear_backward(const UpsampleParams& p, const T* gy, T* gx) {
  using F = Compute<T>;
  const std::int64_t size = p.in_extent[0] * p.in_extent[1] * p.in_extent[2] * p.channels;
#pragma omp parallel for schedule(static)
  for (std::int64_t n = 0; n < p.batch; ++n) {
    static thread_local std::vector<F> sums;
    sums.assign(to_size(size), F{0});
    F* const sample = sums.data();
    for (std::int64_t od = 0; od < p.in_extent[0] * p.factor[0]; ++od) {
      corners(p, n, od, [&](std::int64_t to, std::int64_t from, double weight, int) {
        const F w = static_cast<F>(weight);
        const T* a = gy + to * p.row() + p.offset;
        F* b = sample + (from * p.channels - n * size);
        for (std::int64_t c = 0; c < p.channels; ++c) b[c] += w * load(a[c]);
      });
    }
    for (std::int64_t i = 0; i < size; ++i) put<W>(gx[n * size + i], sample[i]);
  }
}

void forward(const Stream&, DType dtype, const UpsampleParams& p, const void* x, void* y) {
  with_type(dtype,
            [&]<class T>() { upsample_forward_typed(p, static_cast<const T*>(x), static_cast<T*>(y)); });
}

void backward(const Stream&, DType dtype, const UpsampleParams& p, const void* grad_y, void* grad_x,
              Write write) {
  with_type(dtype, [&]<class T>() {
    const T* gy = static_cast<const T*>(grad_y);
    T* gx = static_cast<T*>(grad_x);
    with_write(write, [&]<Write W>() {
      if (p.trilinear) return trilinear_backward<T, W>(p, gy, gx);
      nearest_backward<T, W>(p, gy, gx);
    });
  });
}

void copy_channels_cpu(const Stream&, DType dtype, const CopyChannels& k) {
  with_type(dtype, [&]<class T>() {
    const T* a = static_cast<const T*>(k.from.rows) + k.from.offset;
    T* b = static_cast<T*>(k.to.rows) + k.to.offset;
    const std::int64_t width = k.width;
    with_write(k.write, [&]<Write W>() {
#pragma omp parallel for schedule(static) if (k.rows * width > kParallelGrain)
      for (std::int64_t r = 0; r < k.rows; ++r) {
        const T* const from = a + r * k.from.pitch;
        T* const to = b + r * k.to.pitch;
        for (std::int64_t c = 0; c < width; ++c) put<W>(to[c], load(from[c]));
      }
    });
  });
}

const Implement registered[] = {
    {upsample_forward, Device::cpu, forward},
    {upsample_backward, Device::cpu, backward},
    {copy_channels, Device::cpu, copy_channels_cpu},
};

}  // namespace
}  // namespace voxot::kernels
