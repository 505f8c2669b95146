#include "kernels/pooling.h"

#include <algorithm>
#include <limits>

#include "kernels/cpu/scalar.h"

namespace voxot {

void PoolParams::validate() const {
  std::int64_t window = 1;
  for (std::size_t a = 0; a < 3; ++a) {
    VOXOT_CHECK(kernel[a] >= 1 && stride[a] >= 1 && padding[a] >= 0 && 2 * padding[a] <= kernel[a],
                "pool: window {} with stride {} and padding {} (padding may be at most half the window)",
                kernel[a], stride[a], padding[a]);
    VOXOT_CHECK(in_extent[a] + 2 * padding[a] >= kernel[a],
                "pool: window {} does not fit extent {} with padding {}", kernel[a], in_extent[a],
                padding[a]);
    window *= kernel[a];
  }
  VOXOT_CHECK(window <= 256, "pool: windows hold at most 256 positions, got {}", window);
}

namespace kernels {
namespace {

using namespace cpu;

/// Calls visit(output row, input row, position in the window) for every valid position of the windows of one
/// (sample, output d) plane; begin(output row, window volume, valid volume) before each window.
template <class Begin, class Visit, class End>
void windows(const PoolParams& p, std::int64_t n, std::int64_t od, Begin begin, Visit visit, End end) {
  const auto out = p.out_extent();
  const auto& in = p.in_extent;
  const auto range = [&](std::size_t a, std::int64_t o) {
    const std::int64_t low = o * p.stride[a] - p.padding[a];
    return std::array<std::int64_t, 3>{low, std::max<std::int64_t>(low, 0),
                                       std::min(low + p.kernel[a], in[a])};
  };
  const auto rd = range(0, od);
  for (std::int64_t oh = 0; oh < out[1]; ++oh) {
    const auto rh = range(1, oh);
    for (std::int64_t ow = 0; ow < out[2]; ++ow) {
      const auto rw = range(2, ow);
      const std::int64_t to = ((n * out[0] + od) * out[1] + oh) * out[2] + ow;
      begin(to, (rd[2] - rd[1]) * (rh[2] - rh[1]) * (rw[2] - rw[1]));
      for (std::int64_t d = rd[1]; d < rd[2]; ++d) {
        for (std::int64_t h = rh[1]; h < rh[2]; ++h) {
          for (std::int64_t w = rw[1]; w < rw[2]; ++w) {
            visit(to, ((n * in[0] + d) * in[1] + h) * in[2] + w,
                  ((d - rd[0]) * p.kernel[1] + h - rh[0]) * p.kernel[2] + w - rw[0]);
          }
        }
      }
      end(to);
    }
  }
}

constexpr std::int64_t kMaxStackChannels = 1024;

/// Calls body(n, output d) for every plane, in parallel; planes never share an output row.
template <class Body>
void planes(const PoolParams& p, Body body) {
  const std::int64_t depth = p.out_extent()[0];
#pragma omp parallel for schedule(static)
  for (std::int64_t job = 0; job < p.batch * depth; ++job) body(job / depth, job % depth);
}

/// Calls body(n) for every sample in parallel: gradients of one sample are written by one thread.
template <class Body>
void samples(const PoolParams& p, Body body) {
#pragma omp parallel for schedule(static)
  for (std::int64_t n = 0; n < p.batch; ++n) body(n);
}

template <class T>
void clear(const PoolParams& p, std::int64_t n, T* grad_x) {
  const std::int64_t size = p.in_extent[0] * p.in_extent[1] * p.in_extent[2] * p.channels;
  std::fill(grad_x + n * size, grad_x + (n + 1) * size, T{});
}

void max_forward(const Stream&, DType dtype, const PoolParams& p, const void* x, void* y,
                 std::uint8_t* winner) {
  with_type(dtype, [&]<class T>() {
    using F = Compute<T>;
    const T* in = static_cast<const T*>(x);
    T* out = static_cast<T*>(y);
    const std::int64_t channels = p.channels;
    planes(p, [&](std::int64_t n, std::int64_t od) {
      for (std::int64_t c0 = 0; c0 < channels; c0 += kMaxStackChannels) {
        const std::int64_t width = std::min(kMaxStackChannels, channels - c0);
        F best[kMaxStackChannels];
        std::uint8_t index[kMaxStackChannels];
        windows(
            p, n, od,
            [&](std::int64_t, std::int64_t) {
              std::fill(best, best + width, -std::numeric_limits<F>::infinity());
              std::fill(index, index + width, std::uint8_t{0});
            },
            [&](std::int64_t, std::int64_t from, std::int64_t position) {
              const T* row = in + from * channels + c0;
              const auto here = static_cast<std::uint8_t>(position);
              for (std::int64_t c = 0; c < width; ++c) {
                const F v = load(row[c]);
                const bool wins = v > best[c] || v != v;  // NaN wins. NOLINT(misc-redundant-expression)
                best[c] = wins ? v : best[c];
                index[c] = wins ? here : index[c];
              }
            },
            [&](std::int64_t to) {
              for (std::int64_t c = 0; c < width; ++c) store(out[to * channels + c0 + c], best[c]);
              if (winner != nullptr) std::copy(index, index + width, winner + to * channels + c0);
            });
      }
    });
  });
}

void max_backward(const Stream&, DType dtype, const PoolParams& p, const MaxPoolGradients& q) {
  with_type(dtype, [&]<class T>() {
    const std::uint8_t* const winner = q.winner;
    const T* gy = static_cast<const T*>(q.grad_y);
    T* gx = static_cast<T*>(q.grad_x);
    const std::int64_t channels = p.channels;
    samples(p, [&](std::int64_t n) {
      if (q.write == Write::overwrite) clear(p, n, gx);
      for (std::int64_t od = 0; od < p.out_extent()[0]; ++od) {
        windows(
            p, n, od, [](std::int64_t, std::int64_t) {},
            [&](std::int64_t to, std::int64_t from, std::int64_t position) {
              const auto here = static_cast<std::uint8_t>(position);
              for (std::int64_t c = 0; c < channels; ++c) {
                T& g = gx[from * channels + c];
                const auto v = load(gy[to * channels + c]);
                store(g, load(g) + (winner[to * channels + c] == here ? v : 0));
              }
            },
            [](std::int64_t) {});
      }
    });
  });
}

void average_forward(const Stream&, DType dtype, const PoolParams& p, const void* x, void* y) {
  with_type(dtype, [&]<class T>() {
    using F = Compute<T>;
    const T* in = static_cast<const T*>(x);
    T* out = static_cast<T*>(y);
    const std::int64_t channels = p.channels;
    const std::int64_t window = p.kernel[0] * p.kernel[1] * p.kernel[2];
    planes(p, [&](std::int64_t n, std::int64_t od) {
      for (std::int64_t c0 = 0; c0 < channels; c0 += kMaxStackChannels) {
        const std::int64_t width = std::min(kMaxStackChannels, channels - c0);
        F sum[kMaxStackChannels];
        F scale = 0;
        windows(
            p, n, od,
            [&](std::int64_t, std::int64_t valid) {
              std::fill(sum, sum + width, F{0});
              scale = F{1} / static_cast<F>(p.count_padding ? window : valid);
            },
            [&](std::int64_t, std::int64_t from, std::int64_t) {
              const T* row = in + from * channels + c0;
              for (std::int64_t c = 0; c < width; ++c) sum[c] += load(row[c]);
            },
            [&](std::int64_t to) {
              for (std::int64_t c = 0; c < width; ++c) store(out[to * channels + c0 + c], sum[c] * scale);
            });
      }
    });
  });
}

/// Gathers: every input row sums the windows that cover it, so bf16 gradients are rounded once.
template <class T, Write W>
void average_backward_row(const PoolParams& p, std::int64_t n, std::int64_t d, std::int64_t h, std::int64_t w,
                          const T* gy, T* gx) {
  using F = Compute<T>;
  const auto out = p.out_extent();
  const std::array<std::int64_t, 3> at{d, h, w};
  std::array<std::int64_t, 3> low{};
  std::array<std::int64_t, 3> high{};
  for (std::size_t a = 0; a < 3; ++a) {
    const std::int64_t q = at[a] + p.padding[a] - p.kernel[a] + 1;
    low[a] = q <= 0 ? 0 : (q + p.stride[a] - 1) / p.stride[a];
    high[a] = std::min((at[a] + p.padding[a]) / p.stride[a] + 1, out[a]);
  }
  const auto covered = [&](std::size_t a, std::int64_t o) {
    const std::int64_t first = o * p.stride[a] - p.padding[a];
    return std::min(first + p.kernel[a], p.in_extent[a]) - std::max<std::int64_t>(first, 0);
  };
  const std::int64_t channels = p.channels;
  const std::int64_t to = ((n * p.in_extent[0] + d) * p.in_extent[1] + h) * p.in_extent[2] + w;
  for (std::int64_t c0 = 0; c0 < channels; c0 += kMaxStackChannels) {
    const std::int64_t width = std::min(kMaxStackChannels, channels - c0);
    F sum[kMaxStackChannels];
    std::fill(sum, sum + width, F{0});
    for (std::int64_t od = low[0]; od < high[0]; ++od) {
      for (std::int64_t oh = low[1]; oh < high[1]; ++oh) {
        for (std::int64_t ow = low[2]; ow < high[2]; ++ow) {
          const std::int64_t count = p.count_padding ? p.kernel[0] * p.kernel[1] * p.kernel[2]
                                                     : covered(0, od) * covered(1, oh) * covered(2, ow);
          const F scale = F{1} / static_cast<F>(count);
          const T* row = gy + (((n * out[0] + od) * out[1] + oh) * out[2] + ow) * channels + c0;
          for (std::int64_t c = 0; c < width; ++c) sum[c] += load(row[c]) * scale;
        }
      }
    }
    for (std::int64_t c = 0; c < width; ++c) put<W>(gx[to * channels + c0 + c], sum[c]);
  }
}

void average_backward(const Stream&, DType dtype, const PoolParams& p, const void* grad_y, void* grad_x,
                      Write write) {
  with_type(dtype, [&]<class T>() {
    const T* gy = static_cast<const T*>(grad_y);
    T* gx = static_cast<T*>(grad_x);
    with_write(write, [&]<Write W>() {
#pragma omp parallel for schedule(static)
      for (std::int64_t job = 0; job < p.batch * p.in_extent[0]; ++job) {
        for (std::int64_t h = 0; h < p.in_extent[1]; ++h) {
          for (std::int64_t w = 0; w < p.in_extent[2]; ++w) {
            average_backward_row<T, W>(p, job / p.in_extent[0], job % p.in_extent[0], h, w, gy, gx);
          }
        }
      }
    });
  });
}

const Implement registered[] = {
    {max_pool_forward, Device::cpu, max_forward},
    {max_pool_backward, Device::cpu, max_backward},
    {average_pool_forward, Device::cpu, average_forward},
    {average_pool_backward, Device::cpu, average_backward},
};

}  // namespace
}  // namespace kernels
}  // namespace voxot
