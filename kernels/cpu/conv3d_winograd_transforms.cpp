// The Winograd transforms of volumes, vectorised over channels. F(2, 3) in one dimension: V = Bᵀd, y = Aᵀm with
//   Bᵀ = [1 0 −1 0; 0 1 1 0; 0 −1 1 0; 0 1 0 −1],  Aᵀ = [1 1 1 0; 0 1 −1 −1].
// F(4, 3) interpolates at 0, ±a, ±b and infinity.
#include <algorithm>

#include "kernels/cpu/conv3d_winograd.h"

namespace voxot::cpu::winograd {
namespace {

struct Row {
  std::int64_t sample, d, h;  // the first output of its tiles
  Row(const Tiling& t, std::int64_t index)
      : sample(index / (t.tiles_d * t.tiles_h)),
        d(index / t.tiles_h % t.tiles_d * 2),
        h(index % t.tiles_h * 2) {}
};

/// One plane row D of Bᵀ along D, all of Bᵀ along H, then along W by a window that slides over the columns.
template <int Lanes, int Width, int D>
void input_row(const Tiling& t, const std::array<const float*, 16>& source, std::int64_t tile_stride,
               std::int64_t plane_stride, float* v) {
  using V = typename Vector<Lanes>::Type;
  constexpr int kFirst = D == 0 ? 0 : D == 2 ? 2 : 1;
  constexpr int kSecond = D == 0 ? 2 : D == 1 ? 2 : D == 2 ? 1 : 3;
  const float* const* a = source.data() + 4 * kFirst;
  const float* const* b = source.data() + 4 * kSecond;
  const auto column = [&](std::int64_t w, V* to) {
    if (w < 0 || w >= t.in[2]) {
      for (int h = 0; h < 4; ++h) to[h] = V{};
      return;
    }
    V e[4];
#pragma GCC unroll 4
    for (int h = 0; h < 4; ++h) {
      const V first = load_lanes<Lanes>(a[h] + w * t.c_in);
      const V second = load_lanes<Lanes>(b[h] + w * t.c_in);
      e[h] = D == 1 ? first + second : first - second;
    }
    to[0] = e[0] - e[2];
    to[1] = e[1] + e[2];
    to[2] = e[2] - e[1];
    to[3] = e[1] - e[3];
  };
  V window[Width + 2][4];
  std::int64_t w = -t.padding[2];
  column(w, window[0]);
  column(w + 1, window[1]);
  w += 2;
  for (std::int64_t tile = 0; tile < t.row_tiles; ++tile, w += Width, v += tile_stride) {
#pragma GCC unroll 4
    for (int i = 0; i < Width; ++i) column(w + i, window[2 + i]);
#pragma GCC unroll 4
    for (int h = 0; h < 4; ++h) {
      V d[Width + 2];
#pragma GCC unroll 6
      for (int i = 0; i < Width + 2; ++i) d[i] = window[i][h];
      Points<Width>::input(d);
#pragma GCC unroll 6
      for (int i = 0; i < Width + 2; ++i) store_lanes<Lanes>(v + h * plane_stride + i * Lanes, d[i]);
    }
#pragma GCC unroll 4
    for (int h = 0; h < 4; ++h) {
      window[0][h] = window[Width][h];
      window[1][h] = window[Width + 1][h];
    }
  }
}

template <int Lanes, int Width>
void input_rows(const Tiling& t, const float* x, std::int64_t begin, std::int64_t end, const TileArray& array,
                float* v) {
  static thread_local Scratch zero_scratch;
  const float* const zeros = zero_scratch.reserve(static_cast<std::size_t>(t.in[2] * t.c_in));
  for (std::int64_t index = begin; index < end; ++index, v += t.row_tiles * array.tile_stride) {
    const Row row(t, index);
    std::array<const float*, 16> source{};
    for (std::int64_t i = 0; i < 16; ++i) {
      const std::int64_t d = row.d - t.padding[0] + i / 4;
      const std::int64_t h = row.h - t.padding[1] + i % 4;
      const bool inside = d >= 0 && d < t.in[0] && h >= 0 && h < t.in[1];
      source[static_cast<std::size_t>(i)] =
          inside ? x + ((row.sample * t.in[0] + d) * t.in[1] + h) * t.in[2] * t.c_in : zeros;
    }
    for (std::int64_t c = 0; c < t.c_in; c += Lanes) {
      float* to = v + c * (Width + 2);
      input_row<Lanes, Width, 0>(t, source, array.tile_stride, array.plane_stride, to);
      input_row<Lanes, Width, 1>(t, source, array.tile_stride, array.plane_stride, to + 4 * array.plane_stride);
      input_row<Lanes, Width, 2>(t, source, array.tile_stride, array.plane_stride, to + 8 * array.plane_stride);
      input_row<Lanes, Width, 3>(t, source, array.tile_stride, array.plane_stride, to + 12 * array.plane_stride);
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
void output_rows(const Tiling& t, const TileArray& array, const float* m, std::int64_t begin, std::int64_t end,
                 const Epilogue& e, float* y) {
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
        const auto finish = [&](std::int64_t at, V sum) {
          sum += bias;
          if (e.residual != nullptr) sum += load_lanes<Lanes>(e.residual + at);
          if (e.accumulate) sum += load_lanes<Lanes>(y + at);
          if (e.activation.kind == ActivationKind::relu) sum = sum > 0 ? sum : V{};
          if (e.activation.kind == ActivationKind::leaky_relu) sum = sum > 0 ? sum : sum * slope;
          store_lanes<Lanes>(y + at, sum);
        };
        for (std::int64_t w = 0; w < w_end; ++w) {
          output_tile<Lanes>(m + q * Width + w * Lanes, array.plane_stride, row.d + 1 < t.out[0], row.h + 1 < t.out[1],
                             d_step, h_step, first + (tile * Width + w) * t.c_out + q, finish);
        }
      }
    }
  }
}

}  // namespace

void transform_input(const Tiling& t, const float* x, std::int64_t begin, std::int64_t end, const TileArray& array,
                     float* v) {
  with_shape(lanes(t.c_in), t.width, [&]<int Lanes, int Width>() {
    input_rows<Lanes, Width>(t, x, begin, end, array, v);
  });
}

void transform_output(const Tiling& t, const TileArray& array, const float* m, std::int64_t begin, std::int64_t end,
                      const Epilogue& e, float* y) {
  with_shape(lanes(t.c_out), t.width, [&]<int Lanes, int Width>() {
    output_rows<Lanes, Width>(t, array, m, begin, end, e, y);
  });
}

}  // namespace voxot::cpu::winograd
