// Batch, group and instance normalisation: y = act((x − mean)·a + β) with a = γ/√(variance + ε).
// Layout: x is outer × rows × channels. Launch: row_chunks.cuh, also for what only maps elements, so that a
// thread keeps its channels' parameters in registers. The variance: a thread sums about its own first value,
// threads are joined by their means and centred second moments. Source: kernels/normalisation.h; Chan, Golub,
// LeVeque 1983.
#include "kernels/normalisation.h"

#include <cmath>

#include "kernels/cuda/row_chunks.cuh"
#include "kernels/simt/runtime.h"

namespace voxot::cuda {
namespace {

/// Mean and variance of every (outer, group): the mean of the chunks' means, then the moments about it.
template <class F, int Team>
VOXOT_KERNEL void moments_kernel(MomentChunks l, std::int64_t results, const Pair<F>* partials, F* mean,
                                 F* variance) {
  const Joiner<Team> j;
  if (j.result >= results) return;
  const int count = l.members * l.chunks;
  const Pair<F>* from = partials + j.result * count;
  const auto last = static_cast<double>(l.rows - (l.chunks - 1) * l.chunk);
  const auto rows_of = [&](int i) {
    return i % l.chunks == l.chunks - 1 ? last : static_cast<double>(l.chunk);
  };
  const double share = 1.0 / (static_cast<double>(l.rows) * l.members);
  double first = 0;
  for (int i = j.member; i < count; i += Team) first += rows_of(i) * static_cast<double>(from[i].first);
  const double average = j.sum(first) * share;
  double second = 0;
  for (int i = j.member; i < count; i += Team) {
    const double d = static_cast<double>(from[i].first) - average;
    second += static_cast<double>(from[i].second) + rows_of(i) * (d * d);
  }
  second = j.sum(second);
  if (j.member != 0) return;
  mean[j.result] = static_cast<F>(average);
  variance[j.result] = static_cast<F>(second * share);
}

}  // namespace

template <class F>
void join_moments(const Stream& stream, const MomentChunks& c, std::int64_t results, const Pair<F>* partials,
                  F* mean, F* variance) {
  with_team("normalisation_join_moments", stream, results, static_cast<std::int64_t>(c.members) * c.chunks,
            [&]<int Team>(const simt::Launch& launch) {
              simt::launch(launch, moments_kernel<F, Team>, c, results, partials, mean, variance);
            });
}
template void join_moments(const Stream&, const MomentChunks&, std::int64_t, const Pair<float>*, float*,
                           float*);
template void join_moments(const Stream&, const MomentChunks&, std::int64_t, const Pair<double>*, double*,
                           double*);

}  // namespace voxot::cuda

namespace voxot::kernels {
namespace {

using namespace cuda;

/// What normalises each of a thread's channels. Null γ and β are 1 and 0.
template <class F, int V>
struct Channels {
  F mean[V], inverse[V], scale[V], beta[V];

  VOXOT_DEVICE Channels(const Layout& l, const Place& p, F epsilon, const F* means, const F* variances,
                        const F* gammas, const F* betas) {
    int group = p.channel / l.members;
    int member = p.channel % l.members;
    VOXOT_UNROLL
    for (int k = 0; k < V; ++k) {
      mean[k] = means[p.outer * l.groups + group];
      inverse[k] = F{1} / std::sqrt(variances[p.outer * l.groups + group] + epsilon);
      scale[k] = gammas == nullptr ? inverse[k] : gammas[p.channel + k] * inverse[k];
      beta[k] = betas == nullptr ? F{0} : betas[p.channel + k];
      if (++member == l.members) {
        member = 0;
        ++group;
      }
    }
  }
  /// The activation's argument, in forward and backward alike. (x − mean) first: x·scale + (β − mean·scale)
  /// would lose |mean|/σ·6e-8.
  VOXOT_DEVICE F argument(F x, int k) const { return (x - mean[k]) * scale[k] + beta[k]; }
};

template <class T, int V>
VOXOT_KERNEL void chunk_moments(Layout l, const T* x, Pair<Compute<T>>* partials) {
  using F = Compute<T>;
  const Place p = place<V>(l);
  Pair<F> pairs[V] = {};
  int rows = 0;
  if (p.active && p.first < p.last) {
    const std::int64_t stride = static_cast<std::int64_t>(l.down) * l.channels;
    const T* from = x + (p.outer * l.rows + p.first) * l.channels + p.channel;
    F about[V];
    load_channels<V>(from, about);
    rows = 1;
    for (std::int64_t r = p.first + l.down; r < p.last; r += l.down, ++rows) {
      from += stride;
      F v[V];
      load_channels<V>(from, v);
      VOXOT_UNROLL
      for (int k = 0; k < V; ++k) {
        const F d = v[k] - about[k];
        pairs[k].first += d;
        pairs[k].second += d * d;
      }
    }
    const F share = F{1} / static_cast<F>(rows);
    VOXOT_UNROLL
    for (int k = 0; k < V; ++k) {
      const F d = pairs[k].first * share;
      const F second = pairs[k].second - pairs[k].first * d;
      pairs[k] = {about[k] + d, second < 0 ? F{0} : second};
    }
  }
  leave_partials<F, V>(l, p, JoinMoments{}, pairs, static_cast<F>(rows), partials);
}

template <class T, int V>
struct Gradient {
  const T* x;
  const T* grad_y;

