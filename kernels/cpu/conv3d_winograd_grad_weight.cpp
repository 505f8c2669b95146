// Winograd gradient of the weights: transform a block of input tiles and of output gradients, add their products over
// the tiles, and transform back once at the end. Small gradients are summed by each thread over its own blocks and
// added in the order of the threads; large ones exist once, and the threads divide their planes.
#include <omp.h>

#include <algorithm>

#include "kernels/cpu/conv3d_winograd.h"

namespace voxot::cpu {
namespace winograd {
namespace {

/// A thread's own gradient is small, or spread over so many tiles that zeroing and adding it costs little.
bool is_private(const Tiling& t, int threads) {
  constexpr std::int64_t kSmall = 512 << 10;
  constexpr std::int64_t kLarge = std::int64_t{4} << 20;
  const std::int64_t bytes = 4 * t.weight_count();
  return bytes <= kSmall || (bytes <= kLarge && t.tiles() >= 256 * threads);
}

/// Bytes of the tiles in a block, and the tiles that a block must hold to be worth a pass over the gradient.
constexpr std::int64_t kPrivateBlock = 384 << 10;
constexpr std::int64_t kPrivateTiles = 48;
constexpr std::int64_t kSharedBlock = std::int64_t{8} << 20;

std::int64_t tile_bytes(const Tiling& t) { return 4 * kSlicePlanes * t.points() * (t.c_in + t.c_out); }

struct Gradient {
  float* u;     // one for each thread, or one in all
  float* bias;  // one for each thread
};

void add_private(const Tiling& t, const float* x, const float* grad_y, const Gradient& gradient) {
  const std::int64_t rows = block_rows(
      t, std::max(kPrivateBlock / tile_bytes(t), kPrivateTiles), omp_get_num_threads());
  const TileArray v_array(kSlicePlanes, t.c_in, t.points(), rows * t.row_tiles);
  const TileArray g_array(kSlicePlanes, t.c_out, t.points(), rows * t.row_tiles);
  static thread_local Scratch v_scratch, g_scratch;
  float* v = v_scratch.reserve(v_array.size);
  float* g = g_scratch.reserve(g_array.size);
  const std::int64_t blocks = t.c_out / lanes(t.c_out);
  float* const u = gradient.u + omp_get_thread_num() * t.weight_count();
  float* const bias = gradient.bias + omp_get_thread_num() * t.c_out;
  std::fill(u, u + t.weight_count(), 0.0F);
#pragma omp for schedule(static)
  for (std::int64_t begin = 0; begin < t.rows; begin += rows) {
    const std::int64_t end = std::min(begin + rows, t.rows);
    for (std::int64_t plane = 0; plane < kPlanes; ++plane) {
      if (plane % kSlicePlanes == 0) {
        transform_input(t, plane / kSlicePlanes, x, begin, end, v_array, v);
        transform_grad_output(t, plane / kSlicePlanes, grad_y, begin, end, g_array, g, bias);
      }
      for (std::int64_t block = 0; block < blocks; ++block) {
        multiply_grad(t, plane, block, (end - begin) * t.row_tiles, v_array,
                      v + plane % kSlicePlanes * v_array.plane_stride, g_array,
                      g + plane % kSlicePlanes * g_array.plane_stride, u);
      }
    }
  }
#pragma omp for schedule(static)
  for (std::int64_t i = 0; i < t.weight_count(); i += 16) {
    for (int thread = 1; thread < omp_get_num_threads(); ++thread) {
      float* const sum = gradient.u + i;
      store_lanes<16>(sum, load_lanes<16>(sum) + load_lanes<16>(sum + thread * t.weight_count()));
    }
  }
}

void add_shared(const Tiling& t, const float* x, const float* grad_y, const Gradient& gradient, std::int64_t rows,
                const TileArray& v_array, float* v, const TileArray& g_array, float* g) {
  const std::int64_t blocks = t.c_out / lanes(t.c_out);
  float* const bias = gradient.bias + omp_get_thread_num() * t.c_out;
  const std::int64_t block_floats = t.weight_count() / kPlanes / blocks;
  for (std::int64_t begin = 0; begin < t.rows; begin += rows) {
    const std::int64_t end = std::min(begin + rows, t.rows);
    for (std::int64_t slice = 0; slice < kSlices; ++slice) {
#pragma omp for schedule(static)
      for (std::int64_t row = begin; row < end; ++row) {
        const std::int64_t first = (row - begin) * t.row_tiles;
        transform_input(t, slice, x, row, row + 1, v_array, v + first * v_array.tile_stride);
        transform_grad_output(t, slice, grad_y, row, row + 1, g_array, g + first * g_array.tile_stride, bias);
      }
#pragma omp for collapse(2) schedule(static)
      for (std::int64_t h = 0; h < kSlicePlanes; ++h) {
        for (std::int64_t block = 0; block < blocks; ++block) {
          const std::int64_t plane = slice * kSlicePlanes + h;
          float* const u = gradient.u + (plane * blocks + block) * block_floats;
          if (begin == 0) std::fill(u, u + block_floats, 0.0F);
          multiply_grad(t, plane, block, (end - begin) * t.row_tiles, v_array, v + h * v_array.plane_stride, g_array,
                        g + h * g_array.plane_stride, gradient.u);
        }
      }
    }
  }
}

}  // namespace
}  // namespace winograd

void winograd_grad_weight(const Conv3dParams& p, const float* x, const float* grad_y, float* grad_weight,
                          float* grad_bias) {
  using namespace winograd;
  const Tiling t(p);
  const int threads = omp_get_max_threads();
  const bool shared = !is_private(t, threads);
  static thread_local Scratch u_scratch, bias_scratch, v_scratch, g_scratch;
  const Gradient gradient{u_scratch.reserve(static_cast<std::size_t>(t.weight_count() * (shared ? 1 : threads))),
                          bias_scratch.reserve(static_cast<std::size_t>(t.c_out * threads))};
  std::fill(gradient.bias, gradient.bias + t.c_out * threads, 0.0F);
  if (shared) {
    const std::int64_t rows = block_rows(t, kSharedBlock / tile_bytes(t), 1);
    const TileArray v_array(kSlicePlanes, t.c_in, t.points(), rows * t.row_tiles);
    const TileArray g_array(kSlicePlanes, t.c_out, t.points(), rows * t.row_tiles);
    float* v = v_scratch.reserve(v_array.size);
    float* g = g_scratch.reserve(g_array.size);
#pragma omp parallel num_threads(threads)
    add_shared(t, x, grad_y, gradient, rows, v_array, v, g_array, g);
  } else {
#pragma omp parallel num_threads(threads)
    add_private(t, x, grad_y, gradient);
  }
  transform_grad_weight(t, gradient.u, grad_weight);
  for (std::int64_t q = 0; grad_bias != nullptr && q < t.c_out; ++q) {
    grad_bias[q] = 0;
    for (int thread = 0; thread < threads; ++thread) grad_bias[q] += gradient.bias[thread * t.c_out + q];
  }
}

}  // namespace voxot::cpu
