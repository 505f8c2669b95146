// Winograd gradient of the weights: transform a block of input tiles and of output gradients, add their
// products over the tiles, and transform back once at the end. Small gradients are summed by each thread over
// its own blocks and added in the order of the threads; large ones exist once, and the threads divide
// their slices.
#include <omp.h>

#include <algorithm>

#include "kernels/cpu/conv3d/winograd.h"
#include "kernels/sizes.h"

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
  const std::int64_t rows =
      block_rows(t, std::max(kPrivateBlock / tile_bytes(t), kPrivateTiles), omp_get_num_threads());
  const TileArray v_array(kSlicePlanes, t.c_in, t.points(), rows * t.row_tiles);
  const TileArray g_array(kSlicePlanes, t.c_out, t.points(), rows * t.row_tiles);
  static thread_local Scratch v_scratch, g_scratch;
  float* v = v_scratch.reserve(v_array.size);
  float* g = g_scratch.reserve(g_array.size);
  const std::int64_t blocks = t.blocks();
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
      prefetch_rows(t, x, t.in, t.c_in, end, end + rows, plane);
      prefetch_rows(t, grad_y, t.out, t.c_out, end, end + rows, plane);
      for (std::int64_t block = 0; block < blocks; ++block) {
        multiply_grad(t, plane, block, (end - begin) * t.row_tiles, v_array,
                      v + plane % kSlicePlanes * v_array.plane_stride, g_array,
                      g + plane % kSlicePlanes * g_array.plane_stride, u);
      }
    }
  }
}

/// Every slice of the gradient belongs to one thread, which goes through all rows.
void add_shared(const Tiling& t, const float* x, const float* grad_y, const Gradient& gradient) {
  const std::int64_t rows = block_rows(t, kSharedBlock / tile_bytes(t), 1);
  const TileArray v_array(kSlicePlanes, t.c_in, t.points(), rows * t.row_tiles);
  const TileArray g_array(kSlicePlanes, t.c_out, t.points(), rows * t.row_tiles);
  static thread_local Scratch v_scratch, g_scratch;
  float* v = v_scratch.reserve(v_array.size);
  float* g = g_scratch.reserve(g_array.size);
  const std::int64_t blocks = t.blocks();
  const std::int64_t block_floats = t.weight_count() / kPlanes / blocks;
  const std::int64_t groups = slice_groups(omp_get_num_threads(), blocks);
#pragma omp for collapse(2) schedule(static)
  for (std::int64_t slice = 0; slice < kSlices; ++slice) {
    for (std::int64_t group = 0; group < groups; ++group) {
      float* const bias = group == 0 ? gradient.bias + omp_get_thread_num() * t.c_out : nullptr;
      for (std::int64_t begin = 0; begin < t.rows; begin += rows) {
        const std::int64_t end = std::min(begin + rows, t.rows);
        transform_input(t, slice, x, begin, end, v_array, v);
        transform_grad_output(t, slice, grad_y, begin, end, g_array, g, bias);
        for (std::int64_t h = 0; h < kSlicePlanes; ++h) {
          const std::int64_t plane = slice * kSlicePlanes + h;
          for (std::int64_t block = blocks * group / groups; block < blocks * (group + 1) / groups; ++block) {
            float* const u = gradient.u + (plane * blocks + block) * block_floats;
            if (begin == 0) std::fill(u, u + block_floats, 0.0F);
            multiply_grad(t, plane, block, (end - begin) * t.row_tiles, v_array, v + h * v_array.plane_stride,
                          g_array, g + h * g_array.plane_stride, gradient.u);
          }
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
  static thread_local Scratch u_scratch, bias_scratch;
  const Gradient gradient{u_scratch.reserve(to_size(t.weight_count() * (shared ? 1 : threads))),
                          bias_scratch.reserve(to_size(t.c_out * threads))};
  std::fill(gradient.bias, gradient.bias + t.c_out * threads, 0.0F);
  int copies = 1;
#pragma omp parallel num_threads(threads)
  if (shared) {
    add_shared(t, x, grad_y, gradient);
  } else {
    add_private(t, x, grad_y, gradient);
#pragma omp single nowait
    copies = omp_get_num_threads();
  }
  transform_grad_weight(t, gradient.u, copies, grad_weight);
  for (std::int64_t q = 0; grad_bias != nullptr && q < t.c_out; ++q) {
    grad_bias[q] = 0;
    for (int thread = 0; thread < threads; ++thread) grad_bias[q] += gradient.bias[thread * t.c_out + q];
  }
}

namespace {

const kernels::Implement registered{
    kernels::conv3d_winograd_grad_weight, Device::cpu,
    [](const Stream&, const Conv3dParams& p, const float* x, const float* grad_y, float* grad_weight,
       float* grad_bias) { winograd_grad_weight(p, x, grad_y, grad_weight, grad_bias); }};

}  // namespace

}  // namespace voxot::cpu
