#pragma once
// The plain loops: what fp64 runs, and the reference that every faster variant is tested against.
#include <algorithm>

#include "kernels/conv3d.h"
#include "kernels/cpu/scalar.h"

namespace voxot::cpu {

/// Calls body(tap, input voxel) for each kernel tap of output (o_d, o_h, o_w) that lies inside the input.
template <class Body>
void taps(const Conv3dParams& p, std::int64_t od, std::int64_t oh, std::int64_t ow, Body body) {
  for (std::int64_t kd = 0; kd < p.kernel[0]; ++kd) {
    const std::int64_t d = od * p.stride[0] - p.padding[0] + kd * p.dilation[0];
    if (d < 0 || d >= p.in_extent[0]) continue;
    for (std::int64_t kh = 0; kh < p.kernel[1]; ++kh) {
      const std::int64_t h = oh * p.stride[1] - p.padding[1] + kh * p.dilation[1];
      if (h < 0 || h >= p.in_extent[1]) continue;
      for (std::int64_t kw = 0; kw < p.kernel[2]; ++kw) {
        const std::int64_t w = ow * p.stride[2] - p.padding[2] + kw * p.dilation[2];
        if (w < 0 || w >= p.in_extent[2]) continue;
        body((kd * p.kernel[1] + kh) * p.kernel[2] + kw, (d * p.in_extent[1] + h) * p.in_extent[2] + w);
      }
    }
  }
}

/// Calls body(output voxel, tap, input voxel) for every pair that the convolution joins within one sample.
template <class Body>
void pairs(const Conv3dParams& p, Body body) {
  const auto out = p.out_extent();
  for (std::int64_t o = 0; o < p.out_voxels(); ++o) {
    taps(p, o / (out[1] * out[2]), o / out[2] % out[1], o % out[2],
         [&](std::int64_t tap, std::int64_t in) { body(o, tap, in); });
  }
}

template <class F>
void conv3d_forward_naive(const Conv3dParams& p, const F* x, const F* w, const Conv3dEpilogue& e, F* y) {
  const F* bias = static_cast<const F*>(e.bias);
  const F* residual = static_cast<const F*>(e.residual);
  const std::int64_t ci = p.in_channels;
  const std::int64_t co = p.out_channels;
#pragma omp parallel for schedule(static)
  for (std::int64_t n = 0; n < p.batch; ++n) {
    F* const yn = y + n * p.out_voxels() * co;
    const F* const xn = x + n * p.in_voxels() * ci;
    for (std::int64_t i = 0; i < p.out_voxels() * co; ++i) yn[i] = bias == nullptr ? F{0} : bias[i % co];
    pairs(p, [&](std::int64_t o, std::int64_t tap, std::int64_t in) {
      for (std::int64_t q = 0; q < co; ++q) {
        const F* row = w + (q * p.kernel_volume() + tap) * ci;
        F sum = 0;
        for (std::int64_t c = 0; c < ci; ++c) sum += row[c] * xn[in * ci + c];
        yn[o * co + q] += sum;
      }
    });
    const F* const rn = residual == nullptr ? nullptr : residual + n * p.out_voxels() * co;
    with_activation<F>(e.activation, [&](auto act) {
      for (std::int64_t i = 0; i < p.out_voxels() * co; ++i) {
        yn[i] = act.value((rn == nullptr ? F{0} : rn[i]) + static_cast<F>(e.scale) * yn[i]);
      }
    });
  }
}

template <class F>
void conv3d_grad_input_naive(const Conv3dParams& p, const F* gy, const F* w, F scale, F* gx, Write write) {
  const std::int64_t ci = p.in_channels;
  const std::int64_t co = p.out_channels;
#pragma omp parallel for schedule(static)
  for (std::int64_t n = 0; n < p.batch; ++n) {
    F* const xn = gx + n * p.in_voxels() * ci;
    if (write == Write::overwrite) std::fill(xn, xn + p.in_voxels() * ci, F{0});
    pairs(p, [&](std::int64_t o, std::int64_t tap, std::int64_t in) {
      for (std::int64_t q = 0; q < co; ++q) {
        const F g = scale * gy[(n * p.out_voxels() + o) * co + q];
        const F* row = w + (q * p.kernel_volume() + tap) * ci;
        for (std::int64_t c = 0; c < ci; ++c) xn[in * ci + c] += g * row[c];
      }
    });
  }
}

template <class F>
void conv3d_grad_weight_naive(const Conv3dParams& p, const F* x, const F* gy, F scale, F* gw, F* gb,
                              Write write) {
  const std::int64_t ci = p.in_channels;
  const std::int64_t co = p.out_channels;
#pragma omp parallel for schedule(static)
  for (std::int64_t q = 0; q < co; ++q) {
    F* const wq = gw + q * p.kernel_volume() * ci;
    if (write == Write::overwrite) std::fill(wq, wq + p.kernel_volume() * ci, F{0});
    F bias = 0;
    for (std::int64_t n = 0; n < p.batch; ++n) {
      const F* const gn = gy + n * p.out_voxels() * co;
      for (std::int64_t o = 0; o < p.out_voxels(); ++o) bias += gn[o * co + q];
      pairs(p, [&](std::int64_t o, std::int64_t tap, std::int64_t in) {
        const F g = scale * gn[o * co + q];
        for (std::int64_t c = 0; c < ci; ++c) wq[tap * ci + c] += g * x[(n * p.in_voxels() + in) * ci + c];
      });
    }
    if (gb != nullptr) gb[q] = (write == Write::accumulate ? gb[q] : F{0}) + scale * bias;
  }
}

}  // namespace voxot::cpu
