#include "benchmarks/sampled_conv3d.h"

#include <algorithm>
#include <cmath>

#include "kernels/philox.h"

namespace voxot::bench {
namespace {

using cuda::ConvPass;

constexpr std::int64_t kDrawn = 48;
constexpr float kScale = 0.1F;
constexpr double kSlope = 0.2;

using Place = std::array<std::int64_t, 3>;

/// Splits a voxel's number of a volume into D, H, W.
Place place_of(std::int64_t voxel, const Place& extent) {
  return {voxel / (extent[1] * extent[2]), voxel / extent[2] % extent[1], voxel % extent[2]};
}
std::int64_t voxel_of(const Place& at, const Place& extent) {
  return (at[0] * extent[1] + at[1]) * extent[2] + at[2];
}

/// The input voxel that `tap` of the kernel meets at output `out`, or −1 in the padding.
std::int64_t met(const Conv3dParams& p, const Place& out, const Place& tap) {
  Place in{};
  for (std::size_t a = 0; a < 3; ++a) {
    in[a] = out[a] * p.stride[a] - p.padding[a] + tap[a] * p.dilation[a];
    if (in[a] < 0 || in[a] >= p.in_extent[a]) return -1;
  }
  return voxel_of(in, p.in_extent);
}

}  // namespace

SampledConv3d::SampledConv3d(const Layer& layer, DType dtype) : layer_(layer) {
  const Conv3dParams& p = layer.params;
  const auto random = [](const Shape& shape, std::uint64_t draw, DType type, double deviation) {
    return Tensor::normal(shape, {7, Purpose::test, draw}, 0, deviation, type, Device::cuda);
  };
  const Shape in{p.batch, p.in_extent[0], p.in_extent[1], p.in_extent[2], p.in_channels};
  const auto o = p.out_extent();
  const Shape out{p.batch, o[0], o[1], o[2], p.out_channels};
  const Shape kernel{p.out_channels, p.kernel[0], p.kernel[1], p.kernel[2], p.in_channels};
  x_ = random(in, 0, dtype, 1);
  grad_y_ = random(out, 1, dtype, 1);
  // Rounded, so that the copy which a bf16 pass makes is exact and the error is the pass's own.
  weight_ = random(kernel, 2, DType::bf16, 0.1).to(DType::f32);
  bias_ = random({p.out_channels}, 3, DType::f32, 1);
  residual_ = random(out, 4, dtype, 1);
  y_ = Tensor::empty(out, dtype, Device::cuda);
  grad_x_ = Tensor::empty(in, dtype, Device::cuda);
  grad_weight_ = Tensor::empty(kernel, DType::f32, Device::cuda);
  const auto host = [](const Tensor& t) { return t.to(Device::cpu).to(DType::f32); };
  host_x_ = host(x_);
  host_grad_y_ = host(grad_y_);
  host_weight_ = host(weight_);
  host_bias_ = host(bias_);
  host_residual_ = host(residual_);
}

const Tensor& SampledConv3d::result(ConvPass pass) const {
  return pass == ConvPass::forward ? y_ : pass == ConvPass::grad_input ? grad_x_ : grad_weight_;
}

cuda::ConvCall SampledConv3d::call(ConvPass pass) const {
  cuda::ConvCall c;
  c.pass = pass;
  c.dtype = x_.dtype();
  c.params = layer_.params;
  c.input = pass == ConvPass::grad_input ? grad_y_.data() : x_.data();
  c.other = pass == ConvPass::grad_weight ? grad_y_.data() : weight_.data();
  c.output = result(pass).data();
  if (pass != ConvPass::forward) return c;
  c.epilogue.bias = bias_.data();
  if (layer_.leaky) c.epilogue.activation = {ActivationKind::leaky_relu, static_cast<float>(kSlope)};
  if (layer_.residual) {
    c.epilogue.residual = residual_.data();
    c.epilogue.scale = kScale;
  }
  return c;
}

std::vector<std::int64_t> SampledConv3d::drawn(ConvPass pass) const {
  Random random(11, Purpose::test, static_cast<std::uint64_t>(pass));
  const std::int64_t count = result(pass).count();
  std::vector<std::int64_t> all{0, count - 1};  // corners
  while (std::ssize(all) < std::min(kDrawn, count)) {
    all.push_back(static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(count))));
  }
  return all;
}

