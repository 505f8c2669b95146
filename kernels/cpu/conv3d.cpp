// Convolution, channels last: fp32 3³ stride 1 by Winograd where that wins, the rest on oneDNN. Primitives,
// reordered weights and temporaries are made once for each set of parameters and kept; a stride-1 grad_input
// runs as a forward convolution with mirrored weights, whose sum post-operation accumulates without another
// pass.
#include "kernels/conv3d.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <tuple>

#include "kernels/cpu/conv3d_naive.h"
#include "kernels/cpu/conv3d_winograd.h"
#include "kernels/cpu/onednn.h"

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
using dnnl::algorithm;
using dnnl::memory;
using Tag = memory::format_tag;

enum class Direction : std::uint8_t { forward, mirrored, grad_input, grad_weight };

struct Key {
  Direction direction;
  DType dtype;
  Conv3dParams params;
  bool bias;
  bool residual;
  bool accumulate;
  Activation activation;

  [[nodiscard]] auto tie() const {
    return std::tie(direction, dtype, params.batch, params.in_channels, params.out_channels, params.in_extent,
                    params.kernel, params.stride, params.padding, params.dilation, bias, residual, accumulate,
                    activation.kind, activation.slope);
  }
  bool operator<(const Key& other) const { return tie() < other.tie(); }
};

struct Plan {
  Bound run;
  Bound pack;  // weights: ours → the primitive's (forward, grad_input) or back (grad_weight)
  std::vector<float>
      staged;  // weights or gradients as fp32 in our order, when they must be scaled or mirrored
  std::vector<float> bias;
};

memory::dims dims(std::int64_t n, std::int64_t c, const std::array<std::int64_t, 3>& e) {
  return {n, c, e[0], e[1], e[2]};
}

struct Descriptors {
  memory::desc x, y, w, w_ours, bias;
  memory::dims stride, dilation, low, high;

  Descriptors(DType dtype, const Conv3dParams& p)
      : x(dims(p.batch, p.in_channels, p.in_extent), onednn_type(dtype), Tag::ndhwc),
        y(dims(p.batch, p.out_channels, p.out_extent()), onednn_type(dtype), Tag::ndhwc),
        w(dims(p.out_channels, p.in_channels, p.kernel), onednn_type(dtype), Tag::any),
        w_ours(dims(p.out_channels, p.in_channels, p.kernel), memory::data_type::f32, Tag::odhwi),
        bias({p.out_channels}, memory::data_type::f32, Tag::x) {
    const auto out = p.out_extent();
    for (std::size_t a = 0; a < 3; ++a) {
      stride.push_back(p.stride[a]);
      dilation.push_back(p.dilation[a] - 1);
      low.push_back(p.padding[a]);
      // oneDNN wants the padding that the last window really uses.
      high.push_back((out[a] - 1) * p.stride[a] + p.dilation[a] * (p.kernel[a] - 1) + 1 - p.in_extent[a] -
                     p.padding[a]);
    }
  }
};

Bound make_pack(const memory::desc& from, const memory::desc& to) {
  Bound pack(dnnl::reorder(dnnl::reorder::primitive_desc(onednn_engine(), from, onednn_engine(), to)));
  pack.declare(DNNL_ARG_FROM, from);
  pack.declare(DNNL_ARG_TO, to);
  return pack;
}

dnnl::convolution_forward::primitive_desc forward_desc(const Key& key, const Descriptors& d) {
  dnnl::primitive_attr attributes;
  dnnl::post_ops post;
  if (key.accumulate) post.append_sum(1.0F);
  if (key.residual) post.append_binary(algorithm::binary_add, d.y);
  if (key.activation.kind != ActivationKind::none) {
    post.append_eltwise(1.0F, algorithm::eltwise_relu, key.activation.slope, 0.0F);
  }
  attributes.set_post_ops(post);
  const auto prop = dnnl::prop_kind::forward_training;
  if (key.bias) {
    return {{prop, algorithm::convolution_direct, d.x, d.w, d.bias, d.y, d.stride, d.dilation, d.low, d.high},
            attributes,
            onednn_engine()};
  }
  return {{prop, algorithm::convolution_direct, d.x, d.w, d.y, d.stride, d.dilation, d.low, d.high},
          attributes,
          onednn_engine()};
}

