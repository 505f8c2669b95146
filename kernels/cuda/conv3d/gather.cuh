#pragma once
// Forward and grad_input seen as one product: row m of the result is a voxel, the summed axis runs over (tap,
// channel) of the gathered tensor, which is x for forward and grad_y for grad_input.
//
// Along each axis the gathered position is  m·step + offset0 + tap·offset_step. grad_input of stride s falls
// into s³ classes of voxels: those of one residue mod s meet the same taps, every (s/gcd(s, dilation))th, so
// that each class is a convolution of stride 1 with fewer taps and nothing is multiplied by an inserted zero.
#include <numeric>

#include "kernels/cuda/conv3d/tensor_core.cuh"
#include "kernels/cuda/conv3d/variants.h"

namespace voxot::cuda {

/// One axis of a class.
struct GatherAxis {
  int extent = 1;       // of the gathered tensor
  int step = 1;         // gathered positions between neighbouring rows
  int offset0 = 0;      // of the class's first tap
  int offset_step = 1;  // between its taps
  int taps = 1;         // 0: no tap meets this class
  int tap0 = 0;         // the first tap's place in the kernel
  int tap_step = 1;
  int kernel = 1;
  int out_extent = 1;  // of the result
  int out_first = 0;   // result position of row coordinate 0
  int out_step = 1;
};

struct GatherClass {
  int rows = 0;
  Divisor rows_h, rows_w, rows_d;  // row coordinates of the class, along D, H, W
  GatherAxis axis[3];
};

inline constexpr int kMaxClasses =
    8;  // stride up to 2 along each axis; larger strides are launched class by class

struct GatherPlan {
  GatherClass classes[kMaxClasses];
  int channels = 0;    // of the gathered tensor: the summed axis is taps × channels
  int columns = 0;     // channels of the result
  bool pairs = false;  // two neighbouring channels of the result, the first even, are one aligned access
  int kernel_volume = 1;
};

/// The rows of the product that one class computes.
inline GatherClass forward_class(const Conv3dParams& p) {
  GatherClass g;
  const auto out = p.out_extent();
  for (std::size_t a = 0; a < 3; ++a) {
    GatherAxis& x = g.axis[a];
    x.extent = static_cast<int>(p.in_extent[a]);
    x.step = static_cast<int>(p.stride[a]);
    x.offset0 = -static_cast<int>(p.padding[a]);
    x.offset_step = static_cast<int>(p.dilation[a]);
    x.taps = x.kernel = static_cast<int>(p.kernel[a]);
    x.out_extent = static_cast<int>(out[a]);
  }
  g.rows_d = Divisor(out[0]);
  g.rows_h = Divisor(out[1]);
  g.rows_w = Divisor(out[2]);
  g.rows = static_cast<int>(p.batch * p.out_voxels());
  return g;
}

/// The class of input voxels that are `residue` mod stride; rows is 0 when it is empty.
inline GatherClass grad_input_class(const Conv3dParams& p, const std::array<std::int64_t, 3>& residue) {
  GatherClass g;
  const auto out = p.out_extent();
  std::int64_t rows[3];
  for (std::size_t a = 0; a < 3; ++a) {
    GatherAxis& x = g.axis[a];
    const std::int64_t s = p.stride[a];
    const std::int64_t d = p.dilation[a];
    const std::int64_t tap_step = s / std::gcd(s, d);
    rows[a] = (p.in_extent[a] - residue[a] + s - 1) / s;
    x.extent = static_cast<int>(out[a]);
    x.kernel = static_cast<int>(p.kernel[a]);
    x.out_extent = static_cast<int>(p.in_extent[a]);
    x.out_first = static_cast<int>(residue[a]);
    x.out_step = static_cast<int>(s);
    // The first tap k with (residue + padding − k·dilation) divisible by the stride, if any.
    std::int64_t first = 0;
    while (first < tap_step && (residue[a] + p.padding[a] - first * d) % s != 0) ++first;
    x.taps = first == tap_step || first >= p.kernel[a]
                 ? 0
                 : static_cast<int>((p.kernel[a] - 1 - first) / tap_step + 1);
    x.tap0 = static_cast<int>(first);
    x.tap_step = static_cast<int>(tap_step);
    x.offset0 = static_cast<int>((residue[a] + p.padding[a] - first * d) / s);
    x.offset_step = -static_cast<int>(d * tap_step / s);
  }
  if (rows[0] <= 0 || rows[1] <= 0 || rows[2] <= 0) return g;
  g.rows_d = Divisor(rows[0]);
  g.rows_h = Divisor(rows[1]);
  g.rows_w = Divisor(rows[2]);
  g.rows = static_cast<int>(p.batch * rows[0] * rows[1] * rows[2]);
  return g;
}

/// Where a row of the product lies: the sample and the gathered position under offset 0, per axis.
struct GatherRow {
  int base;  // first voxel of the sample in the gathered tensor; negative: no such row
  int at[3];
};

VOXOT_DEVICE GatherRow gather_row(const GatherClass& g, int row) {
  GatherRow r{-1, {0, 0, 0}};
  if (row >= g.rows) return r;
  r.at[2] = g.rows_w.split(row) * g.axis[2].step;
  r.at[1] = g.rows_h.split(row) * g.axis[1].step;
  r.at[0] = g.rows_d.split(row) * g.axis[0].step;
  r.base = row * g.axis[0].extent * g.axis[1].extent * g.axis[2].extent;
  return r;
}

/// The row of the result, in voxels.
VOXOT_DEVICE std::int64_t result_row(const GatherClass& g, int row) {
  const int w = g.rows_w.split(row) * g.axis[2].out_step + g.axis[2].out_first;
  const int h = g.rows_h.split(row) * g.axis[1].out_step + g.axis[1].out_first;
  const int d = g.rows_d.split(row) * g.axis[0].out_step + g.axis[0].out_first;
  return ((static_cast<std::int64_t>(row) * g.axis[0].out_extent + d) * g.axis[1].out_extent + h) *
             g.axis[2].out_extent +
         w;
}

/// A place on the summed axis: tap by tap, channels innermost. It moves forward only.
struct GatherPlace {
  int channel;
  int tap[3];

