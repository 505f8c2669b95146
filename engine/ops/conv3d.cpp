#include "engine/ops/conv3d.h"

#include <algorithm>

#include "kernels/elementwise.h"
#include "kernels/reduction.h"

namespace voxot::ops {
namespace {

DType parameter_type(DType dtype) { return dtype == DType::f64 ? DType::f64 : DType::f32; }

void check_parameter(const char* op, const char* name, const Tensor& p, const Tensor& x) {
  VOXOT_CHECK(p.dtype() == parameter_type(x.dtype()), "{}: {} is {}, input {} needs {}", op, name,
              name_of(p.dtype()), name_of(x.dtype()), name_of(parameter_type(x.dtype())));
  VOXOT_CHECK(p.device() == x.device(), "{}: {} is on {}, the input on {}", op, name, name_of(p.device()),
              name_of(x.device()));
}

const void* data_or_null(const Tensor& t) { return t.defined() ? t.data() : nullptr; }

/// The gradient of act(·) in place of `grad`, or in new memory when it is shared.
Tensor through_activation(const Activation& activation, const Tensor& saved, Tensor grad) {
  if (activation.kind == ActivationKind::none) return grad;
  Tensor result = grad.exclusive() ? grad : Tensor::empty(grad.shape(), grad.dtype(), grad.device());
  kernels::activation_backward(grad.stream(), grad.dtype(),
                               {.activation = activation,
                                .count = grad.count(),
                                .saved = saved.data(),
                                .grad_y = grad.data(),
                                .grad_x = result.data()});
  return result;
}

/// The bias's gradient by itself: scale·(sum over all voxels).
void bias_gradient(const Tensor& grad, float scale, const SlotRef& bias_slot) {
  const std::int64_t channels = grad.shape().back();
  const ReductionParams sum{Reduction::sum, 1, grad.count() / channels, channels};
  Tensor total = Tensor::empty({channels}, grad.dtype(), grad.device());
  kernels::reduce_forward(grad.stream(), grad.dtype(), sum, grad.data(), total.data());
  if (scale != 1) {
    kernels::axpby(
        total.stream(), total.dtype(),
        {.count = channels, .a = static_cast<double>(scale), .x = total.data(), .b = 0, .y = total.data()});
  }
  bias_slot->give(std::move(total));
}

void weight_gradient(const Conv3dParams& params, const Tensor& x, const Tensor& grad, float scale,
                     const SlotRef& weight_slot, const SlotRef& bias_slot) {
  if (weight_slot == nullptr) {
    if (bias_slot != nullptr) bias_gradient(grad, scale, bias_slot);
    return;
  }
  // Of two uses of a layer, the second may find a bias that gathers and a weight made anew (normalised).
  const bool together = bias_slot != nullptr && bias_slot->ready == weight_slot->ready;
  const auto w = weight_slot->destination();
  void* const b = together ? bias_slot->destination().data : nullptr;
  kernels::conv3d_grad_weight(x.stream(), x.dtype(), params,
                              {.x = x.data(),
                               .grad_y = grad.data(),
                               .scale = scale,
                               .grad_weight = w.data,
                               .grad_bias = b,
                               .write = w.write});
  if (bias_slot != nullptr && !together) bias_gradient(grad, scale, bias_slot);
}

/// Of conv3d and linear.
struct Conv3dNode : Node {
  Conv3dParams params;
  Activation activation;
  float scale = 1;
  Tensor x;       // saved when the weight's gradient is wanted
  Tensor weight;  // saved when the input's gradient is wanted
  Tensor saved;   // what the activation's gradient needs: its argument or y
  SlotRef x_slot, weight_slot, bias_slot, residual_slot;

