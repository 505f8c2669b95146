// Weights [C_out, 3, 3, 3, C_in] to [plane][C_out / lanes][C_in][point][lanes], and the gradient back.
#include <algorithm>

#include "kernels/cpu/conv3d_winograd.h"

namespace voxot::cpu {
namespace winograd {
namespace {

/// Input channels handled together: neighbours in memory.
constexpr std::int64_t kGroup = 8;

/// Output channels in vectors: 27 taps to planes × points, first along W.
template <int Lanes, int Width>
void weight_tile(const float* taps, float* u, std::int64_t plane_stride) {
  using V = typename Vector<Lanes>::Type;
  constexpr int kPoints = Width + 2;
  V rows[9][kPoints];
  for (int row = 0; row < 9; ++row) {
    V g[3];
    for (int k = 0; k < 3; ++k) g[k] = load_lanes<Lanes>(taps + (row * 3 + k) * Lanes);
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
      for (int k = 0; k < 4; ++k) store_lanes<Lanes>(u + (d * 4 + k) * plane_stride + i * Lanes, h[k]);
    }
  }
}

template <int Lanes, int Width>
void transform_weights(const Tiling& t, const float* w, float scale, bool mirrored, float* u) {
  constexpr int kPoints = Width + 2;
  const std::int64_t plane_stride = kPoints * t.c_in * t.c_out;
#pragma omp parallel for collapse(2) schedule(static)
  for (std::int64_t q = 0; q < t.c_out; q += Lanes) {
    for (std::int64_t c = 0; c < t.c_in; c += kGroup) {
      alignas(64) float taps[kGroup][27 * Lanes];
      for (std::int64_t k = 0; k < 27; ++k) {
        if (mirrored) {
          for (std::int64_t i = 0; i < kGroup; ++i) {
            store_lanes<Lanes>(taps[i] + k * Lanes,
                               scale * load_lanes<Lanes>(w + ((c + i) * 27 + 26 - k) * t.c_out + q));
          }
        } else {
          for (std::int64_t lane = 0; lane < Lanes; ++lane) {
            const float* from = w + ((q + lane) * 27 + k) * t.c_in + c;
            for (std::int64_t i = 0; i < kGroup; ++i) taps[i][k * Lanes + lane] = scale * from[i];
          }
        }
      }
      for (std::int64_t i = 0; i < kGroup; ++i) {
        weight_tile<Lanes, Width>(taps[i], u + (q / Lanes * t.c_in + c + i) * kPoints * Lanes, plane_stride);
      }
    }
  }
}

/// The transpose of weight_tile.
template <int Lanes, int Width>
void grad_weight_tile(const float* u, std::int64_t plane_stride, float* taps) {
  using V = typename Vector<Lanes>::Type;
  constexpr int kPoints = Width + 2;
  V rows[9][kPoints];
  for (int i = 0; i < kPoints; ++i) {
    V half[3][4];
    for (int d = 0; d < 4; ++d) {
      V h[4];
      V g[3];
      for (int k = 0; k < 4; ++k) h[k] = load_lanes<Lanes>(u + (d * 4 + k) * plane_stride + i * Lanes);
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
void transform_grad_weights(const Tiling& t, const float* u, float* grad_weight) {
  constexpr int kPoints = Width + 2;
  const std::int64_t plane_stride = kPoints * t.c_in * t.c_out;
#pragma omp parallel for collapse(2) schedule(static)
  for (std::int64_t q = 0; q < t.c_out; q += Lanes) {
    for (std::int64_t c = 0; c < t.c_in; c += kGroup) {
      alignas(64) float taps[kGroup][27 * Lanes];
      for (std::int64_t i = 0; i < kGroup; ++i) {
        grad_weight_tile<Lanes, Width>(u + (q / Lanes * t.c_in + c + i) * kPoints * Lanes, plane_stride, taps[i]);
      }
      for (std::int64_t lane = 0; lane < Lanes; ++lane) {
        for (std::int64_t k = 0; k < 27; ++k) {
          float* to = grad_weight + ((q + lane) * 27 + k) * t.c_in + c;
          for (std::int64_t i = 0; i < kGroup; ++i) to[i] = taps[i][k * Lanes + lane];
        }
      }
    }
  }
}

}  // namespace

void transform_grad_weight(const Tiling& t, const float* u, float* grad_weight) {
  with_shape(lanes(t.c_out), t.width, [&]<int Lanes, int Width>() {
    transform_grad_weights<Lanes, Width>(t, u, grad_weight);
  });
}

}  // namespace winograd

void winograd_transform_weights(const Conv3dParams& p, const float* w, float scale, bool mirrored, float* transformed) {
  const winograd::Tiling t(p);
  winograd::with_shape(winograd::lanes(t.c_out), t.width, [&]<int Lanes, int Width>() {
    winograd::transform_weights<Lanes, Width>(t, w, scale, mirrored, transformed);
  });
}

}  // namespace voxot::cpu