std::unique_ptr<Plan> make_plan(const Key& key) {
  const Descriptors d(key.dtype, key.params);
  auto plan = std::make_unique<Plan>();
  plan->staged.resize(static_cast<std::size_t>(key.params.weight_count()));
  plan->bias.resize(static_cast<std::size_t>(key.params.out_channels));
  switch (key.direction) {
    case Direction::forward:
    case Direction::mirrored: {
      const auto desc = forward_desc(key, d);
      plan->run = Bound(dnnl::convolution_forward(desc));
      plan->run.declare(DNNL_ARG_SRC, d.x);
      plan->run.declare(DNNL_ARG_WEIGHTS, desc.weights_desc(), true);
      plan->run.declare(DNNL_ARG_DST, d.y);
      if (key.bias) plan->run.declare(DNNL_ARG_BIAS, d.bias);
      if (key.residual) plan->run.declare(DNNL_ARG_ATTR_MULTIPLE_POST_OP(0) | DNNL_ARG_SRC_1, d.y);
      plan->pack = make_pack(d.w_ours, desc.weights_desc());
      break;
    }
    case Direction::grad_input: {
      const Key hint_key{Direction::forward, key.dtype, key.params, false, false, false, {}};
      const auto hint = forward_desc(hint_key, d);
      const dnnl::convolution_backward_data::primitive_desc desc(
          {algorithm::convolution_direct, d.x, d.w, d.y, d.stride, d.dilation, d.low, d.high},
          onednn_engine(), hint);
      plan->run = Bound(dnnl::convolution_backward_data(desc));
      plan->run.declare(DNNL_ARG_DIFF_DST, d.y);
      plan->run.declare(DNNL_ARG_WEIGHTS, desc.weights_desc(), true);
      plan->run.declare(DNNL_ARG_DIFF_SRC, d.x);
      plan->pack = make_pack(d.w_ours, desc.weights_desc());
      break;
    }
    case Direction::grad_weight: {
      const Key hint_key{Direction::forward, key.dtype, key.params, key.bias, false, false, {}};
      const auto hint = forward_desc(hint_key, d);
      const memory::desc w(d.w.dims(), memory::data_type::f32, Tag::any);
      const auto op =
          key.bias ? dnnl::convolution_backward_weights::desc(algorithm::convolution_direct, d.x, w, d.bias,
                                                              d.y, d.stride, d.dilation, d.low, d.high)
                   : dnnl::convolution_backward_weights::desc(algorithm::convolution_direct, d.x, w, d.y,
                                                              d.stride, d.dilation, d.low, d.high);
      const dnnl::convolution_backward_weights::primitive_desc desc(op, onednn_engine(), hint);
      plan->run = Bound(dnnl::convolution_backward_weights(desc));
      plan->run.declare(DNNL_ARG_SRC, d.x);
      plan->run.declare(DNNL_ARG_DIFF_DST, d.y);
      plan->run.declare(DNNL_ARG_DIFF_WEIGHTS, desc.diff_weights_desc(), true);
      if (key.bias) plan->run.declare(DNNL_ARG_DIFF_BIAS, d.bias);
      plan->pack = make_pack(desc.diff_weights_desc(), d.w_ours);
      break;
    }
  }
  return plan;
}

Plan& plan_for(const Key& key) {
  static thread_local std::map<Key, std::unique_ptr<Plan>> plans;
  auto& plan = plans[key];
  if (plan == nullptr) plan = make_plan(key);
  return *plan;
}

/// Brings our weights into the primitive's layout and type.
void pack_weights(Plan& plan, const void* weights) {
  plan.pack.point(0, weights);
  plan.pack.point(1, plan.run.data(1));
  plan.pack.run();
}

/// One buffer for transformed weights, grown to the largest.
float* transformed_weights(const Conv3dParams& p) {
  static thread_local std::vector<float> buffer;
  buffer.resize(std::max(buffer.size(), winograd_weight_count(p)));
  return buffer.data();
}

const void* scaled(const void* values, float scale, std::vector<float>& staged) {
  if (scale == 1.0F) return values;
  const float* from = static_cast<const float*>(values);
  std::transform(from, from + staged.size(), staged.begin(), [scale](float v) { return scale * v; });
  return staged.data();
}

/// oneDNN 2.6 joins the residual wrongly in fp32 where a window lies in the padding altogether.
bool padding_swallows_window(const Conv3dParams& p) {
  for (std::size_t a = 0; a < 3; ++a) {
    if (p.padding[a] > p.dilation[a] * (p.kernel[a] - 1)) return true;
  }
  return false;
}

