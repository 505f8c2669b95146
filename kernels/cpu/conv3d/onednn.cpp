// Primitives, reordered weights and temporaries are made once for each set of parameters and kept; a stride-1
// grad_input runs as a forward convolution with mirrored weights, whose sum post-operation accumulates
// without another pass.
#include "kernels/cpu/conv3d/onednn.h"

#include <algorithm>
#include <map>
#include <memory>
#include <tuple>
#include <vector>

#include "kernels/cpu/onednn.h"
#include "kernels/cpu/scalar.h"
#include "kernels/resample.h"
#include "kernels/sizes.h"

namespace voxot::cpu {
namespace {

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
  plan->staged.resize(to_size(key.params.weight_count()));
  plan->bias.resize(to_size(key.params.out_channels));
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

const void* scaled(const void* values, float scale, std::vector<float>& staged) {
  if (scale == 1.0F) return values;
  const float* from = static_cast<const float*>(values);
  std::transform(from, from + staged.size(), staged.begin(), [scale](float v) { return scale * v; });
  return staged.data();
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

}  // namespace

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

void onednn_forward(DType dtype, const Conv3dParams& p, const Conv3dForward& f) {
  const Conv3dEpilogue& e = f.epilogue;
  // oneDNN's ReLU makes 0 of NaN; its leaky one, a choice in place of a maximum, passes it on.
  const bool relu = e.activation.kind == ActivationKind::relu ||
                    (e.activation.kind == ActivationKind::leaky_relu && e.activation.slope == 0);
  const Activation fused = relu ? Activation{} : e.activation;
  const Key key{Direction::forward, dtype, p, e.bias != nullptr, e.residual != nullptr, false, fused};
  Plan& plan = plan_for(key);
  pack_weights(plan, scaled(f.weight, e.scale, plan.staged));
  plan.run.point(0, f.x);
  plan.run.point(2, f.y);
  if (key.bias) plan.run.point(3, scaled(e.bias, e.scale, plan.bias));
  if (key.residual) plan.run.point(key.bias ? 4 : 3, e.residual);
  plan.run.run();
  if (relu) {
    kernels::activation_forward({}, dtype, e.activation, p.batch * p.out_voxels() * p.out_channels, f.y, f.y);
  }
}

void onednn_grad_input(DType dtype, const Conv3dParams& p, const Conv3dGradInput& g) {
  const bool accumulate = g.write == Write::accumulate;
  if (mirrors(p)) {
    Plan& plan = plan_for({Direction::mirrored, dtype, mirrored_params(p), false, false, accumulate, {}});
    mirror(p, static_cast<const float*>(g.weight), g.scale, plan.staged.data());
    pack_weights(plan, plan.staged.data());
    plan.run.point(0, g.grad_y);
    plan.run.point(2, g.grad_x);
    plan.run.run();
    return;
  }
  static thread_local std::vector<std::byte> temporary;
  const std::int64_t count = p.batch * p.in_voxels() * p.in_channels;
  if (accumulate) temporary.resize(std::max(temporary.size(), to_size(count) * size_of(dtype)));
  Plan& plan = plan_for({Direction::grad_input, dtype, p, false, false, false, {}});
  pack_weights(plan, scaled(g.weight, g.scale, plan.staged));
  plan.run.point(0, g.grad_y);
  plan.run.point(2, accumulate ? static_cast<void*>(temporary.data()) : g.grad_x);
  plan.run.run();
  if (!accumulate) return;
  with_type(dtype, [&]<class T>() {
    const T* result = reinterpret_cast<const T*>(temporary.data());
    T* to = static_cast<T*>(g.grad_x);
    each(count,
         [=](std::int64_t i) { put<Write::accumulate>(to[i], static_cast<Compute<T>>(load(result[i]))); });
  });
}

void onednn_grad_weight(DType dtype, const Conv3dParams& p, const Conv3dGradWeight& g) {
  Plan& plan = plan_for({Direction::grad_weight, dtype, p, g.grad_bias != nullptr, false, false, {}});
  plan.run.point(0, g.x);
  plan.run.point(1, g.grad_y);
  if (g.grad_bias != nullptr) plan.run.point(3, g.grad_bias);
  plan.run.run();
  plan.pack.point(0, plan.run.data(2));
  plan.pack.point(1, g.grad_weight);
  plan.pack.run();
}

}  // namespace voxot::cpu
