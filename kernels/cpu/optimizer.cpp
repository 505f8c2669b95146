#include "kernels/optimizer.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/cpu/scalar.h"

namespace voxot::kernels {
namespace {

using namespace cpu;

template <class F>
void step_typed(const OptimizerParams& o, const OptimizerArrays& arrays) {
  const OptimizerScalars& s = *arrays.scalars;
  const std::int64_t count = arrays.count;
  const F* const g = static_cast<const F*>(arrays.gradient);
  F* const p = static_cast<F*>(arrays.parameter);
  F* const first = static_cast<F*>(arrays.first);
  F* const second = static_cast<F*>(arrays.second);
  const F lr = static_cast<F>(s.learning_rate);
  const F clip = static_cast<F>(s.clip);
  const bool decoupled = o.kind == OptimizerKind::adamw;
  const F decay = static_cast<F>(decoupled ? 0.0 : o.weight_decay);
  const F epsilon = static_cast<F>(o.epsilon);
  const F momentum = static_cast<F>(o.momentum);
  switch (o.kind) {
    case OptimizerKind::sgd:
      each(count, [=](std::int64_t i) {
        F d = clip * g[i] + decay * p[i];
        if (momentum != 0) d = first[i] = (s.step == 1 ? d : momentum * first[i] + d);
        p[i] -= lr * d;
      });
      return;
    case OptimizerKind::rmsprop: {
      const F alpha = static_cast<F>(o.alpha);
      each(count, [=](std::int64_t i) {
        const F d = clip * g[i] + decay * p[i];
        second[i] = alpha * second[i] + (F{1} - alpha) * d * d;
        F u = d / (std::sqrt(second[i]) + epsilon);
        if (momentum != 0) u = first[i] = momentum * first[i] + u;
        p[i] -= lr * u;
      });
      return;
    }
    case OptimizerKind::adam:
    case OptimizerKind::adamw: {
      const F b1 = static_cast<F>(o.beta1);
      const F b2 = static_cast<F>(o.beta2);
      const F rest1 = static_cast<F>(1.0 - o.beta1);
      const F rest2 = static_cast<F>(1.0 - o.beta2);
      const double t = static_cast<double>(s.step);
      const F size = static_cast<F>(s.learning_rate / (1.0 - std::pow(o.beta1, t)));
      const F root = static_cast<F>(1.0 / std::sqrt(1.0 - std::pow(o.beta2, t)));
      const F keep = static_cast<F>(decoupled ? 1.0 - s.learning_rate * o.weight_decay : 1.0);
      each(count, [=](std::int64_t i) {
        const F d = clip * g[i] + decay * p[i];
        first[i] = b1 * first[i] + rest1 * d;
        second[i] = b2 * second[i] + rest2 * d * d;
        p[i] = keep * p[i] - size * first[i] / (std::sqrt(second[i]) * root + epsilon);
      });
      return;
    }
  }
}

void step_cpu(const Stream&, DType dtype, const OptimizerParams& o, const OptimizerArrays& arrays) {
  VOXOT_CHECK(dtype != DType::bf16, "optimizer_step: master weights are fp32 or fp64");
  if (dtype == DType::f64) return step_typed<double>(o, arrays);
  step_typed<float>(o, arrays);
}

void clip_cpu(const Stream&, DType dtype, std::int64_t count, const void* gradient, double limit,
              OptimizerScalars* scalars) {
  with_type(dtype, [&]<class T>() {
    const T* g = static_cast<const T*>(gradient);
    double sum = 0;
    for (std::int64_t i = 0; i < count; ++i) {
      const double v = static_cast<double>(load(g[i]));
      sum += v * v;
    }
    scalars->clip = std::min(limit / (std::sqrt(sum) + 1e-6), 1.0);  // in this order NaN stays
  });
}

const Implement registered[] = {
    {optimizer_step, Device::cpu, step_cpu},
    {clip_factor, Device::cpu, clip_cpu},
};

}  // namespace
}  // namespace voxot::kernels