  /// Values of x, and grad_y times the activation's derivative.
  template <class Act>
  VOXOT_DEVICE void load(Act act, const Channels<Compute<T>, V>& c, std::int64_t at, Compute<T> (&v)[V],
                         Compute<T> (&g)[V]) const {
    load_channels<V>(x + at, v);
    load_channels<V>(grad_y + at, g);
    if constexpr (Act::kKind != ActivationKind::none) {
      VOXOT_UNROLL
      for (int k = 0; k < V; ++k) g[k] = act.gradient_at(c.argument(v[k], k), g[k]);
    }
  }
};

/// Σ g and Σ g·x̂ of a chunk's rows.
template <class T, int V, class Act>
VOXOT_KERNEL void chunk_gradients(Layout l, Act act, Compute<T> epsilon, Gradient<T, V> gradient,
                                  const Compute<T>* mean, const Compute<T>* variance, const Compute<T>* gamma,
                                  const Compute<T>* beta, Pair<Compute<T>>* partials) {
  using F = Compute<T>;
  const Place p = place<V>(l);
  Pair<F> pairs[V] = {};
  if (p.active) {
    const Channels<F, V> channels(l, p, epsilon, mean, variance, gamma, beta);
    for (std::int64_t r = p.first; r < p.last; r += l.down) {
      F v[V];
      F g[V];
      gradient.load(act, channels, (p.outer * l.rows + r) * l.channels + p.channel, v, g);
      VOXOT_UNROLL
      for (int k = 0; k < V; ++k) {
        pairs[k].first += g[k];
        pairs[k].second += g[k] * ((v[k] - channels.mean[k]) * channels.inverse[k]);
      }
    }
  }
  leave_partials<F, V>(l, p, JoinSums{}, pairs, F{1}, partials);
}

/// A and B of every (outer, group): grad_x = a·g − A − (x − mean)·B, the means of γ·g and of γ·g·x̂ over the
/// group, divided by σ and σ².
template <class F, int Team>
VOXOT_KERNEL void join_group_gradients(Layout l, std::int64_t results, double epsilon,
                                       const Pair<F>* partials, const F* variance, const F* gamma,
                                       Pair<F>* means) {
  const Joiner<Team> j;
  if (j.result >= results) return;
  const int count = l.members * l.chunks;
  const int channel = static_cast<int>(j.result % l.groups) * l.members;
  const Pair<F>* from = partials + j.result * count;
  double a = 0;
  double b = 0;
  for (int i = j.member; i < count; i += Team) {
    const double weight = gamma == nullptr ? 1.0 : static_cast<double>(gamma[channel + i / l.chunks]);
    a += weight * static_cast<double>(from[i].first);
    b += weight * static_cast<double>(from[i].second);
  }
  a = j.sum(a);
  b = j.sum(b);
  if (j.member != 0) return;
  const double squared = 1.0 / (static_cast<double>(variance[j.result]) + epsilon);
  const double share = 1.0 / (static_cast<double>(l.rows) * l.members);
  means[j.result] = {static_cast<F>(a * share * std::sqrt(squared)), static_cast<F>(b * share * squared)};
}

/// Gradients of every channel's β and γ.
template <class F, Write W, int Team>
VOXOT_KERNEL void join_parameter_gradients(Layout l, std::int64_t outer, const Pair<F>* partials,
                                           F* grad_beta, F* grad_gamma) {
  const Joiner<Team> j;
  if (j.result >= l.channels) return;
  double a = 0;
  double b = 0;
  for (std::int64_t i = j.member; i < outer * l.chunks; i += Team) {
    const std::int64_t o = i / l.chunks;
    const Pair<F> p = partials[(o * l.channels + j.result) * l.chunks + (i - o * l.chunks)];
    a += static_cast<double>(p.first);
    b += static_cast<double>(p.second);
  }
  a = j.sum(a);
  b = j.sum(b);
  if (j.member != 0) return;
  if (grad_beta != nullptr) put<W>(grad_beta[j.result], static_cast<F>(a));
  if (grad_gamma != nullptr) put<W>(grad_gamma[j.result], static_cast<F>(b));
}

template <class T, int V, class Act>
VOXOT_KERNEL void forward_kernel(Layout l, Act act, Compute<T> epsilon, const T* x, const Compute<T>* mean,
                                 const Compute<T>* variance, const Compute<T>* gamma, const Compute<T>* beta,
                                 T* y) {
  using F = Compute<T>;
  const Place p = place<V>(l);
  if (!p.active) return;
  const Channels<F, V> channels(l, p, epsilon, mean, variance, gamma, beta);
  for (std::int64_t r = p.first; r < p.last; r += l.down) {
    const std::int64_t at = (p.outer * l.rows + r) * l.channels + p.channel;
    F v[V];
    load_channels<V>(x + at, v);
    VOXOT_UNROLL
    for (int k = 0; k < V; ++k) v[k] = act.value(channels.argument(v[k], k));
    put_channels<Write::overwrite, V>(y + at, v);
  }
}

/// `means` is null where the statistics are fixed. grad_x may be grad_y: an element is read before it is
/// written.
template <class T, int V, Write W, class Act>
VOXOT_KERNEL void grad_x_kernel(Layout l, Act act, Compute<T> epsilon, Gradient<T, V> gradient,
                                const Compute<T>* mean, const Compute<T>* variance, const Compute<T>* gamma,
                                const Compute<T>* beta, const Pair<Compute<T>>* means, T* grad_x) {
  using F = Compute<T>;
  const Place p = place<V>(l);
  if (!p.active) return;
  const Channels<F, V> channels(l, p, epsilon, mean, variance, gamma, beta);
  Pair<F> group[V] = {};
  if (means != nullptr) {
    VOXOT_UNROLL
    for (int k = 0; k < V; ++k) group[k] = means[p.outer * l.groups + (p.channel + k) / l.members];
  }
  for (std::int64_t r = p.first; r < p.last; r += l.down) {
    const std::int64_t at = (p.outer * l.rows + r) * l.channels + p.channel;
    F v[V];
    F g[V];
    gradient.load(act, channels, at, v, g);
    VOXOT_UNROLL
    for (int k = 0; k < V; ++k) {
      g[k] = channels.scale[k] * g[k] - group[k].first - (v[k] - channels.mean[k]) * group[k].second;
    }
    put_channels<W, V>(grad_x + at, g);
  }
}

/// Calls body(functor): the activations that follow normalisations, each of which makes every kernel anew.
template <class F, class Body>
void with_fused(Activation a, Body&& body) {
  const auto slope = static_cast<F>(a.slope);
  switch (a.kind) {
    case ActivationKind::none:
      return body(ActivationFunctor<ActivationKind::none, F>{slope});
    case ActivationKind::relu:
      return body(ActivationFunctor<ActivationKind::relu, F>{slope});
    case ActivationKind::leaky_relu:
      return body(ActivationFunctor<ActivationKind::leaky_relu, F>{slope});
    case ActivationKind::silu:
      return body(ActivationFunctor<ActivationKind::silu, F>{slope});
    default:
      fail("normalisation: activation {} is none of none, relu, leaky_relu, silu", static_cast<int>(a.kind));
  }
}

bool empty(const NormalisationParams& p) { return p.outer * p.rows * p.channels == 0; }

void statistics(const Stream& stream, DType dtype, const NormalisationParams& p, const void* x, void* mean,
                void* variance) {
  if (empty(p)) return;
  with_type(dtype, [&]<class T>() {
    using F = Compute<T>;
    with_width<T>({p.channels}, {x}, [&]<int V>() {
      const Layout l(p, V);
      auto* partials = static_cast<Pair<F>*>(
          simt::scratch(static_cast<std::size_t>(p.outer * p.channels * l.chunks) * sizeof(Pair<F>)));
      simt::launch(l.launch("normalisation_moments", p.outer, stream), chunk_moments<T, V>, l,
                   static_cast<const T*>(x), partials);
      join_moments<F>(stream, {l.rows, l.chunk, l.chunks, l.members}, p.outer * p.groups, partials,
                      static_cast<F*>(mean), static_cast<F*>(variance));
    });
  });
}

void forward(const Stream& stream, DType dtype, const NormalisationParams& p, const NormalisationForward& f) {
  if (empty(p)) return;
  with_type(dtype, [&]<class T>() {
    using F = Compute<T>;
    with_width<T>({p.channels}, {f.x, f.y}, [&]<int V>() {
      with_fused<F>(p.activation, [&](auto act) {
        const Layout l(p, V);
        simt::launch(l.launch("normalisation_forward", p.outer, stream), forward_kernel<T, V, decltype(act)>,
                     l, act, static_cast<F>(p.epsilon), static_cast<const T*>(f.x),
                     static_cast<const F*>(f.mean), static_cast<const F*>(f.variance),
                     static_cast<const F*>(f.gamma), static_cast<const F*>(f.beta), static_cast<T*>(f.y));
      });
    });
  });
}

template <class T, int V>
void backward_typed(const Stream& stream, const NormalisationParams& p, const NormalisationGradients& q) {
  using F = Compute<T>;
  const Layout l(p, V);
  const Gradient<T, V> gradient{static_cast<const T*>(q.x), static_cast<const T*>(q.grad_y)};
  const F* mean = static_cast<const F*>(q.mean);
  const F* variance = static_cast<const F*>(q.variance);
  const F* gamma = static_cast<const F*>(q.gamma);
  const F* beta = static_cast<const F*>(q.beta);
  const auto epsilon = static_cast<F>(p.epsilon);
  const bool parameters = q.grad_gamma != nullptr || q.grad_beta != nullptr;
  const bool means_needed = q.grad_x != nullptr && !q.statistics_fixed;
  const std::int64_t pairs = p.outer * p.channels * l.chunks;
  auto* partials = static_cast<Pair<F>*>(
      simt::scratch(static_cast<std::size_t>(pairs + p.outer * p.groups) * sizeof(Pair<F>)));
  Pair<F>* means = means_needed ? partials + pairs : nullptr;
  with_fused<F>(p.activation, [&](auto act) {
    using Act = decltype(act);
    if (parameters || means_needed) {
      simt::launch(l.launch("normalisation_sums", p.outer, stream), chunk_gradients<T, V, Act>, l, act,
                   epsilon, gradient, mean, variance, gamma, beta, partials);
    }
    if (parameters) {
      with_write(q.parameter_write, [&]<Write W>() {
        with_team("normalisation_parameters", stream, p.channels, p.outer * l.chunks,
                  [&]<int Team>(const simt::Launch& launch) {
                    simt::launch(launch, join_parameter_gradients<F, W, Team>, l, p.outer, partials,
                                 static_cast<F*>(q.grad_beta), static_cast<F*>(q.grad_gamma));
                  });
      });
    }
    if (means_needed) {
      const std::int64_t results = p.outer * p.groups;
      with_team("normalisation_means", stream, results, static_cast<std::int64_t>(l.members) * l.chunks,
                [&]<int Team>(const simt::Launch& launch) {
                  simt::launch(launch, join_group_gradients<F, Team>, l, results, p.epsilon, partials,
                               variance, gamma, means);
                });
    }
    if (q.grad_x == nullptr) return;
    with_write(q.grad_x_write, [&]<Write W>() {
      simt::launch(l.launch("normalisation_grad_x", p.outer, stream), grad_x_kernel<T, V, W, Act>, l, act,
                   epsilon, gradient, mean, variance, gamma, beta, means, static_cast<T*>(q.grad_x));
    });
  });
}

void backward(const Stream& stream, DType dtype, const NormalisationParams& p,
              const NormalisationGradients& q) {
  if (empty(p)) return;
  with_type(dtype, [&]<class T>() {
    with_width<T>({p.channels}, {q.x, q.grad_y, q.grad_x},
                  [&]<int V>() { backward_typed<T, V>(stream, p, q); });
  });
}

const Implement registered[] = {
    {normalisation_statistics, Device::cuda, statistics},
    {normalisation_forward, Device::cuda, forward},
    {normalisation_backward, Device::cuda, backward},
};

}  // namespace
}  // namespace voxot::kernels
