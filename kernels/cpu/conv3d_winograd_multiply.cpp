// Products of transformed tiles with transformed weights. A micro-kernel keeps every point along W of a few
// tiles and one vector of output channels in registers, so that it can transform back along W before it
// stores.
#include "kernels/cpu/conv3d_winograd.h"

namespace voxot::cpu::winograd {
namespace {

/// Tiles in a micro-kernel: 24 accumulators of the 32 registers.
template <int Width>
inline constexpr int kMicroTiles = 24 / (Width + 2);

/// c_in in chunks of `In` channels, which is how v stores them.
template <int In, int Out, int Width, int Tiles>
void micro_kernel(std::int64_t chunks, const float* v, std::int64_t v_stride, const float* u, float* m,
                  std::int64_t m_stride) {
  using V = typename Vector<Out>::Type;
  constexpr int kPoints = Width + 2;
  V sum[Tiles][kPoints]{};
  for (std::int64_t chunk = 0; chunk < chunks; ++chunk, v += kPoints * In) {
#pragma GCC unroll 4
    for (int c = 0; c < In; ++c, u += kPoints * Out) {
#pragma GCC unroll 6
      for (int i = 0; i < kPoints; ++i) {
        const V weight = load_lanes<Out>(u + i * Out);
#pragma GCC unroll 6
        for (int tile = 0; tile < Tiles; ++tile) sum[tile][i] += weight * v[tile * v_stride + i * In + c];
      }
    }
  }
#pragma GCC unroll 6
  for (int tile = 0; tile < Tiles; ++tile) {
    V y[Width];
    Points<Width>::output(sum[tile], y);
#pragma GCC unroll 4
    for (int w = 0; w < Width; ++w) store_lanes<Out>(m + tile * m_stride + w * Out, y[w]);
  }
}

template <int In, int Out, int Width, int Tiles>
void rest(std::int64_t tiles, std::int64_t chunks, const float* v, std::int64_t v_stride, const float* u,
          float* m, std::int64_t m_stride) {
  if constexpr (Tiles > 0) {
    if (tiles == Tiles) return micro_kernel<In, Out, Width, Tiles>(chunks, v, v_stride, u, m, m_stride);
    rest<In, Out, Width, Tiles - 1>(tiles, chunks, v, v_stride, u, m, m_stride);
  }
}

/// One chunk of input channels by one vector of output channels at one point; the sum runs over the tiles.
template <int In, int Out>
void grad_micro_kernel(std::int64_t tiles, const float* v, std::int64_t v_stride, const float* g,
                       std::int64_t g_stride, float* u, std::int64_t u_stride) {
  using V = typename Vector<Out>::Type;
  V sum[In];
#pragma GCC unroll 16
  for (int c = 0; c < In; ++c) sum[c] = load_lanes<Out>(u + c * u_stride);
  for (std::int64_t tile = 0; tile < tiles; ++tile, v += v_stride, g += g_stride) {
    const V grad = load_lanes<Out>(g);
#pragma GCC unroll 16
    for (int c = 0; c < In; ++c) sum[c] += grad * v[c];
  }
#pragma GCC unroll 16
  for (int c = 0; c < In; ++c) store_lanes<Out>(u + c * u_stride, sum[c]);
}

}  // namespace

void multiply(const Tiling& t, std::int64_t plane, std::int64_t block, std::int64_t tiles,
              const TileArray& v_array, const float* v, const float* u, const TileArray& m_array, float* m) {
  with_shape(lanes(t.c_out), t.width, [&]<int Out, int Width>() {
    with_shape(lanes(t.c_in), 2, [&]<int In, int>() {
      constexpr int kTiles = kMicroTiles<Width>;
      const float* weights = u + (plane * (t.c_out / Out) + block) * t.c_in * (Width + 2) * Out;
      float* to = m + plane * m_array.plane_stride + block * Width * Out;
      std::int64_t tile = 0;
      for (; tile + kTiles <= tiles; tile += kTiles) {
        micro_kernel<In, Out, Width, kTiles>(t.c_in / In, v + tile * v_array.tile_stride, v_array.tile_stride,
                                             weights, to + tile * m_array.tile_stride, m_array.tile_stride);
      }
      rest<In, Out, Width, kTiles - 1>(tiles - tile, t.c_in / In, v + tile * v_array.tile_stride,
                                       v_array.tile_stride, weights, to + tile * m_array.tile_stride,
                                       m_array.tile_stride);
    });
  });
}

void multiply_grad(const Tiling& t, std::int64_t plane, std::int64_t block, std::int64_t tiles,
                   const TileArray& v_array, const float* v, const TileArray& g_array, const float* g,
                   float* u) {
  const std::int64_t points = t.points();
  with_shape(lanes(t.c_out), 2, [&]<int Out, int>() {
    with_shape(lanes(t.c_in), 2, [&]<int In, int>() {
      float* const to = u + (plane * (t.c_out / Out) + block) * t.c_in * points * Out;
      const float* const grads = g + block * points * Out;
      for (std::int64_t c = 0; c < t.c_in; c += In) {
        for (std::int64_t i = 0; i < points; ++i) {
          grad_micro_kernel<In, Out>(tiles, v + c * points + i * In, v_array.tile_stride, grads + i * Out,
                                     g_array.tile_stride, to + (c * points + i) * Out, points * Out);
        }
      }
    });
  });
}

}  // namespace voxot::cpu::winograd
