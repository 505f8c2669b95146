// Products of transformed tiles with transformed weights, blocked by the registers there are. With 32 of 16
// floats (AVX-512) a micro-kernel keeps every point along W of a few tiles and one vector of output channels
// in registers, so that it can transform back along W before it stores; each value of v is an operand of one
// multiply-add. With 16 of 8 floats (AVX2) it takes one point at a time, 12 accumulators of several tiles and
// one or two vectors, so that a value of v that is spread over a register serves two; the sums of all points
// meet in the first-level cache. 32 of 4 floats (NEON) hold 20 of half the size.
#include <algorithm>
#include <type_traits>
#include <utility>

#include "kernels/cpu/conv3d/winograd.h"

namespace voxot::cpu::winograd {
namespace {

/// Where a micro-kernel reads v and writes m: floats from one tile to the next.
struct Strides {
  std::int64_t v, m;
};

/// All points of `Tiles` tiles at once, c_in in chunks of `In` channels, which is how v stores them.
template <int In, int Out, int Width, int Tiles>
void fused_kernel(std::int64_t chunks, const float* v, const float* u, float* m, Strides stride) {
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
        for (int tile = 0; tile < Tiles; ++tile) sum[tile][i] += weight * v[tile * stride.v + i * In + c];
      }
    }
  }
#pragma GCC unroll 6
  for (int tile = 0; tile < Tiles; ++tile) {
    V y[Width];
    Points<Width>::output(sum[tile], y);
#pragma GCC unroll 4
    for (int w = 0; w < Width; ++w) store_lanes<Out>(m + tile * stride.m + w * Out, y[w]);
  }
}

/// Floats of a vector where the points stand alone.
constexpr int kLane = kernels::kCompiledFor == kernels::InstructionSet::neon ? 4 : 8;

/// One point of `Tiles` tiles and `Channels` output channels: sums [tile][channel].
template <int Points, int Chunk, int Channels, int Tiles>
[[gnu::always_inline]] inline void point_sums(std::int64_t chunks, const float* v, std::int64_t v_stride,
                                              const float* u, float* sums) {
  using V = Vector<kLane>::Type;
  constexpr int kVectors = Channels / kLane;
  V sum[Tiles][kVectors]{};
  for (std::int64_t chunk = 0; chunk < chunks; ++chunk, v += Points * Chunk) {
#pragma GCC unroll 8
    for (int c = 0; c < Chunk; ++c, u += Channels) {
      V weight[kVectors];
#pragma GCC unroll 4
      for (int j = 0; j < kVectors; ++j) weight[j] = load_lanes<kLane>(u + j * kLane);
#pragma GCC unroll 12
      for (int tile = 0; tile < Tiles; ++tile) {
        const float value = v[tile * v_stride + c];
#pragma GCC unroll 4
        for (int j = 0; j < kVectors; ++j) sum[tile][j] += weight[j] * value;
      }
    }
  }
#pragma GCC unroll 12
  for (int tile = 0; tile < Tiles; ++tile) {
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; ++j) store_lanes<kLane>(sums + tile * Channels + j * kLane, sum[tile][j]);
  }
}

/// All points of `Tiles` tiles, one after another, then back along W.
template <int Chunk, int Channels, int Width, int Tiles>
void pointwise_kernel(std::int64_t chunks, const float* v, const float* u, float* m, Strides stride) {
  using V = Vector<8>::Type;
  constexpr int kPoints = Width + 2;
  constexpr int kSums = Tiles * Channels;
  alignas(64) float sums[kPoints * kSums];
  for (int i = 0; i < kPoints; ++i) {
    point_sums<kPoints, Chunk, Channels, Tiles>(chunks, v + i * Chunk, stride.v,
                                                u + i * chunks * Chunk * Channels, sums + i * kSums);
  }
  for (int tile = 0; tile < Tiles; ++tile) {
#pragma GCC unroll 2
    for (int q = 0; q < Channels; q += 8) {
      V point[kPoints];
#pragma GCC unroll 6
      for (int i = 0; i < kPoints; ++i) point[i] = load_lanes<8>(sums + i * kSums + tile * Channels + q);
      V y[Width];
      Points<Width>::output(point, y);
#pragma GCC unroll 4
      for (int w = 0; w < Width; ++w) store_lanes<8>(m + tile * stride.m + q * Width + w * 8, y[w]);
    }
  }
}

