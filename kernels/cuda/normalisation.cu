// Batch, group and instance normalisation: y = act((x − mean)·a + β) with a = γ/√(variance + ε).
// Layout: x is outer × rows × channels. A block takes a chunk of the rows of one outer index and up to 64 neighbouring
// channel vectors; a thread takes one channel vector of every n-th row, so that what belongs to a channel is read once
// and neighbouring threads read neighbouring addresses whatever the channel count.
// Reductions run in two steps without atomics: a block leaves one pair for each channel in scratch, laid out
// [outer][channel][chunk], so that what belongs to one (outer, group) or one channel lies together; a second kernel
// joins them in double. Chunks depend on the shape alone, and with them the bits.
// The variance: a thread sums about its own first value, threads are joined by their means and centred second moments.
// Launch: 256 threads, blocks outer × tiles × chunks on grid.x.
// Source: kernels/normalisation.h; Chan, Golub, LeVeque 1983.
#include "kernels/normalisation.h"

#include <algorithm>
#include <cmath>

#include "kernels/cuda/channels.cuh"
#include "kernels/cuda/simt_runtime.h"

namespace voxot::kernels {
namespace {

using namespace cuda;

constexpr int kThreads = 256;
constexpr int kTile = 64;              // channel vectors of a block at most
constexpr std::int64_t kRowsEach = 8;  // rows of a thread at least, where there are so many
constexpr std::int64_t kBlocks = 2048;  // about what fills a large device; more work makes chunks longer

/// How outer × rows × channels is cut.
struct Layout {
  std::int64_t rows;
  int channels;
  int members;      // channels of a group
  int groups;
  int tile;         // channel vectors of a block
  int tiles;
  int down;         // rows that a block takes at once
  int chunks;
  std::int64_t chunk;  // rows

  Layout(const NormalisationParams& p, int width)
      : rows(p.rows),
        channels(static_cast<int>(p.channels)),
        members(static_cast<int>(p.channels / p.groups)),
        groups(static_cast<int>(p.groups)) {
    const int vectors = channels / width;
    tiles = (vectors + kTile - 1) / kTile;
    tile = (vectors + tiles - 1) / tiles;
    down = kThreads / tile;
    const std::int64_t wanted = std::max<std::int64_t>(1, kBlocks / (p.outer * tiles));
    chunk = std::max((rows + wanted - 1) / wanted, kRowsEach * down);
    chunk = (chunk + down - 1) / down * down;
    chunks = static_cast<int>((rows + chunk - 1) / chunk);
  }
  [[nodiscard]] simt::Launch launch(const char* name, std::int64_t outer, const Stream& stream) const {
    return {name, {simt::blocks_for(outer * tiles * chunks, 1)}, {kThreads}, 0, stream};
  }
};

/// A thread's share of a block's work.
struct Place {
  std::int64_t outer;
  std::int64_t first, last;  // rows: first, first + down, … below last
  int chunk;
  int channel;
  int row;      // of `down`
  bool active;  // threads that fill no row of the tile, and those past the last channel, only take the barriers
};

template <int V>
VOXOT_DEVICE Place place(const Layout& l) {
  const int thread = static_cast<int>(simt::thread_index().x);
  const unsigned block = simt::block_index().x;
  const unsigned rest = block / static_cast<unsigned>(l.chunks);
  Place p;
  p.chunk = static_cast<int>(block % static_cast<unsigned>(l.chunks));
  p.outer = rest / static_cast<unsigned>(l.tiles);
  p.row = thread / l.tile;
  p.channel = (static_cast<int>(rest % static_cast<unsigned>(l.tiles)) * l.tile + thread % l.tile) * V;
  p.active = p.row < l.down && p.channel < l.channels;
  p.first = p.chunk * l.chunk + p.row;
  const std::int64_t end = (p.chunk + 1) * l.chunk;
  p.last = end < l.rows ? end : l.rows;
  return p;
}

/// What normalises each of a thread's channels. Null γ and β are 1 and 0.
template <class F, int V>
struct Channels {
  F mean[V], inverse[V], scale[V], beta[V];

