#include "models/resnet3d.h"

#include <algorithm>

#include "engine/ops/elementwise.h"
#include "engine/ops/pooling.h"
#include "models/extents.h"

namespace voxot {
namespace {

constexpr Activation kLeaky{ActivationKind::leaky_relu, 0.2F};

/// A 3³ convolution (3² of a flat volume) that keeps the extents.
struct Same : Conv3d {
  Same(std::int64_t in, std::int64_t out, bool flat)
      : Conv3d(in, out, axes(flat, 3, 1), {{1, 1, 1}, axes(flat, 1, 0), {1, 1, 1}}) {}
};

}  // namespace

struct ResNet3D::Block : Module {
  Block(std::int64_t in, std::int64_t out, double res_ratio, bool flat)
      : ratio(static_cast<float>(res_ratio)),
        conv_0(in, std::min(in, out), flat),
        conv_1(std::min(in, out), out, flat) {
    add(conv_0, "conv_0");
    add(conv_1, "conv_1");
    if (in == out) return;
    conv_s = std::make_unique<Conv3d>(in, out, 1, ops::Conv3dGeometry{}, false);
    add(*conv_s, "conv_s");
  }
  Tensor operator()(Tape& tape, const Tensor& x) const {
    ops::Conv3dFused first;
    first.activation = kLeaky;
    ops::Conv3dFused second;
    second.activation = kLeaky;
    second.scale = ratio;
    second.residual = conv_s == nullptr ? x : (*conv_s)(tape, x);
    return conv_1(tape, conv_0(tape, x, first), second);
  }
  float ratio;
  Same conv_0, conv_1;
  std::unique_ptr<Conv3d> conv_s;
};

ResNet3D::ResNet3D(const ResNet3DOptions& options)
    : options_(options),
      conv_img_(std::make_unique<Same>(options.channels, std::min(options.nf, options.nf_max),
                                       options.extent[0] == 1)) {
  const std::int64_t levels = resnet3d_levels(options.extent);
  VOXOT_CHECK(
      resnet3d_takes(options.extent),
      "ResNet3D: extents must be at least 4 and, at {} halvings, multiples of {}, got volumes of {}; {}",
      levels + 1, std::int64_t{2} << levels, text_of(options.extent),
      advice_on(options.extent, resnet3d_takes));
  const auto width = [&](std::int64_t i) { return std::min(options.nf << i, options.nf_max); };
  add(*conv_img_, "conv_img");
  const auto add_block = [&](std::int64_t in, std::int64_t out) {
    blocks_.push_back(std::make_unique<Block>(in, out, options.res_ratio, flat()));
    add(*blocks_.back(), "resnet." + std::to_string(blocks_.size() - 1));
  };
  for (std::int64_t i = 0; i <= levels; ++i) {
    if (i > 0) blocks_.push_back(nullptr);
    add_block(width(i), width(i));
    add_block(width(i), width(i + 1));
  }
  std::array<std::int64_t, 4> last{0, 0, 0, width(levels + 1)};
  for (std::size_t a = 0; a < 3; ++a) last[a] = std::max<std::int64_t>(1, options.extent[a] >> (levels + 1));
  fc_ = std::make_unique<Linear>(last, 1);
  add(*fc_, "fc");
  if (options.spectral_normalisation) use_spectral_norm();
}

ResNet3D::~ResNet3D() = default;

Tensor ResNet3D::forward(Tape& tape, const Tensor& y) {
  VOXOT_CHECK(y.shape().rank() == 5 && y.extent(1) == options_.extent[0] &&
                  y.extent(2) == options_.extent[1] && y.extent(3) == options_.extent[2] &&
                  y.extent(4) == options_.channels,
              "ResNet3D: made for N×{}×{}×{}×{}, got {}", options_.extent[0], options_.extent[1],
              options_.extent[2], options_.channels, y.shape().text());
  ops::Conv3dFused leaky;
  leaky.activation = kLeaky;
  Tensor h = (*conv_img_)(tape, ops::cast(tape, y, compute_type(y, options_.compute)), leaky);
  const Extents three = axes(flat(), 3, 1);
  const Extents two = axes(flat(), 2, 1);
  const Extents one = axes(flat(), 1, 0);
  for (const auto& block : blocks_) {
    h = block != nullptr ? (*block)(tape, h) : ops::average_pool3d(tape, h, {three, two, one});
  }
  h = ops::cast(tape, ops::max_pool3d(tape, h, {two, two, {0, 0, 0}}), y.dtype());
  return (*fc_)(tape, ops::reshape(tape, h, {h.extent(0), h.count() / h.extent(0)}));
}

}  // namespace voxot
