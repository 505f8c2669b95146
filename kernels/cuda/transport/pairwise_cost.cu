// kernels/pairwise_cost.h by sums of squared differences (pair_tiles.cuh): an operation more for each term
// than a matrix product, and no cancellation. The cosine cost is half the squared distance of normalised
// vectors, whose norms are found first, a warp for each.
#include "kernels/pairwise_cost.h"

#include <cmath>
#include <utility>

#include "kernels/cuda/pair_tiles.cuh"
#include "kernels/simt/runtime.h"

namespace voxot::kernels {
namespace {

using namespace cuda;

constexpr unsigned kWarps = 8;  // of a block

/// scales[i] ← 1/‖values[i]‖, 0 for a zero vector, NaN for one whose norm double does not square. Launch:
/// grid.x = points / kWarps.
template <class T>
VOXOT_KERNEL void inverse_norms(std::int64_t points, int dimension, const T* values, T* scales) {
  const std::int64_t point =
      static_cast<std::int64_t>(simt::block_index().x) * kWarps + simt::thread_index().y;
  if (point >= points) return;
  const auto lane = static_cast<int>(simt::thread_index().x);
  double sum = 0;
  double size = 0;
  for (int k = lane; k < dimension; k += 32) {
    const auto v = static_cast<double>(values[point * dimension + k]);
    sum += v * v;
    size += fabs(v);
  }
  sum = simt::warp_sum(sum);
  size = simt::warp_sum(size);
  if (lane != 0) return;
  const bool measured = sum > 1e-200 && sum < 1e200;
  scales[point] = static_cast<T>(measured ? 1 / sqrt(sum) : size == 0 ? 0 : NAN);
}

template <class T>
PairTiles<T> tiles_of(const PairwiseCostParams& p, const T* x, const T* y, T* cost) {
  const auto side = [&](const T* values, std::int64_t rows) {
    PairSide<T> s;
    s.values = values;
    s.stride = rows * p.dimension;
    s.row_pitch = p.dimension;
    s.inner_pitch = 1;
    s.rows = static_cast<int>(rows);
    return s;
  };
  PairTiles<T> tiles;
  tiles.a = side(x, p.rows);
  tiles.b = side(y, p.columns);
  tiles.c = cost;
  tiles.inner = static_cast<int>(p.dimension);
  tiles.alpha = static_cast<T>(p.scale());
  return tiles;
}

/// scales: [batch, rows] inverse norms of x, then [batch, columns] of y.
template <class T>
void cosine_costs(const Stream& stream, const PairwiseCostParams& p, const T* x, const T* y, T* scales,
                  T* cost) {
  T* const other_scales = scales + p.batch * p.rows;
  const auto norms = [&](const T* values, std::int64_t points, T* to) {
    simt::launch({"pairwise_cost", {simt::blocks_for(points, kWarps)}, {32, kWarps}, 0, stream},
                 inverse_norms<T>, points, static_cast<int>(p.dimension), values, to);
  };
  norms(x, p.batch * p.rows, scales);
  norms(y, p.batch * p.columns, other_scales);
  PairTiles<T> tiles = tiles_of(p, x, y, cost);
  tiles.a.scales = scales;
  tiles.b.scales = other_scales;
  tiles.alpha = T{0.5};
  tiles.without = 1;
  launch_pairs<SquaredDistance>("pairwise_cost", stream, tiles, p.batch);
}

template <class T>
void costs(const Stream& stream, const PairwiseCostParams& p, const T* x, const T* y, T* cost) {
  if (p.kind != GroundCost::cosine)
    return launch_pairs<SquaredDistance>("pairwise_cost", stream, tiles_of(p, x, y, cost), p.batch);
  const auto points = static_cast<std::size_t>(p.batch * (p.rows + p.columns));
  cosine_costs(stream, p, x, y, static_cast<T*>(simt::scratch(points * sizeof(T))), cost);
}

void check_costs(DType dtype, const PairwiseCostParams& p) {
  p.validate();
  VOXOT_CHECK(dtype != DType::bf16, "pairwise_cost: features in bf16; expected fp32 or fp64");
  constexpr std::int64_t kLimit = 0x7FFFFFFF - kPairTile;
  VOXOT_CHECK(p.rows <= kLimit && p.columns <= kLimit && p.dimension <= kLimit,
              "pairwise_cost: {} by {} points of dimension {}: expected extents below 2³¹", p.rows, p.columns,
              p.dimension);
}

void pairwise(const Stream& stream, DType dtype, const PairwiseCostParams& p, const void* x, const void* y,
              void* cost) {
  check_costs(dtype, p);
  if (dtype == DType::f64) {
    return costs(stream, p, static_cast<const double*>(x), static_cast<const double*>(y),
                 static_cast<double*>(cost));
  }
  costs(stream, p, static_cast<const float*>(x), static_cast<const float*>(y), static_cast<float*>(cost));
}

// --- gradients ---

/// One side's points, and what pairs them with the other's.
template <class T>
struct Pull {
  const T* points = nullptr;  // [batch, count, D]
  const T* others = nullptr;  // [batch, other_count, D]
  const T* grad_cost = nullptr;
  const T* cost = nullptr;    // of a cosine
  const T* scales = nullptr;  // inverse norms of the points, of a cosine
  const T* other_scales = nullptr;
  T* grad = nullptr;
  int count = 0;
  int other_count = 0;
  int dimension = 0;
  std::int64_t pitch = 0;        // of the costs, from point to point,
  std::int64_t other_pitch = 0;  // and from other to other
  T factor = 1;
};

/// Squared distances: factor·Σ_j G_ij·(x_i − y_j). Cosine, with x̂ = x/‖x‖: Σ_j G_ij·((1 − C_ij)·x̂_i −
/// ŷ_j)/‖x_i‖. Launch: grid.x = batch × points × blocks of dimensions.
template <class T, Write How>
VOXOT_KERNEL void pull(Pull<T> p, int dimension_blocks) {
  const auto block = static_cast<std::int64_t>(simt::block_index().x);
  const auto k = static_cast<int>(block % dimension_blocks * simt::block_extent().x + simt::thread_index().x);
  if (k >= p.dimension) return;
  const std::int64_t point = block / dimension_blocks;
  const std::int64_t problem = point / p.count;
  const std::int64_t first_cost = problem * p.count * p.other_count + (point - problem * p.count) * p.pitch;
  const std::int64_t first_other = problem * p.other_count;
  const T x = p.points[point * p.dimension + k] * (p.scales == nullptr ? T{1} : p.scales[point]);
  T sum = 0;
  for (int j = 0; j < p.other_count; ++j) {
    const std::int64_t at = first_cost + j * p.other_pitch;
    T other = p.others[(first_other + j) * p.dimension + k];
    T own = x;
    if (p.scales != nullptr) {
      other *= p.other_scales[first_other + j];
      own *= 1 - p.cost[at];
    }
    sum += p.grad_cost[at] * (own - other);
  }
  put<How>(p.grad[point * p.dimension + k], p.factor * sum * (p.scales == nullptr ? T{1} : p.scales[point]));
}

template <class T>
void launch_pull(const Stream& stream, const Pull<T>& p, std::int64_t batch, Write how) {
  constexpr int kThreads = 128;
  const int dimension_blocks = (p.dimension + kThreads - 1) / kThreads;
  const std::int64_t blocks = batch * p.count * dimension_blocks;
  VOXOT_CHECK(blocks <= 0x7FFFFFFF, "pairwise_cost_backward: {} blocks, the device takes 2³¹ − 1", blocks);
  simt::launch({"pairwise_cost_backward", {static_cast<unsigned>(blocks)}, {kThreads}, 0, stream},
               how == Write::accumulate ? pull<T, Write::accumulate> : pull<T, Write::overwrite>, p,
               dimension_blocks);
}

template <class T>
void gradients(const Stream& stream, const PairwiseCostParams& p, const PairwiseCostGradients& q) {
  const T* const x = static_cast<const T*>(q.x);
  const T* const y = static_cast<const T*>(q.y);
  const bool cosine = p.kind == GroundCost::cosine;
  T* scales = nullptr;
  T* cost = nullptr;
  if (cosine) {
    const std::int64_t points = p.batch * (p.rows + p.columns);
    scales = static_cast<T*>(
        simt::scratch(static_cast<std::size_t>(points + p.batch * p.rows * p.columns) * sizeof(T)));
    cost = scales + points;
    cosine_costs(stream, p, x, y, scales, cost);
  }
  Pull<T> rows;
  rows.points = x;
  rows.others = y;
  rows.grad_cost = static_cast<const T*>(q.grad_cost);
  rows.cost = cost;
  rows.scales = scales;
  rows.other_scales = cosine ? scales + p.batch * p.rows : nullptr;
  rows.grad = static_cast<T*>(q.grad_x);
  rows.count = static_cast<int>(p.rows);
  rows.other_count = static_cast<int>(p.columns);
  rows.dimension = static_cast<int>(p.dimension);
  rows.pitch = p.columns;
  rows.other_pitch = 1;
  rows.factor = cosine ? T{1} : static_cast<T>(2 * p.scale());
  Pull<T> columns = rows;
  std::swap(columns.points, columns.others);
  std::swap(columns.scales, columns.other_scales);
  std::swap(columns.count, columns.other_count);
  std::swap(columns.pitch, columns.other_pitch);
  columns.grad = static_cast<T*>(q.grad_y);
  if (q.grad_x != nullptr) launch_pull(stream, rows, p.batch, q.grad_x_write);
  if (q.grad_y != nullptr) launch_pull(stream, columns, p.batch, q.grad_y_write);
}

void pairwise_backward(const Stream& stream, DType dtype, const PairwiseCostParams& p,
                       const PairwiseCostGradients& q) {
  check_costs(dtype, p);
  if (dtype == DType::f64) return gradients<double>(stream, p, q);
  gradients<float>(stream, p, q);
}

const Implement pairwise_cost_backward_cuda{pairwise_cost_backward, Device::cuda, pairwise_backward};

const Implement pairwise_cost_cuda{pairwise_cost, Device::cuda, pairwise};

}  // namespace
}  // namespace voxot::kernels