  void backward(Tensor grad) override {
    Tensor g = through_activation(activation, saved, std::move(grad));
    saved = {};
    weight_gradient(params, x, g, scale, weight_slot, bias_slot);
    if (x_slot != nullptr) {
      const auto to = x_slot->destination();
      kernels::conv3d_grad_input(g.stream(), g.dtype(), params,
                                 {.grad_y = g.data(),
                                  .weight = weight.data(),
                                  .scale = scale,
                                  .grad_x = to.data,
                                  .write = to.write});
    }
    if (residual_slot != nullptr) residual_slot->give(std::move(g));
  }
};

bool rides_in_epilogue(ActivationKind kind) {
  return kind == ActivationKind::none || kind == ActivationKind::relu || kind == ActivationKind::leaky_relu;
}

void check_bias(const char* op, const Tensor& bias, const Tensor& x, std::int64_t channels) {
  if (!bias.defined()) return;
  check_parameter(op, "bias", bias, x);
  VOXOT_CHECK(bias.shape() == Shape{channels}, "{}: bias {} for {} output channels", op, bias.shape().text(),
              channels);
}

/// act(residual + scale·(x ∗ weight + bias)), all of it checked, into y, recorded. An activation that no
/// epilogue has follows in a pass of its own: what its gradient needs would be stored in any case.
Tensor convolve(Tape& tape, const Conv3dParams& params, const Tensor& x, const Tensor& weight,
                const Tensor& bias, const Conv3dFused& fused, Tensor y) {
  const Activation act = fused.activation;
  const bool rides = rides_in_epilogue(act.kind);
  const bool records = tape.records(x, weight, bias, fused.residual);
  Conv3dEpilogue epilogue{
      data_or_null(bias), data_or_null(fused.residual), fused.scale, rides ? act : Activation{}, {}};
  if (fused.moments != nullptr && rides) {
    Moments& m = *fused.moments;
    m.make_room(y);
    epilogue.statistics = {m.each_sample ? params.batch : 1, m.groups, m.mean.data(), m.variance.data()};
  }
  kernels::conv3d_forward(x.stream(), x.dtype(), params,
                          {.x = x.data(), .weight = weight.data(), .epilogue = epilogue, .y = y.data()});
  const Tensor argument = y;
  if (!rides) {
    if (records && act.saves_input()) y = Tensor::empty(y.shape(), y.dtype(), y.device());
    kernels::activation_forward(y.stream(), y.dtype(), act, y.count(), argument.data(), y.data());
  }
  if (records) {
    Conv3dNode node;
    node.params = params;
    node.activation = act;
    node.scale = fused.scale;
    node.x_slot = Tape::slot(x);
    node.weight_slot = Tape::slot(weight);
    node.bias_slot = Tape::slot(bias);
    node.residual_slot = Tape::slot(fused.residual);
    if (node.weight_slot != nullptr) node.x = x.detached();
    if (node.x_slot != nullptr) node.weight = weight.detached();
    if (act.kind != ActivationKind::none) node.saved = (act.saves_input() ? argument : y).detached();
    tape.record(y, std::move(node));
  }
  return y;
}

Conv3dParams infer(const Tensor& x, const Tensor& weight, const Conv3dGeometry& geometry) {
  VOXOT_CHECK(x.shape().rank() == 5, "conv3d: input {} is not N×D×H×W×C", x.shape().text());
  VOXOT_CHECK(weight.shape().rank() == 5, "conv3d: weight {} is not C_out×kD×kH×kW×C_in",
              weight.shape().text());
  VOXOT_CHECK(weight.extent(4) == x.extent(4),
              "conv3d: weight has {} input channels, input has {} (input {})", weight.extent(4), x.extent(4),
              x.shape().text());
  check_parameter("conv3d", "weight", weight, x);
  Conv3dParams p;
  p.batch = x.extent(0);
  p.in_channels = x.extent(4);
  p.out_channels = weight.extent(0);
  p.in_extent = {x.extent(1), x.extent(2), x.extent(3)};
  p.kernel = {weight.extent(1), weight.extent(2), weight.extent(3)};
  p.stride = geometry.stride;
  p.padding = geometry.padding;
  p.dilation = geometry.dilation;
  p.validate();
  return p;
}

Shape output_shape(const Conv3dParams& p) {
  const auto o = p.out_extent();
  return {p.batch, o[0], o[1], o[2], p.out_channels};
}

}  // namespace

Tensor conv3d(Tape& tape, const Tensor& x, const Tensor& weight, const Tensor& bias,
              const Conv3dGeometry& geometry, const Conv3dFused& fused) {
  const Conv3dParams params = infer(x, weight, geometry);
  check_bias("conv3d", bias, x, params.out_channels);
  Tensor y = Tensor::empty(output_shape(params), x.dtype(), x.device());
  if (fused.residual.defined()) {
    VOXOT_CHECK(fused.residual.shape() == y.shape() && fused.residual.dtype() == y.dtype(),
                "conv3d: residual {} {} for output {} {}", fused.residual.shape().text(),
                name_of(fused.residual.dtype()), y.shape().text(), name_of(y.dtype()));
  }
  if (fused.moments != nullptr) {
    VOXOT_CHECK(fused.moments->groups >= 1 && params.out_channels % fused.moments->groups == 0,
                "conv3d: {} output channels do not fall into {} groups", params.out_channels,
                fused.moments->groups);
  }
  return convolve(tape, params, x, weight, bias, fused, std::move(y));
}

namespace {

struct ConvTranspose3dNode : Node {
  Conv3dParams params;  // of the convolution whose transpose this is
  Tensor x;
  Tensor weight;
  SlotRef x_slot, weight_slot, bias_slot;