void convolve(DType dtype, const Conv3dParams& p, const void* x, const void* w, const Conv3dEpilogue& e,
              void* y) {
  if (dtype == DType::f64) {
    return conv3d_forward_naive(p, static_cast<const double*>(x), static_cast<const double*>(w), e,
                                static_cast<double*>(y));
  }
  if (dtype == DType::f32 && e.residual != nullptr && padding_swallows_window(p)) {
    return conv3d_forward_naive(p, static_cast<const float*>(x), static_cast<const float*>(w), e,
                                static_cast<float*>(y));
  }
  if (dtype == DType::f32 && winograd_eligible(p)) {
    static thread_local std::vector<float> bias;
    bias.resize(static_cast<std::size_t>(p.out_channels));
    float* const u = transformed_weights(p);
    winograd_transform_weights(p, static_cast<const float*>(w), e.scale, false, u);
    return winograd_forward(
        p, static_cast<const float*>(x), u,
        e.bias == nullptr ? nullptr : static_cast<const float*>(scaled(e.bias, e.scale, bias)),
        static_cast<const float*>(e.residual), e.activation, false, static_cast<float*>(y));
  }
  const Key key{Direction::forward, dtype, p, e.bias != nullptr, e.residual != nullptr, false, e.activation};
  Plan& plan = plan_for(key);
  pack_weights(plan, scaled(w, e.scale, plan.staged));
  plan.run.point(0, x);
  plan.run.point(2, y);
  if (key.bias) plan.run.point(3, scaled(e.bias, e.scale, plan.bias));
  if (key.residual) plan.run.point(key.bias ? 4 : 3, e.residual);
  plan.run.run();
}

void forward(const Stream& stream, DType dtype, const Conv3dParams& p, const void* x, const void* w,
             const Conv3dEpilogue& e, void* y) {
  convolve(dtype, p, x, w, e, y);
  const Conv3dStatistics& s = e.statistics;
  if (s.mean != nullptr) normalisation_statistics(stream, dtype, s.of(p), y, s.mean, s.variance);
}

/// w'[c, K − 1 − k, q] = scale·w[q, k, c]
void mirror(const Conv3dParams& p, const float* w, float scale, float* mirrored) {
  const std::int64_t taps = p.kernel_volume();
#pragma omp parallel for schedule(static) if (p.weight_count() > kParallelGrain)
  for (std::int64_t c = 0; c < p.in_channels; ++c) {
    for (std::int64_t k = 0; k < taps; ++k) {
      for (std::int64_t q = 0; q < p.out_channels; ++q) {
        mirrored[(c * taps + taps - 1 - k) * p.out_channels + q] =
            scale * w[(q * taps + k) * p.in_channels + c];
      }
    }
  }
}

/// The forward convolution that computes a stride-1 grad_input.
Conv3dParams mirrored_params(const Conv3dParams& p) {
  Conv3dParams m = p;
  std::swap(m.in_channels, m.out_channels);
  m.in_extent = p.out_extent();
  for (std::size_t a = 0; a < 3; ++a) m.padding[a] = p.dilation[a] * (p.kernel[a] - 1) - p.padding[a];
  return m;
}

bool mirrors(const Conv3dParams& p) {
  for (std::size_t a = 0; a < 3; ++a) {
    if (p.stride[a] != 1 || p.padding[a] > p.dilation[a] * (p.kernel[a] - 1)) return false;
  }
  return true;
}

constexpr std::int64_t kVectorChannels = 8;

/// `m` with its few output channels filled up to a vector, which is what Winograd writes.
Conv3dParams filled_up(Conv3dParams m) {
  m.out_channels = kVectorChannels;
  return m;
}

/// A stride-1 grad_input towards few channels: with channels of zeros added, whose results are dropped.
/// Several times faster than a direct convolution, whose vectors lie along the output channels too.
void grad_input_filled_up(const Conv3dParams& m, const float* gy, const float* w, float scale, float* gx,
                          bool accumulate) {
  const Conv3dParams wide = filled_up(m);
  const std::int64_t channels = m.out_channels;
  static thread_local std::vector<float> weights;
  weights.assign(static_cast<std::size_t>(wide.weight_count()), 0.0F);
  for (std::int64_t row = 0; row < m.in_channels * m.kernel_volume(); ++row) {
    std::copy_n(w + row * channels, channels, weights.data() + row * kVectorChannels);
  }
  float* const u = transformed_weights(wide);
  winograd_transform_weights(wide, weights.data(), scale, true, u);
  static thread_local std::vector<float> result;
  const std::int64_t voxels = m.batch * m.out_voxels();
  result.resize(std::max(result.size(), static_cast<std::size_t>(voxels * kVectorChannels)));
  winograd_forward(wide, gy, u, nullptr, nullptr, {}, false, result.data());
  const float* const from = result.data();
  each(voxels, [=](std::int64_t i) {
    for (std::int64_t c = 0; c < channels; ++c) {
      float& to = gx[i * channels + c];
      to = (accumulate ? to : 0.0F) + from[i * kVectorChannels + c];
    }
  });
}