/// Calls body.operator()<Chunk, Channels>() with the channels of a chunk of v and of a block of outputs.
template <class Body>
void with_chunks(const Tiling& t, const Body& body) {
  if (chunk_channels(t.c_in) == 16) {
    return t.block_channels() == 16 ? body.template operator()<16, 16>() : body.template operator()<16, 8>();
  }
  return t.block_channels() == 16 ? body.template operator()<8, 16>() : body.template operator()<8, 8>();
}

/// kernel.operator()<Tiles>(first tile) for tiles in groups of at most `Most`, all of about the same size:
/// small ones leave accumulators empty.
template <int Most, class Kernel>
void in_groups(std::int64_t tiles, const Kernel& kernel) {
  const std::int64_t groups = (tiles + Most - 1) / Most;
  std::int64_t first = 0;
  const auto run = [&]<int... Less>(std::int64_t count, std::integer_sequence<int, Less...>) {
    static_cast<void>(
        ((count == Most - Less && (kernel.template operator()<Most - Less>(first), true)) || ...));
  };
  for (std::int64_t group = 0; group < groups; ++group) {
    const std::int64_t next = tiles * (group + 1) / groups;
    run(next - first, std::make_integer_sequence<int, Most>{});
    first = next;
  }
}

template <int In, int Out, int Width>
void multiply_fused(std::int64_t chunks, std::int64_t tiles, const float* v, const float* u, float* m,
                    Strides stride) {
  constexpr int kAccumulators = 24;
  in_groups<kAccumulators / (Width + 2)>(tiles, [&]<int Tiles>(std::int64_t tile) {
    fused_kernel<In, Out, Width, Tiles>(chunks, v + tile * stride.v, u, m + tile * stride.m, stride);
  });
}

template <int Chunk, int Channels, int Width>
void multiply_pointwise(std::int64_t chunks, std::int64_t tiles, const float* v, const float* u, float* m,
                        Strides stride) {
  constexpr int kAccumulated = 12 * 8;  // channels of all tiles
  in_groups<kAccumulated / Channels>(tiles, [&]<int Tiles>(std::int64_t tile) {
    pointwise_kernel<Chunk, Channels, Width, Tiles>(chunks, v + tile * stride.v, u, m + tile * stride.m,
                                                    stride);
  });
}

template <int... Counts>
using Rows = std::integer_sequence<int, Counts...>;

/// Tiles of a pass where a chunk takes several.
constexpr std::int64_t kGradTiles = 128;

/// `Count` input channels by `Channels` output channels at one point, which g holds in groups of `Group` that
/// begin g_group apart; the sum runs over the tiles.
template <int Count, int Channels, int Group>
void grad_kernel(std::int64_t tiles, const float* v, const float* g, std::int64_t g_group, float* u,
                 std::int64_t u_row, Strides stride) {
  constexpr int kL = kFused ? Group : kLane;
  constexpr int kVectors = Channels / kL;
  using V = typename Vector<kL>::Type;
  V sum[Count][kVectors];
#pragma GCC unroll 16
  for (int c = 0; c < Count; ++c) {
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; ++j) sum[c][j] = load_lanes<kL>(u + c * u_row + j * kL);
  }
  for (std::int64_t tile = 0; tile < tiles; ++tile, v += stride.v, g += stride.m) {
    V grad[kVectors];
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; ++j)
      grad[j] = load_lanes<kL>(g + j * kL / Group * g_group + j * kL % Group);
#pragma GCC unroll 16
    for (int c = 0; c < Count; ++c) {
#pragma GCC unroll 4
      for (int j = 0; j < kVectors; ++j) sum[c][j] += grad[j] * v[c];
    }
  }
#pragma GCC unroll 16
  for (int c = 0; c < Count; ++c) {
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; ++j) store_lanes<kL>(u + c * u_row + j * kL, sum[c][j]);
  }
}

}  // namespace

