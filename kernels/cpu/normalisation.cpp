// Batch, group and instance normalisation. Every reduction runs over a fixed number of slices of the rows, in
// lanes that hold whole rows (so that 3 or 8 channels still fill the vector units), and is joined in order:
// the bits do not depend on the thread count.
#include "kernels/normalisation.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/cpu/activation_lanes.h"
#include "kernels/cpu/scalar.h"
#include "kernels/sizes.h"

namespace voxot::kernels {
namespace {

using namespace cpu;

constexpr std::int64_t kSliceElements = 32768;  // elements one partial sum covers at most
constexpr std::int64_t kBlockRows = 32;  // fp32 partial sums are promoted to double after this many lane rows

/// Rows joined so that a lane row holds at least 64 elements.
std::int64_t rows_per_lane(std::int64_t channels) { return std::max<std::int64_t>(1, 64 / channels); }

std::int64_t slice_rows(std::int64_t channels) {
  const std::int64_t lane = rows_per_lane(channels);
  return std::max<std::int64_t>(lane, kSliceElements / channels / lane * lane);
}

/// result[2][channels] ← sums of two per-element terms; term(i, j, a, b) adds element i's to a and b, j its
/// place in a lane.
template <class F, class Term>
void sum_terms(std::int64_t rows, std::int64_t channels, std::vector<double>& result, Term term) {
  const std::int64_t per_slice = slice_rows(channels);
  const std::int64_t slices = (rows + per_slice - 1) / per_slice;
  static thread_local std::vector<double> partial;
  partial.assign(to_size(slices * 2 * channels), 0.0);
  double* const all = partial.data();
  const std::int64_t lane = rows_per_lane(channels);
  const std::int64_t width = lane * channels;
#pragma omp parallel for schedule(static) if (rows * channels > kParallelGrain)
  for (std::int64_t slice = 0; slice < slices; ++slice) {
    const std::int64_t last = std::min((slice + 1) * per_slice, rows);
    static thread_local std::vector<F> sums;
    sums.resize(to_size(2 * width));
    F* const a = sums.data();
    F* const b = a + width;
    double* const to = all + slice * 2 * channels;
    for (std::int64_t block = slice * per_slice; block < last; block += kBlockRows * lane) {
      std::fill(sums.begin(), sums.end(), F{0});
      const std::int64_t end = std::min(block + kBlockRows * lane, last);
      for (std::int64_t r = block; r < end; r += lane) {
        const std::int64_t first = r * channels;
        const std::int64_t count = std::min(lane, end - r) * channels;
#pragma omp simd
        for (std::int64_t j = 0; j < count; ++j) term(first + j, j, a[j], b[j]);
      }
      for (std::int64_t j = 0; j < width; ++j) {
        to[j % channels] += static_cast<double>(a[j]);
        to[channels + j % channels] += static_cast<double>(b[j]);
      }
    }
  }
  result.assign(to_size(2 * channels), 0.0);
  for (std::int64_t i = 0; i < slices * 2 * channels; ++i) {
    result[to_size(i % (2 * channels))] += all[i];
  }
}

/// Per (outer, lane position) copies of a per-channel vector, so that inner loops index by lane position.
template <class F, class Value>
void spread(std::int64_t channels, std::vector<F>& lanes, Value value) {
  const std::int64_t width = rows_per_lane(channels) * channels;
  lanes.resize(to_size(width));
  for (std::int64_t j = 0; j < width; ++j) lanes[to_size(j)] = static_cast<F>(value(j % channels));
}

/// body(i, j) for every element i of rows [first, last), lane by lane; j is its place in the lane.
template <class Body>
void apply(std::int64_t first, std::int64_t last, std::int64_t channels, Body body) {
  const std::int64_t lane = rows_per_lane(channels);
#pragma omp parallel for schedule(static) if ((last - first) * channels > kParallelGrain)
  for (std::int64_t r = first; r < last; r += lane) {
    const std::int64_t begin = r * channels;
    const std::int64_t count = std::min(lane, last - r) * channels;
#pragma omp simd
    for (std::int64_t j = 0; j < count; ++j) body(begin + j, j);
  }
}

void statistics(const Stream&, DType dtype, const NormalisationParams& p, const void* x, void* mean,
                void* variance) {
  with_type(dtype, [&]<class T>() {
    using F = Compute<T>;
    const T* in = static_cast<const T*>(x);
    F* m = static_cast<F*>(mean);
    F* v = static_cast<F*>(variance);
    const std::int64_t members = p.channels / p.groups;
    const double count = static_cast<double>(p.rows) * static_cast<double>(members);
    static thread_local std::vector<double> sums;
    static thread_local std::vector<F> shift;
    // Sums are taken about the first row, which keeps the variance exact when the mean is large.
    shift.resize(to_size(p.channels));
    for (std::int64_t o = 0; o < p.outer; ++o) {
      const T* base = in + o * p.rows * p.channels;
      for (std::int64_t c = 0; c < p.channels; ++c) {
        shift[to_size(c)] = load(base[c / members * members]);
      }
      static thread_local std::vector<F> lanes;
      spread(p.channels, lanes, [&](std::int64_t c) { return shift[to_size(c)]; });
      const F* s = lanes.data();
      sum_terms<F>(p.rows, p.channels, sums, [=](std::int64_t i, std::int64_t j, F& a, F& b) {
        const F d = load(base[i]) - s[j];
        a += d;
        b += d * d;
      });
      for (std::int64_t g = 0; g < p.groups; ++g) {
        double first = 0;
        double second = 0;
        for (std::int64_t c = g * members; c < (g + 1) * members; ++c) {
          first += sums[to_size(c)];
          second += sums[to_size(p.channels + c)];
        }
        const double average = first / count;
        m[o * p.groups + g] = static_cast<F>(average + static_cast<double>(shift[to_size(g * members)]));
        // In this order the maximum of NaN is NaN.
        v[o * p.groups + g] = static_cast<F>(std::max(second / count - average * average, 0.0));
      }
    }
  });
}

void forward(const Stream&, DType dtype, const NormalisationParams& p, const NormalisationForward& f) {
  with_type(dtype, [&]<class T>() {
    using F = Compute<T>;
    const T* in = static_cast<const T*>(f.x);
    const F* m = static_cast<const F*>(f.mean);
    const F* v = static_cast<const F*>(f.variance);
    const F* ga = static_cast<const F*>(f.gamma);
    const F* be = static_cast<const F*>(f.beta);
    T* out = static_cast<T*>(f.y);
    const std::int64_t members = p.channels / p.groups;
    static thread_local std::vector<F> means;
    static thread_local std::vector<F> scales;
    static thread_local std::vector<F> betas;
    spread(p.channels, betas, [&](std::int64_t c) { return be == nullptr ? F{0} : be[c]; });
    for (std::int64_t o = 0; o < p.outer; ++o) {
      spread(p.channels, means, [&](std::int64_t c) { return m[o * p.groups + c / members]; });
      spread(p.channels, scales, [&](std::int64_t c) {
        const double d = std::sqrt(static_cast<double>(v[o * p.groups + c / members]) + p.epsilon);
        return (ga == nullptr ? 1.0 : static_cast<double>(ga[c])) / d;
      });
      // The mean is subtracted first: x·a + (β − mean·a) would lose |mean|/σ·6e-8.
      const F* mu = means.data();
      const F* a = scales.data();
      const F* b = betas.data();
      with_activation<F>(p.activation, [&](auto functor) {
        const auto act = lanes_of(functor);
        apply(o * p.rows, (o + 1) * p.rows, p.channels, [=](std::int64_t i, std::int64_t j) {
          store(out[i], act.value((load(in[i]) - mu[j]) * a[j] + b[j]));
        });
      });
    }
  });
}

template <class T>
void backward_typed(const NormalisationParams& p, const NormalisationGradients& q) {
  using F = Compute<T>;
  const T* x = static_cast<const T*>(q.x);
  const T* gy = static_cast<const T*>(q.grad_y);
  const F* m = static_cast<const F*>(q.mean);
  const F* v = static_cast<const F*>(q.variance);
  const F* ga = static_cast<const F*>(q.gamma);
  const F* be = static_cast<const F*>(q.beta);
  const std::int64_t members = p.channels / p.groups;
  const auto gamma = [&](std::int64_t c) { return ga == nullptr ? 1.0 : static_cast<double>(ga[c]); };
  static thread_local std::vector<double> sums;
  static thread_local std::vector<double> parameter_sums;
  static thread_local std::vector<F> means;
  static thread_local std::vector<F> inverses;
  parameter_sums.assign(to_size(2 * p.channels), 0.0);
  for (std::int64_t o = 0; o < p.outer; ++o) {
    const auto inverse = [&](std::int64_t c) {
      return 1.0 / std::sqrt(static_cast<double>(v[o * p.groups + c / members]) + p.epsilon);
    };
    spread(p.channels, means, [&](std::int64_t c) { return m[o * p.groups + c / members]; });
    spread(p.channels, inverses, inverse);
    // The activation's argument is (x − mean)·s + t: cheaper to compute again than to keep and read.
    static thread_local std::vector<F> scales;
    static thread_local std::vector<F> betas;
    spread(p.channels, scales, [&](std::int64_t c) { return gamma(c) * inverse(c); });
    spread(p.channels, betas, [&](std::int64_t c) { return be == nullptr ? F{0} : be[c]; });
    const F* mu = means.data();
    const F* inv = inverses.data();
    const F* s = scales.data();
    const F* t = betas.data();
    const T* const xo = x + o * p.rows * p.channels;
    const T* const go = gy + o * p.rows * p.channels;
    with_activation<F>(p.activation, [&](auto functor) {
      const auto act = lanes_of(functor);
      sum_terms<F>(p.rows, p.channels, sums, [=](std::int64_t i, std::int64_t j, F& a, F& b) {
        F g = load(go[i]);
        const F v = load(xo[i]);
        if constexpr (decltype(act)::kKind != ActivationKind::none)
          g = act.gradient_at((v - mu[j]) * s[j] + t[j], g);
        a += g;
        b += g * ((v - mu[j]) * inv[j]);
      });
    });
    for (std::size_t c = 0; c < parameter_sums.size(); ++c) parameter_sums[c] += sums[c];
    if (q.grad_x == nullptr) continue;
    // grad_x = s·g − (A + x̂·B) with s = γ/σ and, unless the statistics are fixed, A and B the group means of
    // γ·g and γ·g·x̂ divided by σ.
    static thread_local std::vector<F> offset;
    static thread_local std::vector<F> slope;
    const double count = static_cast<double>(p.rows) * static_cast<double>(members);
    const auto group_mean = [&](std::int64_t c, std::int64_t which) {
      double sum = 0;
      const std::int64_t first = c / members * members;
      for (std::int64_t i = first; i < first + members; ++i) {
        sum += gamma(i) * sums[to_size(which * p.channels + i)];
      }
      return q.statistics_fixed ? 0.0 : sum / count;
    };
    spread(p.channels, slope, [&](std::int64_t c) { return group_mean(c, 1) * inverse(c) * inverse(c); });
    spread(p.channels, offset, [&](std::int64_t c) { return group_mean(c, 0) * inverse(c); });
    const F* ps = slope.data();
    const F* po = offset.data();
    T* gx = static_cast<T*>(q.grad_x);
    with_activation<F>(p.activation, [&](auto functor) {
      const auto act = lanes_of(functor);
      with_write(q.grad_x_write, [&]<Write W>() {
        apply(o * p.rows, (o + 1) * p.rows, p.channels, [=](std::int64_t i, std::int64_t j) {
          F g = load(gy[i]);
          const F v = load(x[i]);
          if constexpr (decltype(act)::kKind != ActivationKind::none)
            g = act.gradient_at((v - mu[j]) * s[j] + t[j], g);
          put<W>(gx[i], s[j] * g - po[j] - (v - mu[j]) * ps[j]);
        });
      });
    });
  }
  const auto write = [&](void* to, std::int64_t which) {
    if (to == nullptr) return;
    F* out = static_cast<F*>(to);
    for (std::int64_t c = 0; c < p.channels; ++c) {
      const auto s = static_cast<F>(parameter_sums[to_size(which * p.channels + c)]);
      out[c] = q.parameter_write == Write::accumulate ? out[c] + s : s;
    }
  };
  write(q.grad_beta, 0);
  write(q.grad_gamma, 1);
}

void backward(const Stream&, DType dtype, const NormalisationParams& p, const NormalisationGradients& q) {
  with_type(dtype, [&]<class T>() { backward_typed<T>(p, q); });
}

const Implement registered[] = {
    {normalisation_statistics, Device::cpu, statistics},
    {normalisation_forward, Device::cpu, forward},
    {normalisation_backward, Device::cpu, backward},
};

}  // namespace
}  // namespace voxot::kernels
