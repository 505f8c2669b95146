#include "engine/ops/normalisation.h"

#include "kernels/elementwise.h"

namespace voxot::ops {
namespace {

struct NormalisationNode : Node {
  NormalisationParams params;
  bool statistics_fixed = false;
  Tensor x, mean, variance, gamma, beta;
  SlotRef x_slot, gamma_slot, beta_slot;

  void backward(Tensor grad) override {
    kernels::NormalisationGradients g{};
    g.x = x.data();
    g.grad_y = grad.data();
    g.mean = mean.data();
    g.variance = variance.data();
    g.gamma = gamma.defined() ? gamma.data() : nullptr;
    g.beta = beta.defined() ? beta.data() : nullptr;
    g.statistics_fixed = statistics_fixed;
    if (gamma_slot != nullptr) {
      const auto to = gamma_slot->destination();
      g.grad_gamma = to.data;
      g.parameter_write = to.write;
    }
    if (beta_slot != nullptr) {
      const auto to = beta_slot->destination();
      g.grad_beta = to.data;
      VOXOT_CHECK(gamma_slot == nullptr || to.write == g.parameter_write,
                  "normalisation: γ and β must gather gradients alike");
      g.parameter_write = to.write;
    }
    const bool in_place = x_slot != nullptr && !x_slot->ready && !x_slot->persistent && grad.exclusive();
    if (in_place) {
      g.grad_x = grad.data();
    } else if (x_slot != nullptr) {
      const auto to = x_slot->destination();
      g.grad_x = to.data;
      g.grad_x_write = to.write;
    }
    kernels::normalisation_backward(x.stream(), x.dtype(), params, g);
    if (in_place) x_slot->give(std::move(grad));
  }
};

Tensor normalise(Tape& tape, const Tensor& x, const NormalisationParams& p, const Tensor& mean,
                 const Tensor& variance, const Tensor& gamma, const Tensor& beta, bool statistics_fixed) {
  Tensor y = Tensor::empty(x.shape(), x.dtype(), x.device());
  kernels::normalisation_forward(x.stream(), x.dtype(), p,
                                 {.x = x.data(),
                                  .mean = mean.data(),
                                  .variance = variance.data(),
                                  .gamma = gamma.defined() ? gamma.data() : nullptr,
                                  .beta = beta.defined() ? beta.data() : nullptr,
                                  .y = y.data()});
  if (tape.records(x, gamma, beta)) {
    NormalisationNode node;
    node.params = p;
    node.statistics_fixed = statistics_fixed;
    node.x = x.detached();
    node.mean = mean;
    node.variance = variance;
    if (gamma.defined()) node.gamma = gamma.detached();
    if (beta.defined()) node.beta = beta.detached();
    node.x_slot = Tape::slot(x);
    node.gamma_slot = Tape::slot(gamma);
    node.beta_slot = Tape::slot(beta);
    tape.record(y, std::move(node));
  }
  return y;
}

void check_channels(const char* op, const char* name, const Tensor& t, const Tensor& x) {
  if (!t.defined()) return;
  VOXOT_CHECK(t.shape() == Shape{x.shape().back()}, "{}: {} {} for {} channels (input {})", op, name,
              t.shape().text(), x.shape().back(), x.shape().text());
  const DType wanted = x.dtype() == DType::f64 ? DType::f64 : DType::f32;
  VOXOT_CHECK(t.dtype() == wanted, "{}: {} is {}, input {} needs {}", op, name, name_of(t.dtype()),
              name_of(x.dtype()), name_of(wanted));
}

/// The moments of x: those that are known, else taken now.
Moments moments_of(const char* op, const Tensor& x, const NormalisationParams& p, bool each_sample,
                   const Moments& known) {
  Moments m{each_sample, p.groups, {}, {}};
  m.make_room(x);
  if (!known.mean.defined()) {
    kernels::normalisation_statistics(x.stream(), x.dtype(), p, x.data(), m.mean.data(), m.variance.data());
    return m;
  }
  VOXOT_CHECK(known.mean.shape() == m.mean.shape() && known.mean.dtype() == m.mean.dtype(),
              "{}: moments {} {} for input {} {}", op, known.mean.shape().text(), name_of(known.mean.dtype()),
              x.shape().text(), name_of(x.dtype()));
  return known;
}

}  // namespace

void Moments::make_room(const Tensor& x) {
  const Shape shape = each_sample ? Shape{x.extent(0), groups} : Shape{groups};
  const DType dtype = x.dtype() == DType::f64 ? DType::f64 : DType::f32;
  mean = Tensor::empty(shape, dtype, x.device());
  variance = Tensor::empty(shape, dtype, x.device());
}

Tensor batch_norm(Tape& tape, const Tensor& x, const Tensor& gamma, const Tensor& beta,
                  const Tensor& running_mean, const Tensor& running_variance,
                  const BatchNormOptions& options) {
  VOXOT_CHECK(x.shape().rank() >= 2, "batch_norm: input {} has no channels axis", x.shape().text());
  check_channels("batch_norm", "weight", gamma, x);
  check_channels("batch_norm", "bias", beta, x);
  check_channels("batch_norm", "running_mean", running_mean, x);
  check_channels("batch_norm", "running_var", running_variance, x);
  NormalisationParams p;
  p.channels = x.shape().back();
  p.rows = x.count() / p.channels;
  p.groups = p.channels;
  p.epsilon = options.epsilon;
  p.activation = options.activation;
  if (!options.training) {
    return normalise(tape, x, p, running_mean.clone(), running_variance.clone(), gamma, beta, true);
  }
  VOXOT_CHECK(p.rows > 1, "batch_norm: training needs more than one value per channel (input {})",
              x.shape().text());
  const Moments batch = moments_of("batch_norm", x, p, false, options.moments);
  if (running_mean.defined() && running_variance.defined()) {
    const double m = options.momentum;
    const double unbiased = static_cast<double>(p.rows) / static_cast<double>(p.rows - 1);
    const DType type = batch.mean.dtype();
    kernels::axpby(
        x.stream(), type,
        {.count = p.channels, .a = m, .x = batch.mean.data(), .b = 1 - m, .y = running_mean.data()});
    kernels::axpby(x.stream(), type,
                   {.count = p.channels,
                    .a = m * unbiased,
                    .x = batch.variance.data(),
                    .b = 1 - m,
                    .y = running_variance.data()});
  }
  return normalise(tape, x, p, batch.mean, batch.variance, gamma, beta, false);
}

Tensor group_norm(Tape& tape, const Tensor& x, std::int64_t groups, const Tensor& gamma, const Tensor& beta,
                  const NormOptions& options) {
  VOXOT_CHECK(x.shape().rank() >= 2, "group_norm: input {} has no channels axis", x.shape().text());
  NormalisationParams p;
  p.channels = x.shape().back();
  VOXOT_CHECK(groups >= 1 && p.channels % groups == 0, "group_norm: {} channels do not fall into {} groups",
              p.channels, groups);
  check_channels("group_norm", "weight", gamma, x);
  check_channels("group_norm", "bias", beta, x);
  p.outer = x.extent(0);
  p.rows = x.count() / p.outer / p.channels;
  p.groups = groups;
  p.epsilon = options.epsilon;
  p.activation = options.activation;
  const Moments own = moments_of("group_norm", x, p, true, options.moments);
  return normalise(tape, x, p, own.mean, own.variance, gamma, beta, false);
}

}  // namespace voxot::ops