  VOXOT_DEVICE Channels(const Layout& l, const Place& p, F epsilon, const F* means, const F* variances, const F* gammas,
                        const F* betas) {
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
  /// The activation's argument, in forward and backward alike. (x − mean) first: x·scale + (β − mean·scale) would lose
  /// |mean|/σ·6e-8.
  VOXOT_DEVICE F argument(F x, int k) const { return (x - mean[k]) * scale[k] + beta[k]; }
};

/// Two sums, or a mean and a centred second moment, of one channel over some rows.
template <class F>
struct Pair {
  F first, second;
};
struct JoinSums {
  template <class F>
  VOXOT_DEVICE Pair<F> operator()(Pair<F> a, F, Pair<F> b, F) const {
    return {a.first + b.first, a.second + b.second};
  }
};
struct JoinMoments {
  template <class F>
  VOXOT_DEVICE Pair<F> operator()(Pair<F> a, F rows_a, Pair<F> b, F rows_b) const {
    const F share = rows_b / (rows_a + rows_b);
    const F d = b.first - a.first;
    return {a.first + d * share, a.second + b.second + d * d * rows_a * share};
  }
};

/// Joins the pairs of a block's threads over their rows, by halves, and leaves them in scratch. All threads come.
template <class F, int V, class Join>
VOXOT_DEVICE void leave_partials(const Layout& l, const Place& p, Join join, Pair<F> (&pairs)[V], F rows,
                                 Pair<F>* partials) {
  using Slots = Pair<F>[V][kThreads];
  using Counts = F[kThreads];
  VOXOT_SHARED(slots, Slots);
  VOXOT_SHARED(counts, Counts);
  const int thread = static_cast<int>(simt::thread_index().x);
  VOXOT_UNROLL
  for (int k = 0; k < V; ++k) slots[k][thread] = pairs[k];
  counts[thread] = rows;
  int half = 1;
  while (2 * half < l.down) half *= 2;
  for (; half > 0; half /= 2) {
    simt::sync_block();
    const int other = thread + half * l.tile;
    if (!p.active || p.row >= half || p.row + half >= l.down || counts[other] == 0) continue;
    VOXOT_UNROLL
    for (int k = 0; k < V; ++k) slots[k][thread] = join(slots[k][thread], counts[thread], slots[k][other], counts[other]);
    counts[thread] += counts[other];
  }
  if (!p.active || p.row != 0) return;
  VOXOT_UNROLL
  for (int k = 0; k < V; ++k) {
    partials[(p.outer * l.channels + p.channel + k) * l.chunks + p.chunk] = slots[k][thread];
  }
}

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
      pairs[k] = {about[k] + d, second > 0 ? second : F{0}};
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
      for (int k = 0; k < V; ++k) g[k] *= act.derivative(act.value(c.argument(v[k], k)));
    }
  }
};

