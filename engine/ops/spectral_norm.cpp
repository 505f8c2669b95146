#include "engine/ops/spectral_norm.h"

#include "kernels/spectral_norm.h"

namespace voxot::ops {
namespace {

struct SpectralNormNode : Node {
  SpectralNormParams params;
  Tensor y, u, v, sigma;
  SlotRef weight_slot;

  void backward(Tensor grad) override {
    const auto to = weight_slot->destination();
    kernels::spectral_norm_backward(grad.stream(), grad.dtype(), params,
                                    {.y = y.data(),
                                     .u = u.data(),
                                     .v = v.data(),
                                     .sigma = sigma.data(),
                                     .grad_y = grad.data(),
                                     .grad_weight = to.data,
                                     .write = to.write});
  }
};

SpectralNormParams infer(const Tensor& weight, const Tensor& u, const Tensor& v) {
  VOXOT_CHECK(weight.shape().rank() >= 2 && weight.count() > 0, "spectral_norm: weight {} is no matrix",
              weight.shape().text());
  const SpectralNormParams p{weight.extent(0), weight.count() / weight.extent(0)};
  const auto fits = [&](const Tensor& vector, std::int64_t count) {
    return vector.shape() == Shape{count} && vector.dtype() == weight.dtype() &&
           vector.device() == weight.device();
  };
  VOXOT_CHECK(fits(u, p.rows) && fits(v, p.columns),
              "spectral_norm: vectors {} {} on {} and {} {} on {} for weight {} {} on {}", u.shape().text(),
              name_of(u.dtype()), name_of(u.device()), v.shape().text(), name_of(v.dtype()),
              name_of(v.device()), weight.shape().text(), name_of(weight.dtype()), name_of(weight.device()));
  return p;
}

}  // namespace

Tensor spectral_norm(Tape& tape, const Tensor& weight, const Tensor& u, const Tensor& v) {
  const SpectralNormParams params = infer(weight, u, v);
  const Tensor sigma = Tensor::empty({1}, weight.dtype(), weight.device());
  Tensor y = Tensor::empty(weight.shape(), weight.dtype(), weight.device());
  kernels::spectral_norm_forward(
      weight.stream(), weight.dtype(), params,
      {.weight = weight.data(), .u = u.data(), .v = v.data(), .sigma = sigma.data(), .y = y.data()});
  if (tape.records(weight)) {
    SpectralNormNode node;
    node.params = params;
    node.y = y.detached();
    node.u = u.clone();
    node.v = v.clone();
    node.sigma = sigma;
    node.weight_slot = Tape::slot(weight);
    tape.record(y, std::move(node));
  }
  return y;
}

void iterate_spectrum(const Tensor& weight, const Tensor& u, const Tensor& v, int times) {
  const SpectralNormParams params = infer(weight, u, v);
  for (int i = 0; i < times; ++i) {
    kernels::spectral_norm_iterate(weight.stream(), weight.dtype(), params, weight.data(), u.data(),
                                   v.data());
  }
}

}  // namespace voxot::ops