  void backward(Tensor g) override {
    // The convolution's input gradient is this op's output, so input and output gradient change places.
    if (weight_slot != nullptr) {
      const auto w = weight_slot->destination();
      kernels::conv3d_grad_weight(
          g.stream(), g.dtype(), params,
          {.x = g.data(), .grad_y = x.data(), .grad_weight = w.data, .write = w.write});
    }
    if (bias_slot != nullptr) bias_gradient(g, 1, bias_slot);
    if (x_slot != nullptr) {
      Tensor grad_x = Tensor::empty(x_slot->shape, g.dtype(), g.device());
      kernels::conv3d_forward(g.stream(), g.dtype(), params,
                              {.x = g.data(), .weight = weight.data(), .y = grad_x.data()});
      x_slot->give(std::move(grad_x));
    }
  }
};

}  // namespace

Tensor conv_transpose3d(Tape& tape, const Tensor& x, const Tensor& weight, const Tensor& bias,
                        const Conv3dGeometry& geometry, const std::array<std::int64_t, 3>& output_padding) {
  VOXOT_CHECK(x.shape().rank() == 5, "conv_transpose3d: input {} is not N×D×H×W×C", x.shape().text());
  VOXOT_CHECK(weight.shape().rank() == 5 && weight.extent(0) == x.extent(4),
              "conv_transpose3d: weight {} has {} input channels, input has {} (input {})",
              weight.shape().text(), weight.shape().rank() == 5 ? weight.extent(0) : 0, x.extent(4),
              x.shape().text());
  check_parameter("conv_transpose3d", "weight", weight, x);
  Conv3dParams p;
  p.batch = x.extent(0);
  p.in_channels = weight.extent(4);
  p.out_channels = weight.extent(0);
  p.kernel = {weight.extent(1), weight.extent(2), weight.extent(3)};
  p.stride = geometry.stride;
  p.padding = geometry.padding;
  p.dilation = geometry.dilation;
  for (std::size_t a = 0; a < 3; ++a) {
    VOXOT_CHECK(output_padding[a] >= 0 && output_padding[a] < std::max(p.stride[a], p.dilation[a]),
                "conv_transpose3d: output padding {} must be below stride {} or dilation {}",
                output_padding[a], p.stride[a], p.dilation[a]);
    p.in_extent[a] = (x.extent(a + 1) - 1) * p.stride[a] - 2 * p.padding[a] +
                     p.dilation[a] * (p.kernel[a] - 1) + 1 + output_padding[a];
  }
  check_bias("conv_transpose3d", bias, x, p.in_channels);
  p.validate();
  Tensor y = Tensor::empty({p.batch, p.in_extent[0], p.in_extent[1], p.in_extent[2], p.in_channels},
                           x.dtype(), x.device());
  kernels::conv3d_grad_input(x.stream(), x.dtype(), p,
                             {.grad_y = x.data(), .weight = weight.data(), .grad_x = y.data()});
  if (bias.defined()) {
    kernels::add_bias(y.stream(), y.dtype(), y.count() / p.in_channels, p.in_channels, bias.data(), y.data());
  }
  if (tape.records(x, weight, bias)) {
    ConvTranspose3dNode node;
    node.params = p;
    node.x_slot = Tape::slot(x);
    node.weight_slot = Tape::slot(weight);
    node.bias_slot = Tape::slot(bias);
    if (node.weight_slot != nullptr) node.x = x.detached();
    if (node.x_slot != nullptr) node.weight = weight.detached();
    tape.record(y, std::move(node));
  }
  return y;
}

Tensor linear(Tape& tape, const Tensor& x, const Tensor& weight, const Tensor& bias, Activation activation) {
  VOXOT_CHECK(x.shape().rank() == 2, "linear: input {} is not N×C", x.shape().text());
  VOXOT_CHECK(weight.shape().rank() == 2 && weight.extent(1) == x.extent(1),
              "linear: weight {} (C_out×C_in) for input {}", weight.shape().text(), x.shape().text());
  check_parameter("linear", "weight", weight, x);
  Conv3dParams p;
  p.in_extent = {1, 1, x.extent(0)};
  p.in_channels = x.extent(1);
  p.out_channels = weight.extent(0);
  p.validate();
  check_bias("linear", bias, x, p.out_channels);
  Conv3dFused fused;
  fused.activation = activation;
  return convolve(tape, p, x, weight, bias, fused,
                  Tensor::empty({x.extent(0), p.out_channels}, x.dtype(), x.device()));
}

}  // namespace voxot::ops