/// Σ g and Σ g·x̂ of a chunk's rows.
template <class T, int V, class Act>
VOXOT_KERNEL void chunk_gradients(Layout l, Act act, Compute<T> epsilon, Gradient<T, V> gradient, const Compute<T>* mean,
                                  const Compute<T>* variance, const Compute<T>* gamma, const Compute<T>* beta,
                                  Pair<Compute<T>>* partials) {
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

/// The block's sum, in every thread. `slots` holds a value for each warp and is free again after a barrier.
VOXOT_DEVICE double block_sum(double value, double (&slots)[kThreads / simt::kWarp]) {
  value = simt::warp_sum(value);
  if (simt::lane() == 0) slots[simt::warp()] = value;
  simt::sync_block();
  double sum = 0;
  for (unsigned w = 0; w < simt::block_extent().x / simt::kWarp; ++w) sum += slots[w];
  return sum;
}

/// Mean and variance of one (outer, group) in a block: the mean of the chunks' means, then the moments about it.
template <class F>
VOXOT_KERNEL void join_moments(Layout l, const Pair<F>* partials, F* mean, F* variance) {
  using Slots = double[kThreads / simt::kWarp];
  VOXOT_SHARED(first, Slots);
  VOXOT_SHARED(second, Slots);
  const int count = l.members * l.chunks;
  const std::int64_t pair = simt::block_index().x;
  const Pair<F>* from = partials + pair * count;
  const auto last = static_cast<double>(l.rows - (l.chunks - 1) * l.chunk);
  const auto rows_of = [&](int i) { return i % l.chunks == l.chunks - 1 ? last : static_cast<double>(l.chunk); };
  const double share = 1.0 / (static_cast<double>(l.rows) * l.members);
  const int step = static_cast<int>(simt::block_extent().x);
  double sum = 0;
  for (int i = static_cast<int>(simt::thread_index().x); i < count; i += step) {
    sum += rows_of(i) * static_cast<double>(from[i].first);
  }
  const double average = block_sum(sum, first) * share;
  sum = 0;
  for (int i = static_cast<int>(simt::thread_index().x); i < count; i += step) {
    const double d = static_cast<double>(from[i].first) - average;
    sum += static_cast<double>(from[i].second) + rows_of(i) * (d * d);
  }
  sum = block_sum(sum, second) * share;
  if (simt::thread_index().x != 0) return;
  mean[pair] = static_cast<F>(average);
  variance[pair] = static_cast<F>(sum);
}

/// A and B of one (outer, group) in a block: grad_x = a·g − A − (x − mean)·B, the means of γ·g and of γ·g·x̂ over the
/// group, divided by σ and σ².
template <class F>
VOXOT_KERNEL void join_group_gradients(Layout l, double epsilon, const Pair<F>* partials, const F* variance,
                                       const F* gamma, Pair<F>* means) {
  using Slots = double[kThreads / simt::kWarp];
  VOXOT_SHARED(first, Slots);
  VOXOT_SHARED(second, Slots);
  const int count = l.members * l.chunks;
  const std::int64_t pair = simt::block_index().x;
  const int channel = static_cast<int>(pair % l.groups) * l.members;
  const Pair<F>* from = partials + pair * count;
  double a = 0;
  double b = 0;
  for (int i = static_cast<int>(simt::thread_index().x); i < count; i += static_cast<int>(simt::block_extent().x)) {
    const double weight = gamma == nullptr ? 1.0 : static_cast<double>(gamma[channel + i / l.chunks]);
    a += weight * static_cast<double>(from[i].first);
    b += weight * static_cast<double>(from[i].second);
  }
  a = block_sum(a, first);
  b = block_sum(b, second);
  if (simt::thread_index().x != 0) return;
  const double squared = 1.0 / (static_cast<double>(variance[pair]) + epsilon);
  const double share = 1.0 / (static_cast<double>(l.rows) * l.members);
  means[pair] = {static_cast<F>(a * share * std::sqrt(squared)), static_cast<F>(b * share * squared)};
}

/// Gradients of one channel's β and γ in a block.
template <class F, Write W>
VOXOT_KERNEL void join_parameter_gradients(Layout l, std::int64_t outer, const Pair<F>* partials, F* grad_beta,
                                           F* grad_gamma) {
  using Slots = double[kThreads / simt::kWarp];
  VOXOT_SHARED(first, Slots);
  VOXOT_SHARED(second, Slots);
  const int channel = static_cast<int>(simt::block_index().x);
  double a = 0;
  double b = 0;
  for (std::int64_t i = simt::thread_index().x; i < outer * l.chunks; i += simt::block_extent().x) {
    const std::int64_t o = i / l.chunks;
    const Pair<F> p = partials[(o * l.channels + channel) * l.chunks + (i - o * l.chunks)];
    a += static_cast<double>(p.first);
    b += static_cast<double>(p.second);
  }
  a = block_sum(a, first);
  b = block_sum(b, second);
  if (simt::thread_index().x != 0) return;
  if (grad_beta != nullptr) put<W>(grad_beta[channel], static_cast<F>(a));
  if (grad_gamma != nullptr) put<W>(grad_gamma[channel], static_cast<F>(b));
}

template <class T, int V, class Act>
VOXOT_KERNEL void forward_kernel(Layout l, Act act, Compute<T> epsilon, const T* x, const Compute<T>* mean,
                                 const Compute<T>* variance, const Compute<T>* gamma, const Compute<T>* beta, T* y) {
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

/// `means` is null where the statistics are fixed. grad_x may be grad_y: an element is read before it is written.
template <class T, int V, Write W, class Act>
VOXOT_KERNEL void grad_x_kernel(Layout l, Act act, Compute<T> epsilon, Gradient<T, V> gradient, const Compute<T>* mean,
                                const Compute<T>* variance, const Compute<T>* gamma, const Compute<T>* beta,
                                const Pair<Compute<T>>* means, T* grad_x) {
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

/// Calls body(functor). The other activations would need more than the sign of their argument.
template <class F, class Body>
void with_kink(Activation a, Body&& body) {
  const auto slope = static_cast<F>(a.slope);
  if (a.kind == ActivationKind::none) return body(ActivationFunctor<ActivationKind::none, F>{slope});
  if (a.kind == ActivationKind::relu) return body(ActivationFunctor<ActivationKind::relu, F>{slope});
  VOXOT_CHECK(a.kind == ActivationKind::leaky_relu, "normalisation: activation {} is none of none, relu, leaky_relu",
              static_cast<int>(a.kind));
  body(ActivationFunctor<ActivationKind::leaky_relu, F>{slope});
}

/// Threads for a block that joins `count` pairs.
unsigned joiners(std::int64_t count) { return count > 128 ? kThreads : simt::kWarp; }

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
      simt::launch({"normalisation_join_moments", {simt::blocks_for(p.outer * p.groups, 1)},
                    {joiners(static_cast<std::int64_t>(l.members) * l.chunks)}, 0, stream},
                   join_moments<F>, l, partials, static_cast<F*>(mean), static_cast<F*>(variance));
    });
  });
}

