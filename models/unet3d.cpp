#include "models/unet3d.h"

#include "engine/ops/elementwise.h"
#include "engine/ops/pooling.h"
#include "engine/ops/resample.h"
#include "models/extents.h"

namespace voxot {
namespace {

constexpr Activation kRelu{ActivationKind::relu, 0};

class DoubleConv : public Module {
 public:
  DoubleConv(std::int64_t in, std::int64_t mid, std::int64_t out, const UNet3DOptions& o)
      : conv_0_(in, mid, axes(o.flat, 3, 1), same(o)),
        norm_0_(o.norm, mid),
        conv_1_(mid, out, axes(o.flat, 3, 1), same(o)),
        norm_1_(o.norm, out) {
    add(conv_0_, "double_conv.0");
    add(norm_0_, "double_conv.1");
    add(conv_1_, "double_conv.3");
    add(norm_1_, "double_conv.4");
  }
  Tensor operator()(Tape& tape, const Tensor& x) {
    return conv_norm_act(tape, conv_1_, norm_1_, conv_norm_act(tape, conv_0_, norm_0_, x, kRelu), kRelu);
  }

 private:
  static ops::Conv3dGeometry same(const UNet3DOptions& o) {
    return {{1, 1, 1}, axes(o.flat, 1, 0), {1, 1, 1}};
  }
  Conv3d conv_0_;
  Norm norm_0_;
  Conv3d conv_1_;
  Norm norm_1_;
};

class Down : public Module {
 public:
  Down(std::int64_t in, std::int64_t out, const UNet3DOptions& o)
      : window_{axes(o.flat, 2, 1), axes(o.flat, 2, 1), {0, 0, 0}}, conv_(in, out, out, o) {
    add(conv_, "maxpool_conv.1");
  }
  Tensor operator()(Tape& tape, const Tensor& x) { return conv_(tape, ops::max_pool3d(tape, x, window_)); }

 private:
  ops::PoolWindow window_;
  DoubleConv conv_;
};

class Up : public Module {
 public:
  Up(std::int64_t skip, std::int64_t below, std::int64_t out, const UNet3DOptions& o)
      : conv_(skip + below, (skip + below) / 2, out, o) {
    if (o.upsampling == UpsamplingKind::transposed) {
      const Extents twice = axes(o.flat, 2, 1);
      up_ = std::make_unique<ConvTranspose3d>(below, below, twice,
                                              ops::Conv3dGeometry{twice, {0, 0, 0}, {1, 1, 1}});
      add(*up_, "up");
    }
    add(conv_, "conv");
  }
  Tensor operator()(Tape& tape, const Tensor& below, const Tensor& skip) {
    if (up_ == nullptr) return conv_(tape, ops::concat_upsampled(tape, skip, below));
    return conv_(tape, ops::concat_channels(tape, skip, (*up_)(tape, below)));
  }

 private:
  std::unique_ptr<ConvTranspose3d> up_;
  DoubleConv conv_;
};

}  // namespace

struct UNet3D::Layers {
  explicit Layers(const UNet3DOptions& o)
      : inc(o.channels + o.noise_channels, o.base, o.base, o),
        down1(o.base, 2 * o.base, o),
        down2(2 * o.base, 4 * o.base, o),
        down3(4 * o.base, 4 * o.base, o),
        up2(4 * o.base, 4 * o.base, 2 * o.base, o),
        up3(2 * o.base, 2 * o.base, o.base, o),
        up4(o.base, o.base, o.base, o),
        outc(o.base, o.channels, 1, {}) {}
  DoubleConv inc;
  Down down1, down2, down3;
  Up up2, up3, up4;
  Conv3d outc;
};

UNet3D::UNet3D(const UNet3DOptions& options) : options_(options) {
  VOXOT_CHECK(options.channels >= 1 && options.base >= 1 && options.noise_channels >= 0,
              "UNet3D: channels {}, base {} and noise channels {} must be positive", options.channels,
              options.base, options.noise_channels);
  layers_ = std::make_unique<Layers>(options);
  add(layers_->inc, "inc");
  add(layers_->down1, "down1");
  add(layers_->down2, "down2");
  add(layers_->down3, "down3");
  add(layers_->up2, "up2");
  add(layers_->up3, "up3");
  add(layers_->up4, "up4");
  add(layers_->outc, "outc.conv");
}

UNet3D::~UNet3D() = default;

Tensor UNet3D::forward(Tape& tape, const Tensor& x, const Tensor& noise) {
  VOXOT_CHECK(x.shape().rank() == 5 && x.extent(4) == options_.channels,
              "UNet3D: input {} has not {} channels", x.shape().text(), options_.channels);
  const Extents extents{x.extent(1), x.extent(2), x.extent(3)};
  VOXOT_CHECK(options_.flat == (extents[0] == 1), "UNet3D: made for D {}, got {}",
              options_.flat ? "= 1" : "above 1", x.shape().text());
  VOXOT_CHECK(unet3d_takes(extents), "UNet3D: extents must be multiples of 8, got {}; {}", x.shape().text(),
              advice_on(extents, unet3d_takes));
  VOXOT_CHECK(noise.defined() == (options_.noise_channels > 0),
              "UNet3D: made with {} noise channels, called {} noise", options_.noise_channels,
              noise.defined() ? "with" : "without");
  Tensor input = x;
  if (noise.defined()) {
    VOXOT_CHECK(noise.shape().rank() == 5 && noise.extent(4) == options_.noise_channels,
                "UNet3D: noise {} has not {} channels", noise.shape().text(), options_.noise_channels);
    input = ops::concat_channels(tape, x, noise);
  }
  Layers& l = *layers_;
  const Tensor x1 = l.inc(tape, ops::cast(tape, input, compute_type(x, options_.compute)));
  const Tensor x2 = l.down1(tape, x1);
  const Tensor x3 = l.down2(tape, x2);
  const Tensor x4 = l.down3(tape, x3);
  const Tensor up = l.up4(tape, l.up3(tape, l.up2(tape, x4, x3), x2), x1);
  const Tensor u = ops::cast(tape, l.outc(tape, up), x.dtype());
  return options_.residual ? ops::add(tape, x, u) : u;
}

}  // namespace voxot
