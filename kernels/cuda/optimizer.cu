// kernels/optimizer.h. The update is one pass over the flat buffers, 16 bytes at a time where all are
// aligned; what depends on the step is worked out in double once for each block, of which there are few. The
// gradient's norm is by ordered_sum.cuh.
//
// Launch: at most 2,048 blocks of up to 256 threads, which stride over the parameters.
#include "kernels/optimizer.h"

#include <cmath>

#include "kernels/cuda/ordered_sum.cuh"

namespace voxot::kernels {
namespace {

using namespace cuda;

/// What a step multiplies with, in the parameters' type.
template <class F>
struct Factors {
  F rate;
  F clip;
  F decay;  // L2's
  F keep;   // 1 − AdamW's decay
  F momentum;
  F beta1;  // or alpha
  F beta2;
  F rest1;
  F rest2;
  F root;  // 1/√(1 − β₂ᵗ)
  F epsilon;
  bool first_step;
};

template <class F>
VOXOT_DEVICE Factors<F> factors_of(const OptimizerParams& o, const OptimizerScalars& s) {
  const bool adam = o.kind == OptimizerKind::adam || o.kind == OptimizerKind::adamw;
  const bool decoupled = o.kind == OptimizerKind::adamw;
  const auto t = static_cast<double>(s.step);
  Factors<F> f{};
  f.rate = static_cast<F>(adam ? s.learning_rate / (1.0 - std::pow(o.beta1, t)) : s.learning_rate);
  f.clip = static_cast<F>(s.clip);
  f.decay = static_cast<F>(decoupled ? 0.0 : o.weight_decay);
  f.keep = static_cast<F>(decoupled ? 1.0 - s.learning_rate * o.weight_decay : 1.0);
  f.momentum = static_cast<F>(o.momentum);
  f.beta1 = static_cast<F>(adam ? o.beta1 : o.alpha);
  f.beta2 = static_cast<F>(o.beta2);
  f.rest1 = static_cast<F>(1.0 - o.beta1);
  f.rest2 = static_cast<F>(1.0 - o.beta2);
  f.root = static_cast<F>(adam ? 1.0 / std::sqrt(1.0 - std::pow(o.beta2, t)) : 0.0);
  f.epsilon = static_cast<F>(o.epsilon);
  f.first_step = s.step == 1;
  return f;
}

// The rules: kFirst and kSecond say which state they read and write.

struct Sgd {
  static constexpr bool kFirst = false;
  static constexpr bool kSecond = false;
  template <class F>
  VOXOT_DEVICE void operator()(const Factors<F>& f, F g, F& p, F&, F&) const {
    p -= f.rate * (f.clip * g + f.decay * p);
  }
};

struct SgdMomentum {
  static constexpr bool kFirst = true;
  static constexpr bool kSecond = false;
  template <class F>
  VOXOT_DEVICE void operator()(const Factors<F>& f, F g, F& p, F& first, F&) const {
    const F d = f.clip * g + f.decay * p;
    first = f.first_step ? d : f.momentum * first + d;
    p -= f.rate * first;
  }
};

template <bool Momentum>
struct RmsProp {
  static constexpr bool kFirst = Momentum;
  static constexpr bool kSecond = true;
  template <class F>
  VOXOT_DEVICE void operator()(const Factors<F>& f, F g, F& p, F& first, F& second) const {
    const F d = f.clip * g + f.decay * p;
    second = f.beta1 * second + (F{1} - f.beta1) * d * d;
    F u = d / (std::sqrt(second) + f.epsilon);
    if constexpr (Momentum) u = first = f.momentum * first + u;
    p -= f.rate * u;
  }
};

struct Adam {
  static constexpr bool kFirst = true;
  static constexpr bool kSecond = true;
  template <class F>
  VOXOT_DEVICE void operator()(const Factors<F>& f, F g, F& p, F& first, F& second) const {
    const F d = f.clip * g + f.decay * p;
    first = f.beta1 * first + f.rest1 * d;
    second = f.beta2 * second + f.rest2 * d * d;
    p = f.keep * p - f.rate * first / (std::sqrt(second) * f.root + f.epsilon);
  }
};

/// Elements i to i + V − 1. A state that the rule leaves alone may be null.
template <int V, class Rule, class F>
VOXOT_DEVICE void step_vector(Rule rule, const Factors<F>& factors, std::int64_t i, const F* gradient,
                              F* parameter, F* first, F* second) {
  const simt::Vector<F, V> g = load_vector<V>(gradient + i);
  simt::Vector<F, V> p = load_vector<V>(parameter + i);
  simt::Vector<F, V> m{};
  simt::Vector<F, V> v{};
  if constexpr (Rule::kFirst) m = load_vector<V>(first + i);
  if constexpr (Rule::kSecond) v = load_vector<V>(second + i);
  VOXOT_UNROLL
  for (int k = 0; k < V; ++k) rule(factors, g.values[k], p.values[k], m.values[k], v.values[k]);
  store_vector<V>(parameter + i, p);
  if constexpr (Rule::kFirst) store_vector<V>(first + i, m);
  if constexpr (Rule::kSecond) store_vector<V>(second + i, v);
}

constexpr int kThreads = 256;
constexpr std::int64_t kMostBlocks = 2048;

template <int V, class Rule, class F>
VOXOT_KERNEL void VOXOT_LAUNCH_BOUNDS(kThreads, 1)
    step_kernel(OptimizerParams params, const OptimizerScalars* scalars, std::int64_t count,
                const F* gradient, F* parameter, F* first, F* second) {
  VOXOT_SHARED(shared, Factors<F>);
  if (simt::thread_index().x == 0) shared = factors_of<F>(params, *scalars);
  simt::sync_block();
  const Factors<F> factors = shared;
  const std::int64_t stride = simt::global_threads() * V;
  for (std::int64_t i = simt::global_thread() * V; i < count; i += stride) {
    if (i + V <= count) {
      step_vector<V>(Rule{}, factors, i, gradient, parameter, first, second);
    } else {
      for (std::int64_t k = i; k < count; ++k) {
        step_vector<1>(Rule{}, factors, k, gradient, parameter, first, second);
      }
    }
  }
}

/// Calls body(rule).
template <class Body>
void with_rule(const OptimizerParams& o, Body&& body) {
  switch (o.kind) {
    case OptimizerKind::sgd:
      if (o.momentum != 0) return body(SgdMomentum{});
      return body(Sgd{});
    case OptimizerKind::rmsprop:
      if (o.momentum != 0) return body(RmsProp<true>{});
      return body(RmsProp<false>{});
    case OptimizerKind::adam:
    case OptimizerKind::adamw:
      return body(Adam{});
  }
}

template <class F>
void step_typed(const Stream& stream, const OptimizerParams& params, const OptimizerArrays& arrays) {
  const std::int64_t count = arrays.count;
  const F* const gradient = static_cast<const F*>(arrays.gradient);
  F* const parameter = static_cast<F*>(arrays.parameter);
  F* const first = static_cast<F*>(arrays.first);
  F* const second = static_cast<F*>(arrays.second);
  constexpr int kVector = vector_size<F>();
  // States that a rule leaves alone are null, which is aligned.
  const bool vectors = aligned(gradient) && aligned(parameter) && aligned(first) && aligned(second);
  with_rule(params, [&]<class Rule>(Rule) {
    void (*kernel)(OptimizerParams, const OptimizerScalars*, std::int64_t, const F*, F*, F*, F*) =
        vectors ? step_kernel<kVector, Rule, F> : step_kernel<1, Rule, F>;
    const int vector = vectors ? kVector : 1;
    const unsigned threads = threads_for((count + vector - 1) / vector, kThreads);
    const std::int64_t share = std::int64_t{threads} * vector;
    const unsigned blocks = simt::blocks_for(std::min(count, kMostBlocks * share), share);
    simt::launch({"optimizer_step", {blocks}, {threads}, 0, stream}, kernel, params, arrays.scalars, count,
                 gradient, parameter, first, second);
  });
}

void step_cuda(const Stream& stream, DType dtype, const OptimizerParams& params,
               const OptimizerArrays& arrays) {
  VOXOT_CHECK(dtype != DType::bf16, "optimizer_step: master weights are fp32 or fp64");
  if (arrays.count == 0) return;
  if (dtype == DType::f64) return step_typed<double>(stream, params, arrays);
  step_typed<float>(stream, params, arrays);
}

struct Square {
  template <class F>
  VOXOT_DEVICE double operator()(std::int64_t, F x) const {
    return static_cast<double>(x) * static_cast<double>(x);
  }
};

struct StoreClip {
  double limit;
  OptimizerScalars* scalars;
  VOXOT_DEVICE void operator()(std::int64_t, std::int64_t, double sum) const {
    const double factor = limit / (std::sqrt(sum) + 1e-6);
    scalars->clip = factor > 1.0 ? 1.0 : factor;
  }
};

void clip_cuda(const Stream& stream, DType dtype, std::int64_t count, const void* gradient, double limit,
               OptimizerScalars* scalars) {
  with_type(dtype, [&]<class T>() {
    ordered_sum(stream, "clip_factor", SumView{1, count, 1}, Square{}, StoreClip{limit, scalars},
                static_cast<const T*>(gradient));
  });
}

const Implement registered[] = {
    {optimizer_step, Device::cuda, step_cuda},
    {clip_factor, Device::cuda, clip_cuda},
};

}  // namespace
}  // namespace voxot::kernels