  VOXOT_DEVICE void settle(const GatherClass& g, int channels) {
    while (channel >= channels && tap[0] < g.axis[0].taps) {
      channel -= channels;
      if (++tap[2] < g.axis[2].taps) continue;
      tap[2] = 0;
      if (++tap[1] < g.axis[1].taps) continue;
      tap[1] = 0;
      ++tap[0];
    }
  }
  [[nodiscard]] VOXOT_DEVICE bool inside(const GatherClass& g) const { return tap[0] < g.axis[0].taps; }
  /// The tap's place in the kernel.
  [[nodiscard]] VOXOT_DEVICE int kernel_tap(const GatherClass& g) const {
    const int d = g.axis[0].tap0 + tap[0] * g.axis[0].tap_step;
    const int h = g.axis[1].tap0 + tap[1] * g.axis[1].tap_step;
    const int w = g.axis[2].tap0 + tap[2] * g.axis[2].tap_step;
    return (d * g.axis[1].kernel + h) * g.axis[2].kernel + w;
  }
};

VOXOT_DEVICE int summed_taps(const GatherClass& g) {
  return g.axis[0].taps * g.axis[1].taps * g.axis[2].taps;
}

/// The gathered voxel of a row at a place, or −1 in the padding.
VOXOT_DEVICE int gathered_voxel(const GatherClass& g, const GatherRow& row, const GatherPlace& place) {
  const int d = row.at[0] + g.axis[0].offset0 + place.tap[0] * g.axis[0].offset_step;
  const int h = row.at[1] + g.axis[1].offset0 + place.tap[1] * g.axis[1].offset_step;
  const int w = row.at[2] + g.axis[2].offset0 + place.tap[2] * g.axis[2].offset_step;
  const bool inside = row.base >= 0 && static_cast<unsigned>(d) < static_cast<unsigned>(g.axis[0].extent) &&
                      static_cast<unsigned>(h) < static_cast<unsigned>(g.axis[1].extent) &&
                      static_cast<unsigned>(w) < static_cast<unsigned>(g.axis[2].extent);
  return inside ? row.base + (d * g.axis[1].extent + h) * g.axis[2].extent + w : -1;
}

/// y = act(residual + scale·(sum + bias)); an accumulated gradient has itself as its residual.
template <class T>
struct GatherEpilogue {
  const float* bias;
  const T* residual;
  float scale;
  ActivationKind activation;
  float slope;

  VOXOT_DEVICE T operator()(float sum, int column, std::int64_t index) const {
    if (bias != nullptr) sum += bias[column];
    sum *= scale;
    if (residual != nullptr) sum += load(residual[index]);
    if (activation == ActivationKind::relu) sum = sum < 0 ? 0.0F : sum;
    if (activation == ActivationKind::leaky_relu) sum = sum > 0 ? sum : slope * sum;
    return stored<T>(sum);
  }
};

template <class T>
GatherEpilogue<T> gather_epilogue(const ConvCall& c) {
  const auto* residual = static_cast<const T*>(c.epilogue.residual);
  if (c.write == Write::accumulate) residual = static_cast<const T*>(c.output);
  return {static_cast<const float*>(c.epilogue.bias), residual, c.epilogue.scale, c.epilogue.activation.kind,
          c.epilogue.activation.slope};
}

/// Every index of the product fits 31 bits.
bool gather_fits(const Conv3dParams& p);
/// Whether the channels of all that is gathered fill 16-byte chunks, aligned ones.
bool takes_whole_chunks(const ConvCall& c);
/// The weight as [columns, taps, channels] of the product in the storage type: in `scratch`, unless it lies
/// so already.
template <class T>
const T* gather_weight(const Stream& stream, const ConvCall& call, void* scratch);

/// Calls launch(plan, classes) for every group of classes that fits a plan.
template <class Launch>
void for_each_plan(const ConvCall& c, Launch launch) {
  const Conv3dParams& p = c.params;
  const bool forward = c.pass == ConvPass::forward;
  GatherPlan plan;
  plan.channels = static_cast<int>(forward ? p.in_channels : p.out_channels);
  plan.columns = static_cast<int>(forward ? p.out_channels : p.in_channels);
  plan.pairs =
      plan.columns % 2 == 0 && reinterpret_cast<std::uintptr_t>(c.output) % (2 * size_of(c.dtype)) == 0;
  plan.kernel_volume = static_cast<int>(p.kernel_volume());
  int count = 0;
  const auto add = [&](const GatherClass& g) {
    if (g.rows == 0) return;
    plan.classes[count++] = g;
    if (count < kMaxClasses) return;
    launch(plan, count);
    count = 0;
  };
  if (forward) {
    add(forward_class(p));
  } else {
    std::array<std::int64_t, 3> r{};
    for (r[0] = 0; r[0] < p.stride[0]; ++r[0]) {
      for (r[1] = 0; r[1] < p.stride[1]; ++r[1]) {
        for (r[2] = 0; r[2] < p.stride[2]; ++r[2]) add(grad_input_class(p, r));
      }
    }
  }
  if (count > 0) launch(plan, count);
}

}  // namespace voxot::cuda