void grad_input(const Stream&, DType dtype, const Conv3dParams& p, const void* gy, const void* w, float scale,
                void* gx, Write write) {
  if (dtype == DType::f64) {
    return conv3d_grad_input_naive(p, static_cast<const double*>(gy), static_cast<const double*>(w),
                                   static_cast<double>(scale), static_cast<double*>(gx), write);
  }
  const bool accumulate = write == Write::accumulate;
  if (mirrors(p)) {
    const Conv3dParams m = mirrored_params(p);
    if (dtype == DType::f32 && winograd_eligible(m)) {
      float* const u = transformed_weights(m);
      winograd_transform_weights(m, static_cast<const float*>(w), scale, true, u);
      return winograd_forward(m, static_cast<const float*>(gy), u, nullptr, nullptr, {}, accumulate,
                              static_cast<float*>(gx));
    }
    if (dtype == DType::f32 && m.out_channels < kVectorChannels && winograd_eligible(filled_up(m))) {
      return grad_input_filled_up(m, static_cast<const float*>(gy), static_cast<const float*>(w), scale,
                                  static_cast<float*>(gx), accumulate);
    }
    Plan& plan = plan_for({Direction::mirrored, dtype, m, false, false, accumulate, {}});
    mirror(p, static_cast<const float*>(w), scale, plan.staged.data());
    pack_weights(plan, plan.staged.data());
    plan.run.point(0, gy);
    plan.run.point(2, gx);
    return plan.run.run();
  }
  Plan& plan = plan_for({Direction::grad_input, dtype, p, false, false, false, {}});
  pack_weights(plan, scaled(w, scale, plan.staged));
  plan.run.point(0, gy);
  const std::int64_t count = p.batch * p.in_voxels() * p.in_channels;
  static thread_local std::vector<std::byte> temporary;
  if (accumulate)
    temporary.resize(std::max(temporary.size(), static_cast<std::size_t>(count) * size_of(dtype)));
  plan.run.point(2, accumulate ? static_cast<void*>(temporary.data()) : gx);
  plan.run.run();
  if (!accumulate) return;
  with_type(dtype, [&]<class T>() {
    const T* from = reinterpret_cast<const T*>(temporary.data());
    T* to = static_cast<T*>(gx);
    each(count,
         [=](std::int64_t i) { put<Write::accumulate>(to[i], static_cast<Compute<T>>(load(from[i]))); });
  });
}

void grad_weight(const Stream&, DType dtype, const Conv3dParams& p, const void* x, const void* gy,
                 float scale, void* gw, void* gb, Write write) {
  if (dtype == DType::f64) {
    return conv3d_grad_weight_naive(p, static_cast<const double*>(x), static_cast<const double*>(gy),
                                    static_cast<double>(scale), static_cast<double*>(gw),
                                    static_cast<double*>(gb), write);
  }
  const bool plain = scale == 1.0F && write == Write::overwrite;
  const auto write_out = [&](const std::vector<float>& from, void* to) {
    float* out = static_cast<float*>(to);
    for (std::size_t i = 0; i < from.size(); ++i) {
      out[i] = (write == Write::accumulate ? out[i] : 0.0F) + scale * from[i];
    }
  };
  if (dtype == DType::f32 && winograd_grad_weight_eligible(p)) {
    static thread_local std::vector<float> weight;
    static thread_local std::vector<float> bias;
    weight.resize(static_cast<std::size_t>(p.weight_count()));
    bias.resize(static_cast<std::size_t>(p.out_channels));
    winograd_grad_weight(p, static_cast<const float*>(x), static_cast<const float*>(gy),
                         plain ? static_cast<float*>(gw) : weight.data(),
                         gb == nullptr ? nullptr : bias.data());
    if (!plain) write_out(weight, gw);
    if (gb != nullptr) write_out(bias, gb);
    return;
  }
  Plan& plan = plan_for({Direction::grad_weight, dtype, p, gb != nullptr, false, false, {}});
  plan.run.point(0, x);
  plan.run.point(1, gy);
  if (gb != nullptr) plan.run.point(3, plan.bias.data());
  plan.run.run();
  plan.pack.point(0, plan.run.data(2));
  plan.pack.point(1, plain ? gw : plan.staged.data());
  plan.pack.run();
  if (!plain) write_out(plan.staged, gw);
  if (gb != nullptr) write_out(plan.bias, gb);
}

const Implement registered[] = {
    {conv3d_forward, Device::cpu, forward},
    {conv3d_grad_input, Device::cpu, grad_input},
    {conv3d_grad_weight, Device::cpu, grad_weight},
};

}  // namespace
}  // namespace kernels
}  // namespace voxot
