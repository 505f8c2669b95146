#include "models/mlp.h"

#include "engine/ops/elementwise.h"
#include "engine/ops/reduction.h"
#include "engine/ops/resample.h"

namespace voxot {
namespace {

std::int64_t voxels(const MlpOptions& o) { return o.volume[0] * o.volume[1] * o.volume[2]; }

Tensor flatten(Tape& tape, const Tensor& x) {
  return ops::reshape(tape, x, {x.extent(0), x.count() / x.extent(0)});
}

}  // namespace

Mlp::Mlp(std::int64_t in, const std::vector<std::int64_t>& hidden, std::int64_t out, Activation activation)
    : activation_(activation) {
  std::int64_t width = in;
  const auto add_layer = [&](std::int64_t next) {
    VOXOT_CHECK(width >= 1 && next >= 1, "Mlp: layer {}→{} is empty", width, next);
    layers_.push_back(std::make_unique<Linear>(width, next));
    add(*layers_.back(), "layers." + std::to_string(layers_.size() - 1));
    width = next;
  };
  for (const std::int64_t h : hidden) add_layer(h);
  add_layer(out);
}

Tensor Mlp::operator()(Tape& tape, const Tensor& x) const {
  Tensor h = x;
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    const bool last = i + 1 == layers_.size();
    h = (*layers_[i])(tape, h, last ? Activation{} : activation_);
  }
  return h;
}

MlpMap::MlpMap(const MlpOptions& o)
    : options_(o),
      mlp_(voxels(o) * (o.volume[3] + o.noise_channels), o.hidden, voxels(o) * o.volume[3], o.activation) {
  add(mlp_, "mlp");
  if (o.linear) {
    matrix_ = std::make_unique<Matrix>(voxels(o) * o.volume[3]);
    add(*matrix_, "linear");
  }
}

Tensor MlpMap::forward(Tape& tape, const Tensor& x, const Tensor& noise) {
  Tensor in = flatten(tape, x);
  if (options_.noise_channels > 0) {
    VOXOT_CHECK(noise.defined(), "MlpMap: made with {} noise channels, called without noise",
                options_.noise_channels);
    in = ops::concat_channels(tape, in, flatten(tape, noise));
  }
  Tensor out = mlp_(tape, in);
  if (matrix_ != nullptr) out = ops::add(tape, out, (*matrix_)(tape, flatten(tape, x)));
  const Tensor y = ops::reshape(tape, out, x.shape());
  return options_.residual ? ops::add(tape, x, y) : y;
}

MlpPotential::MlpPotential(const MlpOptions& o) : mlp_(voxels(o) * o.volume[3], o.hidden, 1, o.activation) {
  add(mlp_, "mlp");
  if (o.spectral_normalisation) use_spectral_norm();
  if (!o.quadratic) return;
  const std::int64_t size = voxels(o) * o.volume[3];
  scale_ = 2 / static_cast<double>(size);
  matrix_ = std::make_unique<Matrix>(size);
  add(*matrix_, "quadratic");
}

Tensor MlpPotential::forward(Tape& tape, const Tensor& y) {
  const Tensor flat = flatten(tape, y);
  const Tensor network = mlp_(tape, flat);
  if (matrix_ == nullptr) return network;
  const Tensor products = ops::mul(tape, flat, (*matrix_)(tape, flat));
  const Tensor form = ops::reshape(tape, ops::reduce(tape, products, Reduction::sum, 1), {flat.extent(0), 1});
  return ops::linear_combination(tape, scale_, network, scale_ / 2, form);
}

}  // namespace voxot
