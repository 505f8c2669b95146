// Direct convolution, the reference: one thread sums one output element in the contract's order of terms.
// Volumes N×D×H×W×C, weights [C_out, kD, kH, kW, C_in]; the element index rides on grid.x. Any geometry, any
// type.
#include "kernels/cuda/conv3d/variants.h"
#include "kernels/cuda/ordered_sum.cuh"
#include "kernels/cuda/scalar.h"

namespace voxot::cuda {
namespace {

constexpr unsigned kThreads = 128;

struct Voxel {
  std::int64_t n;
  std::int64_t at[3];
};

VOXOT_DEVICE Voxel voxel_of(std::int64_t index, const std::int64_t (&extent)[3]) {
  Voxel v;
  for (int a = 2; a >= 0; --a) {
    v.at[a] = index % extent[a];
    index /= extent[a];
  }
  v.n = index;
  return v;
}

/// Conv3dParams with what the kernels index by.
struct Geometry {
  std::int64_t batch, in_channels, out_channels;
  std::int64_t in[3], out[3], kernel[3], stride[3], padding[3], dilation[3];

  explicit Geometry(const Conv3dParams& p)
      : batch(p.batch), in_channels(p.in_channels), out_channels(p.out_channels) {
    const auto o = p.out_extent();
    for (std::size_t a = 0; a < 3; ++a) {
      in[a] = p.in_extent[a];
      out[a] = o[a];
      kernel[a] = p.kernel[a];
      stride[a] = p.stride[a];
      padding[a] = p.padding[a];
      dilation[a] = p.dilation[a];
    }
  }
};

VOXOT_DEVICE std::int64_t row_of(std::int64_t n, const std::int64_t (&at)[3],
                                 const std::int64_t (&extent)[3]) {
  return ((n * extent[0] + at[0]) * extent[1] + at[1]) * extent[2] + at[2];
}

/// The input position under a tap, or false when it lies in the padding.
VOXOT_DEVICE bool under_tap(const Geometry& g, const std::int64_t (&out)[3], const std::int64_t (&tap)[3],
                            std::int64_t (&in)[3]) {
  for (int a = 0; a < 3; ++a) {
    in[a] = out[a] * g.stride[a] - g.padding[a] + tap[a] * g.dilation[a];
    if (in[a] < 0 || in[a] >= g.in[a]) return false;
  }
  return true;
}

/// The output position that reads `in` through a tap, or false when there is none.
VOXOT_DEVICE bool over_tap(const Geometry& g, const std::int64_t (&in)[3], const std::int64_t (&tap)[3],
                           std::int64_t (&out)[3]) {
  for (int a = 0; a < 3; ++a) {
    const std::int64_t scaled = in[a] + g.padding[a] - tap[a] * g.dilation[a];
    if (scaled < 0 || scaled % g.stride[a] != 0) return false;
    out[a] = scaled / g.stride[a];
    if (out[a] >= g.out[a]) return false;
  }
  return true;
}

template <class F>
VOXOT_DEVICE F activated(ActivationKind kind, F slope, F v) {
  if (kind == ActivationKind::relu) return v < 0 ? F{0} : v;
  if (kind == ActivationKind::leaky_relu) return v > 0 ? v : slope * v;
  return v;
}

template <class T>
VOXOT_KERNEL void forward(Geometry g, const T* x, const Compute<T>* weight, const Compute<T>* bias,
                          const T* residual, float scale, ActivationKind activation, float slope, T* y) {
  using F = Compute<T>;
  const std::int64_t i = simt::global_thread();
  if (i >= g.batch * g.out[0] * g.out[1] * g.out[2] * g.out_channels) return;
  const std::int64_t q = i % g.out_channels;
  const Voxel v = voxel_of(i / g.out_channels, g.out);
  F sum = 0;
  const F* w = weight + q * g.kernel[0] * g.kernel[1] * g.kernel[2] * g.in_channels;
  std::int64_t tap[3];
  std::int64_t in[3];
  for (tap[0] = 0; tap[0] < g.kernel[0]; ++tap[0]) {
    for (tap[1] = 0; tap[1] < g.kernel[1]; ++tap[1]) {
      for (tap[2] = 0; tap[2] < g.kernel[2]; ++tap[2], w += g.in_channels) {
        if (!under_tap(g, v.at, tap, in)) continue;
        const T* row = x + row_of(v.n, in, g.in) * g.in_channels;
        for (std::int64_t c = 0; c < g.in_channels; ++c) sum += w[c] * load(row[c]);
      }
    }
  }
  if (bias != nullptr) sum += bias[q];
  sum *= static_cast<F>(scale);
  const std::int64_t at = i;
  if (residual != nullptr) sum += load(residual[at]);
  y[at] = stored<T>(activated(activation, static_cast<F>(slope), sum));
}

template <class T, Write W>
VOXOT_KERNEL void grad_input(Geometry g, const T* grad_y, const Compute<T>* weight, float scale, T* grad_x) {
  using F = Compute<T>;
  const std::int64_t i = simt::global_thread();
  if (i >= g.batch * g.in[0] * g.in[1] * g.in[2] * g.in_channels) return;
  const std::int64_t c = i % g.in_channels;
  const Voxel v = voxel_of(i / g.in_channels, g.in);
  const std::int64_t taps = g.kernel[0] * g.kernel[1] * g.kernel[2];
  F sum = 0;
  std::int64_t tap[3];
  std::int64_t out[3];
  std::int64_t t = 0;
  for (tap[0] = 0; tap[0] < g.kernel[0]; ++tap[0]) {
    for (tap[1] = 0; tap[1] < g.kernel[1]; ++tap[1]) {
      for (tap[2] = 0; tap[2] < g.kernel[2]; ++tap[2], ++t) {
        if (!over_tap(g, v.at, tap, out)) continue;
        const T* row = grad_y + row_of(v.n, out, g.out) * g.out_channels;
        for (std::int64_t q = 0; q < g.out_channels; ++q)
          sum += weight[(q * taps + t) * g.in_channels + c] * load(row[q]);
      }
    }
  }
  put<W>(grad_x[i], static_cast<F>(scale) * sum);
}

template <class T, Write W>
VOXOT_KERNEL void grad_weight(Geometry g, const T* x, const T* grad_y, float scale, Compute<T>* grad) {
  using F = Compute<T>;
  const std::int64_t taps = g.kernel[0] * g.kernel[1] * g.kernel[2];
  const std::int64_t i = simt::global_thread();
  if (i >= g.out_channels * taps * g.in_channels) return;
  const std::int64_t c = i % g.in_channels;
  const std::int64_t t = i / g.in_channels % taps;
  const std::int64_t q = i / g.in_channels / taps;
  const std::int64_t tap[3] = {t / g.kernel[2] / g.kernel[1], t / g.kernel[2] % g.kernel[1], t % g.kernel[2]};
  F sum = 0;
  std::int64_t out[3];
  std::int64_t in[3];
  std::int64_t row = 0;
  for (std::int64_t n = 0; n < g.batch; ++n) {
    for (out[0] = 0; out[0] < g.out[0]; ++out[0]) {
      for (out[1] = 0; out[1] < g.out[1]; ++out[1]) {
        for (out[2] = 0; out[2] < g.out[2]; ++out[2], ++row) {
          if (!under_tap(g, out, tap, in)) continue;
          sum += load(grad_y[row * g.out_channels + q]) * load(x[row_of(n, in, g.in) * g.in_channels + c]);
        }
      }
    }
  }
  put<W>(grad[i], static_cast<F>(scale) * sum);
}

template <class T>
void run_forward(const Stream& stream, const ConvCall& c) {
  const Conv3dEpilogue& e = c.epilogue;
  const std::int64_t count = c.params.batch * c.params.out_voxels() * c.params.out_channels;
  simt::launch({"conv3d_forward naive", {simt::blocks_for(count, kThreads)}, {kThreads}, 0, stream},
               forward<T>, Geometry(c.params), static_cast<const T*>(c.input),
               static_cast<const Compute<T>*>(c.other), static_cast<const Compute<T>*>(e.bias),
               static_cast<const T*>(e.residual), e.scale, e.activation.kind, e.activation.slope,
               static_cast<T*>(c.output));
}

template <class T, Write W>
void run_gradient(const Stream& stream, const ConvCall& c) {
  const Geometry g(c.params);
  const auto* input = static_cast<const T*>(c.input);
  if (c.pass == ConvPass::grad_input) {
    const std::int64_t count = c.params.batch * c.params.in_voxels() * c.params.in_channels;
    return simt::launch(
        {"conv3d_grad_input naive", {simt::blocks_for(count, kThreads)}, {kThreads}, 0, stream},
        grad_input<T, W>, g, input, static_cast<const Compute<T>*>(c.other), c.epilogue.scale,
        static_cast<T*>(c.output));
  }
  simt::launch({"conv3d_grad_weight naive",
                {simt::blocks_for(c.params.weight_count(), kThreads)},
                {kThreads},
                0,
                stream},
               grad_weight<T, W>, g, input, static_cast<const T*>(c.other), c.epilogue.scale,
               static_cast<Compute<T>*>(c.output));
}

}  // namespace

void conv3d_naive(const Stream& stream, const ConvCall& call) {
  with_type(call.dtype, [&]<class T>() {
    if (call.pass == ConvPass::forward) {
      run_forward<T>(stream, call);
      return conv3d_statistics(stream, call);
    }
    with_write(call.write, [&]<Write W>() { run_gradient<T, W>(stream, call); });
  });
}

void conv3d_grad_bias(const Stream& stream, DType dtype, const Conv3dParams& p, const Conv3dGradWeight& g) {
  with_type(dtype, [&]<class T>() {
    with_write(g.write, [&]<Write W>() {
      const SumView columns{1, p.batch * p.out_voxels(), p.out_channels};
      const StoreSum<W, Compute<T>> store{static_cast<Compute<T>*>(g.grad_bias), g.scale};
      ordered_sum(stream, "conv3d_grad_bias", columns, Itself{}, store, static_cast<const T*>(g.grad_y));
    });
  });
}

}  // namespace voxot::cuda
