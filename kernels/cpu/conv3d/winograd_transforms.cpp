// The Winograd transforms of volumes, vectorised over channels. F(2, 3) in one dimension: V = Bᵀd, y = Aᵀm
// with
//   Bᵀ = [1 0 −1 0; 0 1 1 0; 0 −1 1 0; 0 1 0 −1],  Aᵀ = [1 1 1 0; 0 1 −1 −1].
// F(4, 3) interpolates at 0, ±a, ±b and infinity.
#include <algorithm>

#include "kernels/cpu/conv3d/winograd.h"
#include "kernels/sizes.h"

namespace voxot::cpu::winograd {
namespace {

struct Row {
  std::int64_t sample, d, h;  // the first output of its tiles
  Row(const Tiling& t, std::int64_t index) {
    // 32-bit division is several times faster.
    const auto at = static_cast<std::uint32_t>(index);
    const auto tiles_d = static_cast<std::uint32_t>(t.tiles_d);
    const auto tiles_h = static_cast<std::uint32_t>(t.tiles_h);
    const std::uint32_t line = at / tiles_h;
    sample = line / tiles_d;
    d = line % tiles_d * 2;
    h = at % tiles_h * 2;
  }
};

/// The 4×4 input rows (D, H) that a row of tiles reads, zeros outside the volume.
std::array<const float*, 16> input_sources(const Tiling& t, const Row& row, const float* x,
                                           const float* zeros) {
  std::array<const float*, 16> source{};
  for (std::int64_t i = 0; i < 16; ++i) {
    const std::int64_t d = row.d - t.padding[0] + i / 4;
    const std::int64_t h = row.h - t.padding[1] + i % 4;
    const bool inside = d >= 0 && d < t.in[0] && h >= 0 && h < t.in[1];
    source[to_size(i)] = inside ? x + ((row.sample * t.in[0] + d) * t.in[1] + h) * t.in[2] * t.c_in : zeros;
  }
  return source;
}

/// Row D of Bᵀ along D and all of Bᵀ along H, for one vector of channels: columns [4][stride] of the row's
/// inputs.
template <int Lanes, int D>
[[gnu::always_inline]] inline void input_columns(const std::array<const float*, 16>& source,
                                                 std::int64_t step, std::int64_t count, float* columns,
                                                 std::int64_t stride) {
  using V = typename Vector<Lanes>::Type;
  constexpr std::size_t kFirst = D == 0 ? 0 : D == 2 ? 8 : 4;
  constexpr std::size_t kSecond = D == 2 ? 4 : D == 3 ? 12 : 8;
  // Copies, which the stores below cannot be taken to change.
  const float* const a[4] = {source[kFirst], source[kFirst + 1], source[kFirst + 2], source[kFirst + 3]};
  const float* const b[4] = {source[kSecond], source[kSecond + 1], source[kSecond + 2], source[kSecond + 3]};
  for (std::int64_t w = 0; w < count; ++w, columns += Lanes) {
    V e[4];
#pragma GCC unroll 4
    for (std::size_t h = 0; h < 4; ++h) {
      const V first = load_lanes<Lanes>(a[h] + w * step);
      const V second = load_lanes<Lanes>(b[h] + w * step);
      e[h] = D == 1 ? first + second : first - second;
    }
    Points<2>::input(e);
#pragma GCC unroll 4
    for (int h = 0; h < 4; ++h) store_lanes<Lanes>(columns + h * stride, e[h]);
  }
}

/// One tile: row D of A along D, all of A along H and W. Adds its outputs to `sum` where D is 1, which holds
/// each once.
template <int Lanes, int Width, int D>
[[gnu::always_inline]] inline void grad_output_tile(const float* const* source, std::int64_t step,
                                                    std::int64_t count, std::int64_t plane_stride, float* v,
                                                    typename Vector<Lanes>::Type& sum) {
  using V = typename Vector<Lanes>::Type;
  V e[2][Width];
#pragma GCC unroll 4
  for (int i = 0; i < Width; ++i) {
#pragma GCC unroll 2
    for (int h = 0; h < 2; ++h) {
      e[h][i] = V{};
      if (i >= count) continue;
      const V second = D == 0 ? V{} : load_lanes<Lanes>(source[2 + h] + i * step);
      if (D == 3) {
        e[h][i] = -second;
        continue;
      }
      const V first = load_lanes<Lanes>(source[h] + i * step);
      e[h][i] = D == 0 ? first : D == 1 ? first + second : first - second;
    }
    if (D == 1) sum += e[0][i] + e[1][i];
  }
#pragma GCC unroll 4
  for (int h = 0; h < 4; ++h) {
    V y[Width];
#pragma GCC unroll 4
    for (int i = 0; i < Width; ++i) {
      y[i] = h == 0 ? e[0][i] : h == 1 ? e[0][i] + e[1][i] : h == 2 ? e[0][i] - e[1][i] : -e[1][i];
    }
    V m[Width + 2];
    Points<Width>::grad_output(y, m);
#pragma GCC unroll 6
    for (int i = 0; i < Width + 2; ++i) store_lanes<Lanes>(v + h * plane_stride + i * Lanes, m[i]);
  }
}

template <int Lanes, int Width, int D>
void grad_output_row(const Tiling& t, const std::array<const float*, 4>& from, const TileArray& array,
                     float* v, float* bias) {
  // Copies, which the stores cannot be taken to change.
  const float* source[4] = {from[0], from[1], from[2], from[3]};
  const std::int64_t step = t.c_out;
  const std::int64_t plane_stride = array.plane_stride;
  const std::int64_t tile_stride = array.tile_stride;
  const std::int64_t whole = t.out[2] / Width;
  typename Vector<Lanes>::Type sum{};
  for (std::int64_t tile = 0; tile < whole; ++tile, v += tile_stride) {
    grad_output_tile<Lanes, Width, D>(source, step, Width, plane_stride, v, sum);
    for (const float*& s : source) s += Width * step;
  }
  if (whole < t.row_tiles)
    grad_output_tile<Lanes, Width, D>(source, step, t.out[2] % Width, plane_stride, v, sum);
  if (D == 1 && bias != nullptr) store_lanes<Lanes>(bias, load_lanes<Lanes>(bias) + sum);
}

template <int Lanes, int Width, int D>
void grad_output_rows(const Tiling& t, const float* grad_y, std::int64_t begin, std::int64_t end,
                      const TileArray& array, float* v, float* bias) {
  static thread_local Scratch zero_scratch;
  const float* const zeros = zero_scratch.reserve(to_size(t.out[2] * t.c_out));
  for (std::int64_t index = begin; index < end; ++index, v += t.row_tiles * array.tile_stride) {
    const Row row(t, index);
    std::array<const float*, 4> source{};
    for (std::int64_t i = 0; i < 4; ++i) {
      const std::int64_t d = row.d + i / 2;
      const std::int64_t h = row.h + i % 2;
      source[to_size(i)] = d < t.out[0] && h < t.out[1]
                               ? grad_y + ((row.sample * t.out[0] + d) * t.out[1] + h) * t.out[2] * t.c_out
                               : zeros;
    }
    for (std::int64_t q = 0; q < t.c_out; q += Lanes) {
      grad_output_row<Lanes, Width, D>(t, source, array, v + q * (Width + 2),
                                       bias == nullptr ? nullptr : bias + q);
      for (const float*& s : source) s += Lanes;
    }
  }
}

template <int Lanes, int Width, int D>
void input_rows(const Tiling& t, const float* x, std::int64_t begin, std::int64_t end, const TileArray& array,
                float* v) {
  using V = typename Vector<Lanes>::Type;
  static thread_local Scratch zero_scratch, column_scratch;
  const float* const zeros = zero_scratch.reserve(to_size(t.in[2] * t.c_in));
  const std::int64_t stride = (t.row_tiles * Width + 4 + 2) * Lanes;
  float* const columns = column_scratch.reserve(to_size(4 * stride));
  std::fill(columns, columns + 4 * stride, 0.0F);
  // Of the columns that the tiles read, those of the input; the rest is padding.
  const std::int64_t first = t.padding[2];
  const std::int64_t count = std::min(t.in[2], t.row_tiles * Width + 2 - first);
  const std::int64_t channels = t.c_in;
  const std::int64_t chunk = kFused ? Lanes : chunk_channels(channels);
  const std::int64_t row_tiles = t.row_tiles;
  const std::int64_t tile_stride = array.tile_stride;
  const std::int64_t plane_stride = array.plane_stride;
  for (std::int64_t index = begin; index < end; ++index, v += row_tiles * tile_stride) {
    std::array<const float*, 16> source = input_sources(t, Row(t, index), x, zeros);
    for (std::int64_t c = 0; c < channels; c += Lanes) {
      input_columns<Lanes, D>(source, channels, count, columns + first * Lanes, stride);
      const float* from = columns;
      float* to = v + c / chunk * chunk * (Width + 2) + c % chunk;
      for (std::int64_t tile = 0; tile < row_tiles; ++tile, from += Width * Lanes, to += tile_stride) {
#pragma GCC unroll 4
        for (int h = 0; h < 4; ++h) {
          V d[Width + 2];
#pragma GCC unroll 6
          for (int i = 0; i < Width + 2; ++i) d[i] = load_lanes<Lanes>(from + h * stride + i * Lanes);
          Points<Width>::input(d);
#pragma GCC unroll 6
          for (int i = 0; i < Width + 2; ++i) store_lanes<Lanes>(to + h * plane_stride + i * chunk, d[i]);
        }
      }
      for (const float*& s : source) s += Lanes;
    }
  }
}

/// Writes the outputs of one tile and one vector of channels.
template <int Lanes, class Finish>
void output_tile(const float* m, std::int64_t plane_stride, bool second_d, bool second_h, std::int64_t d_step,
                 std::int64_t h_step, std::int64_t at, Finish finish) {
  using V = typename Vector<Lanes>::Type;
  V low[4];
  V high[4];
#pragma GCC unroll 4
  for (int d = 0; d < 4; ++d) {
    const float* const from = m + 4 * d * plane_stride;
    const V m1 = load_lanes<Lanes>(from + plane_stride);
    const V m2 = load_lanes<Lanes>(from + 2 * plane_stride);
    low[d] = load_lanes<Lanes>(from) + m1 + m2;
    high[d] = m1 - m2 - load_lanes<Lanes>(from + 3 * plane_stride);
  }
  finish(at, low[0] + low[1] + low[2]);
  if (second_h) finish(at + h_step, high[0] + high[1] + high[2]);
  if (!second_d) return;
  finish(at + d_step, low[1] - low[2] - low[3]);
  if (second_h) finish(at + d_step + h_step, high[1] - high[2] - high[3]);
}

template <int Lanes, int Width>
void output_rows(const Tiling& t, const TileArray& array, const float* m, std::int64_t begin,
                 std::int64_t end, const Epilogue& e, float* y) {
  using V = typename Vector<Lanes>::Type;
  const float slope = e.activation.slope;
  const std::int64_t h_step = t.out[2] * t.c_out;
  const std::int64_t d_step = t.out[1] * h_step;
  for (std::int64_t index = begin; index < end; ++index) {
    const Row row(t, index);
    const std::int64_t first = row.sample * t.out[0] * d_step + row.d * d_step + row.h * h_step;
    for (std::int64_t tile = 0; tile < t.row_tiles; ++tile, m += array.tile_stride) {
      const std::int64_t w_end = std::min<std::int64_t>(Width, t.out[2] - tile * Width);
      for (std::int64_t q = 0; q < t.c_out; q += Lanes) {
        const V bias = e.bias == nullptr ? V{} : load_lanes<Lanes>(e.bias + q);
        const auto finish = [&](std::int64_t at, const V& product) {
          V sum = product + bias;
          if (e.residual != nullptr) sum += load_lanes<Lanes>(e.residual + at);
          if (e.accumulate) sum += load_lanes<Lanes>(y + at);
          if (e.activation.kind == ActivationKind::relu) sum = sum < 0 ? V{} : sum;
          if (e.activation.kind == ActivationKind::leaky_relu) sum = sum > 0 ? sum : sum * slope;
          store_lanes<Lanes>(y + at, sum);
        };
        for (std::int64_t w = 0; w < w_end; ++w) {
          output_tile<Lanes>(m + q * Width + w * Lanes, array.plane_stride, row.d + 1 < t.out[0],
                             row.h + 1 < t.out[1], d_step, h_step, first + (tile * Width + w) * t.c_out + q,
                             finish);
        }
      }
    }
  }
}

template <class Body>
void with_slice(std::int64_t slice, Body body) {
  switch (slice) {
    case 0:
      return body.template operator()<0>();
    case 1:
      return body.template operator()<1>();
    case 2:
      return body.template operator()<2>();
    default:
      return body.template operator()<3>();
  }
}

}  // namespace

void prefetch_rows(const Tiling& t, const float* volume, const std::array<std::int64_t, 3>& extent,
                   std::int64_t channels, std::int64_t begin, std::int64_t end, std::int64_t part) {
  constexpr std::int64_t kLine = 16;
  const std::int64_t h_step = extent[2] * channels;
  for (std::int64_t index = begin + part; index < std::min(end, t.rows); index += kPlanes) {
    const Row at(t, index);
    const std::int64_t height = std::min<std::int64_t>(2, extent[1] - at.h);
    for (std::int64_t d = at.d; d < std::min(at.d + 2, extent[0]); ++d) {
      const float* from = volume + ((at.sample * extent[0] + d) * extent[1] + at.h) * h_step;
      for (std::int64_t i = 0; i < height * h_step; i += kLine) __builtin_prefetch(from + i, 0, 2);
    }
  }
}

void transform_input(const Tiling& t, std::int64_t slice, const float* x, std::int64_t begin,
                     std::int64_t end, const TileArray& array, float* v) {
  with_shape(lanes(t.c_in), t.width, [&]<int Lanes, int Width>() {
    with_slice(slice, [&]<int D>() { input_rows<Lanes, Width, D>(t, x, begin, end, array, v); });
  });
}

void transform_grad_output(const Tiling& t, std::int64_t slice, const float* grad_y, std::int64_t begin,
                           std::int64_t end, const TileArray& array, float* v, float* bias) {
  with_shape(lanes(t.c_out), t.width, [&]<int Lanes, int Width>() {
    with_slice(slice,
               [&]<int D>() { grad_output_rows<Lanes, Width, D>(t, grad_y, begin, end, array, v, bias); });
  });
}

void transform_output(const Tiling& t, const TileArray& array, const float* m, std::int64_t begin,
                      std::int64_t end, const Epilogue& e, float* y) {
  with_shape(lanes(t.c_out), t.width,
             [&]<int Lanes, int Width>() { output_rows<Lanes, Width>(t, array, m, begin, end, e, y); });
}

}  // namespace voxot::cpu::winograd