void forward(const Stream& stream, DType dtype, const NormalisationParams& p, const void* x, const void* mean,
             const void* variance, const void* gamma, const void* beta, void* y) {
  if (empty(p)) return;
  with_type(dtype, [&]<class T>() {
    using F = Compute<T>;
    with_width<T>({p.channels}, {x, y}, [&]<int V>() {
      with_kink<F>(p.activation, [&](auto act) {
        const Layout l(p, V);
        simt::launch(l.launch("normalisation_forward", p.outer, stream), forward_kernel<T, V, decltype(act)>, l, act,
                     static_cast<F>(p.epsilon), static_cast<const T*>(x), static_cast<const F*>(mean),
                     static_cast<const F*>(variance), static_cast<const F*>(gamma), static_cast<const F*>(beta),
                     static_cast<T*>(y));
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
  with_kink<F>(p.activation, [&](auto act) {
    using Act = decltype(act);
    if (parameters || means_needed) {
      simt::launch(l.launch("normalisation_sums", p.outer, stream), chunk_gradients<T, V, Act>, l, act, epsilon,
                   gradient, mean, variance, gamma, beta, partials);
    }
    if (parameters) {
      with_write(q.parameter_write, [&]<Write W>() {
        simt::launch({"normalisation_parameters", {simt::blocks_for(p.channels, 1)}, {joiners(p.outer * l.chunks)}, 0,
                      stream},
                     join_parameter_gradients<F, W>, l, p.outer, partials, static_cast<F*>(q.grad_beta),
                     static_cast<F*>(q.grad_gamma));
      });
    }
    if (means_needed) {
      simt::launch({"normalisation_means", {simt::blocks_for(p.outer * p.groups, 1)},
                    {joiners(static_cast<std::int64_t>(l.members) * l.chunks)}, 0, stream},
                   join_group_gradients<F>, l, p.epsilon, partials, variance, gamma, means);
    }
    if (q.grad_x == nullptr) return;
    with_write(q.grad_x_write, [&]<Write W>() {
      simt::launch(l.launch("normalisation_grad_x", p.outer, stream), grad_x_kernel<T, V, W, Act>, l, act, epsilon,
                   gradient, mean, variance, gamma, beta, means, static_cast<T*>(q.grad_x));
    });
  });
}

void backward(const Stream& stream, DType dtype, const NormalisationParams& p, const NormalisationGradients& q) {
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