double SampledConv3d::forward_at(std::int64_t element) const {
  const Conv3dParams& p = layer_.params;
  const std::int64_t q = element % p.out_channels;
  const std::int64_t voxel = element / p.out_channels;
  const std::int64_t n = voxel / p.out_voxels();
  const Place out = place_of(voxel % p.out_voxels(), p.out_extent());
  double sum = host_bias_.as<float>()[q];
  for (std::int64_t k = 0; k < p.kernel_volume(); ++k) {
    const std::int64_t at = met(p, out, place_of(k, p.kernel));
    if (at < 0) continue;
    const float* x = host_x_.as<float>() + (n * p.in_voxels() + at) * p.in_channels;
    const float* w = host_weight_.as<float>() + (q * p.kernel_volume() + k) * p.in_channels;
    for (std::int64_t c = 0; c < p.in_channels; ++c) sum += static_cast<double>(x[c]) * w[c];
  }
  if (layer_.residual) sum = host_residual_.as<float>()[element] + static_cast<double>(kScale) * sum;
  return layer_.leaky && sum < 0 ? kSlope * sum : sum;
}

double SampledConv3d::grad_input_at(std::int64_t element) const {
  const Conv3dParams& p = layer_.params;
  const std::int64_t c = element % p.in_channels;
  const std::int64_t voxel = element / p.in_channels;
  const std::int64_t n = voxel / p.in_voxels();
  const Place in = place_of(voxel % p.in_voxels(), p.in_extent);
  const Place extent = p.out_extent();
  double sum = 0;
  for (std::int64_t k = 0; k < p.kernel_volume(); ++k) {
    const Place tap = place_of(k, p.kernel);
    Place out{};
    bool inside = true;
    for (std::size_t a = 0; a < 3; ++a) {
      const std::int64_t at = in[a] + p.padding[a] - tap[a] * p.dilation[a];
      out[a] = at / p.stride[a];
      inside = inside && at >= 0 && at % p.stride[a] == 0 && out[a] < extent[a];
    }
    if (!inside) continue;
    const float* g = host_grad_y_.as<float>() + (n * p.out_voxels() + voxel_of(out, extent)) * p.out_channels;
    for (std::int64_t q = 0; q < p.out_channels; ++q) {
      sum += static_cast<double>(g[q]) *
             host_weight_.as<float>()[(q * p.kernel_volume() + k) * p.in_channels + c];
    }
  }
  return sum;
}

double SampledConv3d::grad_weight_at(std::int64_t element) const {
  const Conv3dParams& p = layer_.params;
  const std::int64_t c = element % p.in_channels;
  const Place tap = place_of(element / p.in_channels % p.kernel_volume(), p.kernel);
  const std::int64_t q = element / p.in_channels / p.kernel_volume();
  double sum = 0;
  for (std::int64_t n = 0; n < p.batch; ++n) {
    for (std::int64_t o = 0; o < p.out_voxels(); ++o) {
      const std::int64_t at = met(p, place_of(o, p.out_extent()), tap);
      if (at < 0) continue;
      sum += static_cast<double>(host_x_.as<float>()[(n * p.in_voxels() + at) * p.in_channels + c]) *
             host_grad_y_.as<float>()[(n * p.out_voxels() + o) * p.out_channels + q];
    }
  }
  return sum;
}

std::vector<double> SampledConv3d::exact(ConvPass pass) const {
  const std::vector<std::int64_t> elements = drawn(pass);
  std::vector<double> all(elements.size());
#pragma omp parallel for schedule(dynamic)
  for (std::size_t i = 0; i < elements.size(); ++i) {
    all[i] = pass == ConvPass::forward      ? forward_at(elements[i])
             : pass == ConvPass::grad_input ? grad_input_at(elements[i])
                                            : grad_weight_at(elements[i]);
  }
  return all;
}

void SampledConv3d::poison(ConvPass pass) const { result(pass).fill(NAN); }

std::vector<double> SampledConv3d::values(ConvPass pass) const {
  const Tensor host = result(pass).to(Device::cpu).to(DType::f32);
  std::vector<double> all;
  for (const std::int64_t element : drawn(pass)) all.push_back(host.as<float>()[element]);
  return all;
}

bool SampledConv3d::finite(ConvPass pass) const {
  const Tensor host = result(pass).to(Device::cpu).to(DType::f32);
  // A sum that NaN and infinity survive, and the compiler turns into vector code.
  float sum = 0;
  for (std::int64_t i = 0; i < host.count(); ++i) sum += host.as<float>()[i] * 0;
  return sum == 0;
}

}  // namespace voxot::bench
