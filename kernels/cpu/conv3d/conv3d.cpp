// Convolution, channels last: fp32 3³ stride 1 by Winograd where that wins, the rest on oneDNN, f64 by the
// plain loops, bf16 by the fp32 form where the processor has no products of bf16. The statistics of y are
// taken when it is whole: all of them are half a percent of a step.
#include "kernels/conv3d.h"

#include <algorithm>
#include <vector>

#include "kernels/cpu/conv3d/naive.h"
#include "kernels/cpu/conv3d/onednn.h"
#include "kernels/cpu/conv3d/widened.h"
#include "kernels/cpu/conv3d/winograd.h"
#include "kernels/features.h"
#include "kernels/sizes.h"

namespace voxot {

void Conv3dParams::validate() const {
  VOXOT_CHECK(batch >= 1 && in_channels >= 1 && out_channels >= 1,
              "conv3d: batch {}, input channels {} and output channels {} must be positive", batch,
              in_channels, out_channels);
  for (std::size_t a = 0; a < 3; ++a) {
    VOXOT_CHECK(
        in_extent[a] >= 1 && kernel[a] >= 1 && stride[a] >= 1 && dilation[a] >= 1 && padding[a] >= 0,
        "conv3d: extent {}, kernel {}, stride {} and dilation {} must be positive, padding {} not negative",
        in_extent[a], kernel[a], stride[a], dilation[a], padding[a]);
    VOXOT_CHECK(in_extent[a] + 2 * padding[a] >= dilation[a] * (kernel[a] - 1) + 1,
                "conv3d: kernel {} with dilation {} does not fit extent {} with padding {}", kernel[a],
                dilation[a], in_extent[a], padding[a]);
  }
  constexpr std::int64_t kLimit = std::int64_t{1} << 40;
  VOXOT_CHECK(in_voxels() < kLimit / batch / in_channels && out_voxels() < kLimit / batch / out_channels,
              "conv3d: more than 2^40 elements in one volume");
}

namespace kernels {
namespace {

using namespace cpu;

/// One buffer for transformed weights, grown to the largest.
float* transformed_weights(const Conv3dParams& p) {
  static thread_local std::vector<float> buffer;
  buffer.resize(std::max(buffer.size(), winograd_weight_count(p)));
  return buffer.data();
}

/// oneDNN 2.6 joins the residual wrongly in fp32 where a window lies in the padding altogether.
bool padding_swallows_window(const Conv3dParams& p) {
  for (std::size_t a = 0; a < 3; ++a) {
    if (p.padding[a] > p.dilation[a] * (p.kernel[a] - 1)) return true;
  }
  return false;
}

bool widens(DType dtype) { return dtype == DType::bf16 && !cpu_has_bf16(); }
extern const Conv3dFloat float_form;

void convolve(DType dtype, const Conv3dParams& p, const Conv3dForward& f) {
  const Conv3dEpilogue& e = f.epilogue;
  if (dtype == DType::f64) {
    return conv3d_forward_naive(p, static_cast<const double*>(f.x), static_cast<const double*>(f.weight), e,
                                static_cast<double*>(f.y));
  }
  if (widens(dtype)) return widened_forward(float_form, p, f);
  const float* const x = static_cast<const float*>(f.x);
  const float* const w = static_cast<const float*>(f.weight);
  float* const y = static_cast<float*>(f.y);
  if (dtype == DType::f32 && e.residual != nullptr && padding_swallows_window(p)) {
    return conv3d_forward_naive(p, x, w, e, y);
  }
  if (dtype != DType::f32 || !winograd_eligible(p)) return onednn_forward(dtype, p, f);
  static thread_local std::vector<float> scaled_bias;
  scaled_bias.resize(to_size(p.out_channels));
  if (e.bias != nullptr) {
    const float* from = static_cast<const float*>(e.bias);
    std::transform(from, from + p.out_channels, scaled_bias.begin(), [&](float v) { return e.scale * v; });
  }
  float* const u = transformed_weights(p);
  winograd_transform_weights(p, w, e.scale, false, u);
  winograd_forward(p, x, u, e.bias == nullptr ? nullptr : scaled_bias.data(),
                   static_cast<const float*>(e.residual), e.activation, false, y);
}

void forward(const Stream& stream, DType dtype, const Conv3dParams& p, const Conv3dForward& f) {
  convolve(dtype, p, f);
  const Conv3dStatistics& s = f.epilogue.statistics;
  if (s.mean != nullptr) normalisation_statistics(stream, dtype, s.of(p), f.y, s.mean, s.variance);
}

constexpr std::int64_t kVectorChannels = 8;

/// `m` with its few output channels filled up to a vector, which is what Winograd writes, by themselves.
Conv3dParams filled_up(Conv3dParams m) {
  m.out_channels = kVectorChannels;
  return m;
}

/// A stride-1 grad_input towards few channels: with channels of zeros added, whose results are dropped.
/// Several times faster than a direct convolution, whose vectors lie along the output channels too.
void grad_input_filled_up(const Conv3dParams& m, const Conv3dGradInput& g) {
  const float* const w = static_cast<const float*>(g.weight);
  float* const gx = static_cast<float*>(g.grad_x);
  const bool accumulate = g.write == Write::accumulate;
  const Conv3dParams wide = filled_up(m);
  const std::int64_t channels = m.out_channels;
  static thread_local std::vector<float> weights;
  weights.assign(to_size(wide.weight_count()), 0.0F);
  for (std::int64_t row = 0; row < m.in_channels * m.kernel_volume(); ++row) {
    std::copy_n(w + row * channels, channels, weights.data() + row * kVectorChannels);
  }
  float* const u = transformed_weights(wide);
  winograd_transform_weights(wide, weights.data(), g.scale, true, u);
  static thread_local std::vector<float> result;
  const std::int64_t voxels = m.batch * m.out_voxels();
  result.resize(std::max(result.size(), to_size(voxels * kVectorChannels)));
  winograd_forward(wide, static_cast<const float*>(g.grad_y), u, nullptr, nullptr, {}, false, result.data());
  const float* const from = result.data();
  each(voxels, [=](std::int64_t i) {
    for (std::int64_t c = 0; c < channels; ++c) {
      float& to = gx[i * channels + c];
      to = (accumulate ? to : 0.0F) + from[i * kVectorChannels + c];
    }
  });
}

void grad_input(const Stream&, DType dtype, const Conv3dParams& p, const Conv3dGradInput& g) {
  if (dtype == DType::f64) {
    return conv3d_grad_input_naive(p, static_cast<const double*>(g.grad_y),
                                   static_cast<const double*>(g.weight), static_cast<double>(g.scale),
                                   static_cast<double*>(g.grad_x), g.write);
  }
  if (widens(dtype)) return widened_grad_input(float_form, p, g);
  if (dtype == DType::f32 && mirrors(p)) {
    const Conv3dParams m = mirrored_params(p);
    if (winograd_eligible(m)) {
      float* const u = transformed_weights(m);
      winograd_transform_weights(m, static_cast<const float*>(g.weight), g.scale, true, u);
      return winograd_forward(m, static_cast<const float*>(g.grad_y), u, nullptr, nullptr, {},
                              g.write == Write::accumulate, static_cast<float*>(g.grad_x));
    }
    if (m.out_channels < kVectorChannels && winograd_eligible(filled_up(m))) {
      return grad_input_filled_up(m, g);
    }
  }
  onednn_grad_input(dtype, p, g);
}

void grad_weight(const Stream&, DType dtype, const Conv3dParams& p, const Conv3dGradWeight& g) {
  if (dtype == DType::f64) {
    return conv3d_grad_weight_naive(p, static_cast<const double*>(g.x), static_cast<const double*>(g.grad_y),
                                    static_cast<double>(g.scale), static_cast<double*>(g.grad_weight),
                                    static_cast<double*>(g.grad_bias), g.write);
  }
  if (widens(dtype)) return widened_grad_weight(float_form, p, g);
  const bool plain = g.scale == 1.0F && g.write == Write::overwrite;
  static thread_local std::vector<float> weight;
  static thread_local std::vector<float> bias;
  if (!plain) weight.resize(to_size(p.weight_count()));
  bias.resize(to_size(p.out_channels));
  float* const to_weight = plain ? static_cast<float*>(g.grad_weight) : weight.data();
  float* const to_bias = g.grad_bias == nullptr ? nullptr : bias.data();
  if (dtype == DType::f32 && winograd_grad_weight_eligible(p)) {
    winograd_grad_weight(p, static_cast<const float*>(g.x), static_cast<const float*>(g.grad_y), to_weight,
                         to_bias);
  } else {
    onednn_grad_weight(dtype, p,
                       {.x = g.x, .grad_y = g.grad_y, .grad_weight = to_weight, .grad_bias = to_bias});
  }
  const auto write_out = [scale = g.scale, write = g.write](const std::vector<float>& from, void* to) {
    float* out = static_cast<float*>(to);
    for (std::size_t i = 0; i < from.size(); ++i) {
      out[i] = (write == Write::accumulate ? out[i] : 0.0F) + scale * from[i];
    }
  };
  if (!plain) write_out(weight, g.grad_weight);
  if (g.grad_bias != nullptr) write_out(bias, g.grad_bias);
}

const Conv3dFloat float_form{
    [](const Conv3dParams& p, const Conv3dForward& f) { convolve(DType::f32, p, f); },
    [](const Conv3dParams& p, const Conv3dGradInput& g) { grad_input({}, DType::f32, p, g); },
    [](const Conv3dParams& p, const Conv3dGradWeight& g) { grad_weight({}, DType::f32, p, g); },
};

const Implement registered[] = {
    {conv3d_forward, Device::cpu, forward},
    {conv3d_grad_input, Device::cpu, grad_input},
    {conv3d_grad_weight, Device::cpu, grad_weight},
};

}  // namespace
}  // namespace kernels
}  // namespace voxot