void multiply(const Tiling& t, std::int64_t plane, std::int64_t block, std::int64_t tiles,
              const TileArray& v_array, const float* v, const float* u, const TileArray& m_array, float* m) {
  const Strides stride{v_array.tile_stride, m_array.tile_stride};
  const float* const weights =
      u + plane * t.points() * t.c_in * t.c_out + t.weight_at(block * t.block_channels(), 0);
  float* const to = m + plane * m_array.plane_stride + block * t.block_channels() * t.width;
  with_shape(lanes(t.c_out), t.width, [&]<int Out, int Width>() {
    if constexpr (kFused) {
      with_shape(lanes(t.c_in), 2, [&]<int In, int>() {
        multiply_fused<In, Out, Width>(t.c_in / In, tiles, v, weights, to, stride);
      });
    } else {
      const auto run = [&]<int Chunk, int Channels>() {
        multiply_pointwise<Chunk, Channels, Width>(t.c_in / Chunk, tiles, v, weights, to, stride);
      };
      with_chunks(t, run);
    }
  });
}

void multiply_grad(const Tiling& t, std::int64_t plane, std::int64_t block, std::int64_t tiles,
                   const TileArray& v_array, const float* v, const TileArray& g_array, const float* g,
                   float* u) {
  const Strides stride{v_array.tile_stride, g_array.tile_stride};
  const std::int64_t points = t.points();
  float* const to = u + plane * points * t.c_in * t.c_out + t.weight_at(block * t.block_channels(), 0);
  const float* const grads = g + block * t.block_channels() * points;
  const auto pass = [&]<int Chunk, int Channels, int Group, int... Counts>(
      Rows<Counts...>, std::int64_t tile, std::int64_t count, std::int64_t c, std::int64_t i) {
    const float* from = v + tile * stride.v + c * points + i * Chunk;
    const float* const grad = grads + tile * stride.m + i * Group;
    float* sum = to + c * t.channel_step() + i * t.point_step();
    (...,
     (grad_kernel<Counts, Channels, Group>(count, from, grad, points * Group, sum, t.channel_step(), stride),
      from += Counts, sum += Counts * t.channel_step()));
  };
  // A chunk in one pass reads each line once, and the six points of a tile lie side by side. In several
  // passes the lines of a chunk, and those of the gradients for all chunks, must stay in the first-level
  // cache: fewer tiles, one point.
  const auto run = [&]<int Chunk, int Channels, int Group, int... Counts>(Rows<Counts...> groups) {
    if constexpr (kFused) {
      for (std::int64_t c = 0; c < t.c_in; c += Chunk) {
        for (std::int64_t i = 0; i < points; ++i)
          pass.template operator()<Chunk, Channels, Group>(groups, 0, tiles, c, i);
      }
    } else {
      for (std::int64_t tile = 0; tile < tiles; tile += kGradTiles) {
        const std::int64_t count = std::min(kGradTiles, tiles - tile);
        for (std::int64_t i = 0; i < points; ++i) {
          for (std::int64_t c = 0; c < t.c_in; c += Chunk)
            pass.template operator()<Chunk, Channels, Group>(groups, tile, count, c, i);
        }
      }
    }
  };
  if constexpr (kFused) {
    with_shape(lanes(t.c_out), 2, [&]<int Out, int>() {
      with_shape(lanes(t.c_in), 2, [&]<int In, int>() { run.template operator()<In, Out, Out>(Rows<In>{}); });
    });
  } else {
    with_chunks(t, [&]<int Chunk, int Channels>() {
      // Groups of rows that fill a chunk.
      constexpr auto kGroups = [] {
        if constexpr (Channels == 8)
          return std::conditional_t<Chunk == 16, Rows<8, 8>, Rows<8>>{};
        else if constexpr (Chunk == 8)
          return Rows<4, 4>{};
        else
          return std::conditional_t<kLane == 8, Rows<6, 6, 4>, Rows<4, 4, 4, 4>>{};
      }();
      run.template operator()<Chunk, Channels, 8>(kGroups);
    });
  }
}

}  // namespace voxot::cpu::winograd
