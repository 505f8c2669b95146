// Winograd forward: transform a block of input tiles, multiply it plane by plane with the transformed
// weights, transform back. Each thread runs its own blocks; where the weights are too large to be read once
// for each block, the threads share one block and divide its planes.
#include "kernels/cpu/conv3d/winograd.h"

#include <omp.h>

#include <algorithm>
#include <numeric>

#include "kernels/sizes.h"

namespace voxot::cpu {
namespace winograd {

Tiling::Tiling(const Conv3dParams& p)
    : c_in(p.in_channels), c_out(p.out_channels), in(p.in_extent), out(p.out_extent()), padding(p.padding) {
  width = out[2] % 4 == 0 || out[2] % 4 == 3 ? 4 : 2;
  tiles_d = (out[0] + 1) / 2;
  tiles_h = (out[1] + 1) / 2;
  row_tiles = (out[2] + width - 1) / width;
  rows = p.batch * tiles_d * tiles_h;
}

std::int64_t block_rows(const Tiling& t, std::int64_t tiles, std::int64_t parts) {
  const std::int64_t largest = std::max<std::int64_t>(1, tiles / t.row_tiles);
  const std::int64_t part = (t.rows + parts - 1) / parts;
  const std::int64_t blocks = (part + largest - 1) / largest;
  return (part + blocks - 1) / blocks;
}

std::int64_t slice_groups(std::int64_t threads, std::int64_t blocks) {
  return std::min(threads / std::gcd(threads, kSlices), blocks);
}

namespace {

bool fits(const Conv3dParams& p) {
  for (std::size_t a = 0; a < 3; ++a) {
    if (p.kernel[a] != 3 || p.stride[a] != 1 || p.dilation[a] != 1 || p.padding[a] > 2) return false;
  }
  const auto whole = [](std::int64_t channels) { return channels == 8 || channels % 16 == 0; };
  return whole(p.in_channels) && whole(p.out_channels);
}

/// Bytes of transformed weights above which the threads share blocks.
constexpr std::int64_t kSharedWeights = std::int64_t{16} << 20;
/// Bytes of the tiles in a block, and the tiles that a block of a thread must hold to be worth a pass over
/// the weights.
constexpr std::int64_t kPrivateBlock = 512 << 10;
constexpr std::int64_t kPrivateTiles = 24;
constexpr std::int64_t kSharedBlock = std::int64_t{8} << 20;

std::int64_t tile_bytes(const Tiling& t) {
  return 4 * (kSlicePlanes * t.points() * t.c_in + kPlanes * t.width * t.c_out);
}

void forward_private(const Tiling& t, const float* x, const float* u, const Epilogue& e, float* y) {
  const std::int64_t rows =
      block_rows(t, std::max(kPrivateBlock / tile_bytes(t), kPrivateTiles), omp_get_max_threads());
  const TileArray v_array(kSlicePlanes, t.c_in, t.points(), rows * t.row_tiles);
  const TileArray m_array(kPlanes, t.c_out, t.width, rows * t.row_tiles);
  const std::int64_t blocks = t.blocks();
#pragma omp parallel
  {
    static thread_local Scratch v_scratch, m_scratch;
    float* v = v_scratch.reserve(v_array.size);
    float* m = m_scratch.reserve(m_array.size);
#pragma omp for schedule(static)
    for (std::int64_t begin = 0; begin < t.rows; begin += rows) {
      const std::int64_t end = std::min(begin + rows, t.rows);
      for (std::int64_t plane = 0; plane < kPlanes; ++plane) {
        if (plane % kSlicePlanes == 0) transform_input(t, plane / kSlicePlanes, x, begin, end, v_array, v);
        prefetch_rows(t, x, t.in, t.c_in, end, end + rows, plane);
        prefetch_rows(t, y, t.out, t.c_out, begin, end, plane);
        const float* from = v + plane % kSlicePlanes * v_array.plane_stride;
        for (std::int64_t block = 0; block < blocks; ++block) {
          multiply(t, plane, block, (end - begin) * t.row_tiles, v_array, from, u, m_array, m);
        }
      }
      transform_output(t, m_array, m, begin, end, e, y);
    }
  }
}

void forward_shared(const Tiling& t, const float* x, const float* u, const Epilogue& e, float* y) {
  const std::int64_t rows = block_rows(t, kSharedBlock / tile_bytes(t), 1);
  const TileArray v_array(kSlicePlanes, t.c_in, t.points(), rows * t.row_tiles);
  const TileArray m_array(kPlanes, t.c_out, t.width, rows * t.row_tiles);
  static thread_local Scratch m_scratch;
  float* m = m_scratch.reserve(m_array.size);
  const std::int64_t blocks = t.blocks();
  const std::int64_t groups = slice_groups(omp_get_max_threads(), blocks);
#pragma omp parallel
  for (std::int64_t begin = 0; begin < t.rows; begin += rows) {
    static thread_local Scratch v_scratch;
    float* v = v_scratch.reserve(v_array.size);
    const std::int64_t end = std::min(begin + rows, t.rows);
#pragma omp for collapse(2) schedule(static)
    for (std::int64_t slice = 0; slice < kSlices; ++slice) {
      for (std::int64_t group = 0; group < groups; ++group) {
        transform_input(t, slice, x, begin, end, v_array, v);
        for (std::int64_t h = 0; h < kSlicePlanes; ++h) {
          for (std::int64_t block = blocks * group / groups; block < blocks * (group + 1) / groups; ++block) {
            multiply(t, slice * kSlicePlanes + h, block, (end - begin) * t.row_tiles, v_array,
                     v + h * v_array.plane_stride, u, m_array, m);
          }
        }
      }
    }
#pragma omp for schedule(static)
    for (std::int64_t row = begin; row < end; ++row) {
      transform_output(t, m_array, m + (row - begin) * t.row_tiles * m_array.tile_stride, row, row + 1, e, y);
    }
  }
}

}  // namespace
}  // namespace winograd

// Both rules compare products for each pair of channels. `overhead` is what transforming the weights or their
// gradient costs, in tiles; 6/5 is the share of the products in the time of the rest. Measured on Zen 4
// against oneDNN.

bool winograd_eligible(const Conv3dParams& p) {
  if (!winograd::fits(p)) return false;
  constexpr std::int64_t kOverhead = 8;
  // A direct convolution skips the padding along D and H.
  std::int64_t direct = p.batch * 3 * p.out_extent()[2];
  for (std::size_t a = 0; a < 2; ++a)
    direct *= std::max<std::int64_t>(1, 3 * p.out_extent()[a] - 2 * p.padding[a]);
  const winograd::Tiling t(p);
  return 5 * direct >= 6 * (t.tiles() + kOverhead) * winograd::kPlanes * t.points();
}

bool winograd_grad_weight_eligible(const Conv3dParams& p) {
  if (!winograd::fits(p)) return false;
  constexpr std::int64_t kOverhead = 12;
  const winograd::Tiling t(p);
  return 5 * p.batch * p.out_voxels() * 27 >= 6 * (t.tiles() + kOverhead) * winograd::kPlanes * t.points();
}

std::size_t winograd_weight_count(const Conv3dParams& p) {
  return to_size(winograd::Tiling(p).weight_count());
}

void winograd_forward(const Conv3dParams& p, const float* x, const float* transformed, const float* bias,
                      const float* residual, Activation activation, bool accumulate, float* y) {
  const winograd::Tiling t(p);
  const winograd::Epilogue e{bias, residual, activation, accumulate};
  if (t.weight_count() * 4 > winograd::kSharedWeights) {
    winograd::forward_shared(t, x, transformed, e, y);
  } else {
    winograd::forward_private(t, x, transformed, e, y);
  }
}

namespace {

const kernels::Implement registered{
    kernels::conv3d_winograd_forward, Device::cpu,
    [](const Stream&, const Conv3dParams& p, const float* x, const float* transformed, const float* bias,
       const float* residual, Activation activation, bool accumulate,
       float* y) { winograd_forward(p, x, transformed, bias, residual, activation, accumulate, y); }};

}  // namespace

}  // namespace voxot::cpu
