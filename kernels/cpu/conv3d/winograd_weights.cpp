// Weights [C_out, 3, 3, 3, C_in] to planes of blocks of output channels (Tiling::weight_at), and the gradient
// back.
#include <algorithm>

#include "kernels/cpu/conv3d/winograd.h"

namespace voxot::cpu {
namespace winograd {
namespace {

/// Input channels handled together: neighbours in memory.
constexpr std::int64_t kGroup = 8;

/// to[j·to_stride + i] = from[i·from_stride + j] for an 8×8 block.
void transpose(const float* from, std::int64_t from_stride, float* to, std::int64_t to_stride) {
  using V = Vector<8>::Type;
  V a[8];
  V b[8];
  for (int i = 0; i < 8; ++i) a[i] = load_lanes<8>(from + i * from_stride);
  for (int i = 0; i < 8; i += 2) {
    b[i] = __builtin_shufflevector(a[i], a[i + 1], 0, 8, 1, 9, 4, 12, 5, 13);
    b[i + 1] = __builtin_shufflevector(a[i], a[i + 1], 2, 10, 3, 11, 6, 14, 7, 15);
  }
  for (int i = 0; i < 8; i += 4) {
    for (int j = 0; j < 2; ++j) {
      a[i + 2 * j] = __builtin_shufflevector(b[i + j], b[i + j + 2], 0, 1, 8, 9, 4, 5, 12, 13);
      a[i + 2 * j + 1] = __builtin_shufflevector(b[i + j], b[i + j + 2], 2, 3, 10, 11, 6, 7, 14, 15);
    }
  }
  for (int i = 0; i < 4; ++i) {
    store_lanes<8>(to + i * to_stride, __builtin_shufflevector(a[i], a[i + 4], 0, 1, 2, 3, 8, 9, 10, 11));
    store_lanes<8>(to + (i + 4) * to_stride,
                   __builtin_shufflevector(a[i], a[i + 4], 4, 5, 6, 7, 12, 13, 14, 15));
  }
}

/// Output channels in vectors: 27 taps to planes × points, first along W.
template <int Lanes, int Width>
void weight_tile(const float* taps, float scale, float* u, std::int64_t plane_stride,
                 std::int64_t point_step) {
  using V = typename Vector<Lanes>::Type;
  constexpr int kPoints = Width + 2;
  V rows[9][kPoints];
  for (int row = 0; row < 9; ++row) {
    V g[3];
    for (int k = 0; k < 3; ++k) g[k] = scale * load_lanes<Lanes>(taps + (row * 3 + k) * Lanes);
    Points<Width>::weight(g, rows[row]);
  }
  for (int i = 0; i < kPoints; ++i) {
    V half[4][3];
    for (int h = 0; h < 3; ++h) {
      const V g[3] = {rows[h][i], rows[3 + h][i], rows[6 + h][i]};
      V d[4];
      Points<2>::weight(g, d);
      for (int k = 0; k < 4; ++k) half[k][h] = d[k];
    }
    for (int d = 0; d < 4; ++d) {
      V h[4];
      Points<2>::weight(half[d], h);
      for (int k = 0; k < 4; ++k) store_lanes<Lanes>(u + (d * 4 + k) * plane_stride + i * point_step, h[k]);
    }
  }
}

template <int Lanes, int Width>
void transform_weights(const Tiling& t, const float* w, float scale, bool mirrored, float* u) {
  const std::int64_t plane_stride = t.points() * t.c_in * t.c_out;
#pragma omp parallel for collapse(2) schedule(static)
  for (std::int64_t q = 0; q < t.c_out; q += Lanes) {
    for (std::int64_t c = 0; c < t.c_in; c += kGroup) {
      alignas(64) float taps[kGroup][27 * Lanes];
      for (std::int64_t k = 0; k < 27; ++k) {
        if (mirrored) {
          for (std::int64_t i = 0; i < kGroup; ++i) {
            store_lanes<Lanes>(taps[i] + k * Lanes,
                               load_lanes<Lanes>(w + ((c + i) * 27 + 26 - k) * t.c_out + q));
          }
        } else {
          for (std::int64_t lane = 0; lane < Lanes; lane += 8) {
            transpose(w + ((q + lane) * 27 + k) * t.c_in + c, 27 * t.c_in, taps[0] + k * Lanes + lane,
                      27 * Lanes);
          }
        }
      }
      for (std::int64_t i = 0; i < kGroup; ++i) {
        weight_tile<Lanes, Width>(taps[i], scale, u + t.weight_at(q, c + i), plane_stride, t.point_step());
      }
    }
  }
}

/// The transpose of weight_tile.
template <int Lanes, int Width>
void grad_weight_tile(const float* u, std::int64_t plane_stride, std::int64_t point_step, std::int64_t size,
                      int copies, float* taps) {
  using V = typename Vector<Lanes>::Type;
  constexpr int kPoints = Width + 2;
  V rows[9][kPoints];
  for (int i = 0; i < kPoints; ++i) {
    V half[3][4];
    for (int d = 0; d < 4; ++d) {
      V h[4];
      V g[3];
      for (int k = 0; k < 4; ++k) {
        const float* from = u + (d * 4 + k) * plane_stride + i * point_step;
        h[k] = load_lanes<Lanes>(from);
        for (int copy = 1; copy < copies; ++copy) h[k] += load_lanes<Lanes>(from + copy * size);
      }
      Points<2>::grad_weight(h, g);
      for (int k = 0; k < 3; ++k) half[k][d] = g[k];
    }
    for (int h = 0; h < 3; ++h) {
      V g[3];
      Points<2>::grad_weight(half[h], g);
      for (int d = 0; d < 3; ++d) rows[d * 3 + h][i] = g[d];
    }
  }
  for (int row = 0; row < 9; ++row) {
    V g[3];
    Points<Width>::grad_weight(rows[row], g);
    for (int k = 0; k < 3; ++k) store_lanes<Lanes>(taps + (row * 3 + k) * Lanes, g[k]);
  }
}

template <int Lanes, int Width>
void transform_grad_weights(const Tiling& t, const float* u, int copies, float* grad_weight) {
  const std::int64_t plane_stride = t.points() * t.c_in * t.c_out;
#pragma omp parallel for collapse(2) schedule(static)
  for (std::int64_t q = 0; q < t.c_out; q += Lanes) {
    for (std::int64_t c = 0; c < t.c_in; c += kGroup) {
      alignas(64) float taps[kGroup][27 * Lanes];
      for (std::int64_t i = 0; i < kGroup; ++i) {
        grad_weight_tile<Lanes, Width>(u + t.weight_at(q, c + i), plane_stride, t.point_step(),
                                       t.weight_count(), copies, taps[i]);
      }
      for (std::int64_t lane = 0; lane < Lanes; lane += 8) {
        for (std::int64_t k = 0; k < 27; ++k) {
          transpose(taps[0] + k * Lanes + lane, 27 * Lanes, grad_weight + ((q + lane) * 27 + k) * t.c_in + c,
                    27 * t.c_in);
        }
      }
    }
  }
}

}  // namespace

void transform_grad_weight(const Tiling& t, const float* u, int copies, float* grad_weight) {
  with_shape(lanes(t.c_out), t.width, [&]<int Lanes, int Width>() {
    transform_grad_weights<Lanes, Width>(t, u, copies, grad_weight);
  });
}

}  // namespace winograd

void winograd_transform_weights(const Conv3dParams& p, const float* w, float scale, bool mirrored,
                                float* transformed) {
  const winograd::Tiling t(p);
  winograd::with_shape(winograd::lanes(t.c_out), t.width, [&]<int Lanes, int Width>() {
    winograd::transform_weights<Lanes, Width>(t, w, scale, mirrored, transformed);
  });
}

namespace {

const kernels::Implement registered{
    kernels::conv3d_winograd_weights, Device::cpu,
    [](const Stream&, const Conv3dParams& p, const float* w, float scale, bool mirrored, float* transformed) {
      winograd_transform_weights(p, w, scale, mirrored, transformed);
    }};

}  // namespace

}  // namespace voxot::cpu
