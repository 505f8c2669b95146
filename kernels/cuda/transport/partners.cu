// kernels/partners.h. A draw adds a row up in the order of its columns, so a lane takes a row: its warp
// brings 32 rows into shared memory 32 columns at a time, as they lie in memory, and each lane walks along
// its own. Where the order is free, a warp takes a row.
//
// Launch: 128 threads; draws 32 rows a warp, else one; pair costs a thread a row.
#include "kernels/partners.h"

#include <cmath>

#include "kernels/cuda/vectors.cuh"
#include "kernels/volume_sample.h"

namespace voxot::kernels {
namespace {

using namespace cuda;

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / 32;
constexpr int kPitch = 33;  // lanes that walk down a column of the tile meet different banks

/// 32 rows of a plan, in the hands of a warp.
template <class T>
struct RowTile {
  const T* plan;
  int rows;
  int columns;
  int first_row;
  T* tile;  // [32][kPitch]

  VOXOT_DEVICE void load(int first_column) const {
    const auto lane = static_cast<int>(simt::lane());
    const int j = first_column + lane;
    simt::sync_warp();
    for (int r = 0; r < 32; ++r) {
      const int i = first_row + r;
      if (i < rows && j < columns) tile[r * kPitch + lane] = plan[static_cast<std::int64_t>(i) * columns + j];
    }
    simt::sync_warp();
  }
  /// The lane's own row.
  VOXOT_DEVICE T at(int column) const { return tile[static_cast<int>(simt::lane()) * kPitch + column]; }
};

template <class T>
VOXOT_KERNEL void VOXOT_LAUNCH_BOUNDS(kThreads, 1)
    draw_kernel(int rows, int columns, RandomState state, const std::int32_t* places, const T* plan,
                std::int32_t* partner) {
  VOXOT_SHARED(tiles, T[kWarps][32 * kPitch]);
  const auto lane = static_cast<int>(simt::lane());
  const auto first_row = static_cast<int>((simt::block_index().x * kWarps + simt::warp()) * 32);
  if (first_row >= rows) return;
  const RowTile<T> tile{plan, rows, columns, first_row, tiles[simt::warp()]};
  const int i = first_row + lane;
  const bool here = i < rows;
  double sum = 0;
  for (int first = 0; first < columns; first += 32) {
    tile.load(first);
    const int count = columns - first < 32 ? columns - first : 32;
    for (int j = 0; here && j < count; ++j) {
      const T mass = tile.at(j);
      if (mass > 0) sum += static_cast<double>(mass);
    }
  }
  double wanted = 0;
  if (here) {
    Random random = sample_random(state, places != nullptr ? places[i] : i);
    wanted = static_cast<double>(random.uniform()) * sum;
  }
  std::int32_t last = 0;
  double passed = 0;
  bool open = here;
  for (int first = 0; first < columns && simt::any(open); first += 32) {
    tile.load(first);
    const int count = columns - first < 32 ? columns - first : 32;
    for (int j = 0; open && j < count; ++j) {
      const T mass = tile.at(j);
      if (!(mass > 0)) continue;
      last = first + j;
      passed += static_cast<double>(mass);
      open = !(passed > wanted);
    }
  }
  if (here) partner[i] = last;
}

template <class T>
VOXOT_KERNEL void VOXOT_LAUNCH_BOUNDS(kThreads, 1)
    largest_kernel(int rows, int columns, const T* plan, std::int32_t* partner) {
  const auto i = static_cast<int>(simt::block_index().x * kWarps + simt::warp());
  if (i >= rows) return;
  const T* const row = plan + static_cast<std::int64_t>(i) * columns;
  // Where a lane has nothing, or only what is no number, it names no column.
  int best = columns;
  T most = 0;
  for (auto j = static_cast<int>(simt::lane()); j < columns; j += 32) {
    const T value = row[j];
    if (value == value && (best == columns || value > most)) {
      best = j;
      most = value;
    }
  }
  for (int offset = 16; offset > 0; offset /= 2) {
    const T value = simt::shuffle_xor(most, offset);
    const int at = simt::shuffle_xor(best, offset);
    const bool other = at < columns && (best == columns || value > most || (value == most && at < best));
    if (other) {
      best = at;
      most = value;
    }
  }
  if (simt::lane() == 0) partner[i] = best < columns ? best : 0;
}

template <class T>
VOXOT_KERNEL void VOXOT_LAUNCH_BOUNDS(kThreads, 1)
    rows_kernel(int rows, int columns, const T* plan, double* sums, double* entropies) {
  const auto i = static_cast<int>(simt::block_index().x * kWarps + simt::warp());
  if (i >= rows) return;
  const T* const row = plan + static_cast<std::int64_t>(i) * columns;
  double sum = 0;
  double entropy = 0;
  for (auto j = static_cast<int>(simt::lane()); j < columns; j += 32) {
    if (!(row[j] > 0)) continue;
    const auto p = static_cast<double>(row[j]);
    sum += p;
    entropy -= p * log(p);
  }
  sum = simt::warp_sum(sum);
  entropy = simt::warp_sum(entropy);
  if (simt::lane() != 0) return;
  sums[i] = sum;
  entropies[i] = entropy;
}

template <class T>
VOXOT_KERNEL void VOXOT_LAUNCH_BOUNDS(kThreads, 1)
    costs_kernel(int rows, int columns, const T* cost, const std::int32_t* partner, double* costs) {
  const auto i = static_cast<int>(simt::global_thread());
  if (i < rows) costs[i] = static_cast<double>(cost[static_cast<std::int64_t>(i) * columns + partner[i]]);
}

/// Launches body.operator()<T>(rows, columns) with a plan's type, checked.
template <class Body>
void with_plan(const char* op, DType dtype, const PlanExtent& extent, const Body& body) {
  extent.validate(op);
  VOXOT_CHECK(dtype != DType::bf16, "{}: a plan in bf16; expected fp32 or fp64", op);
  const auto rows = static_cast<int>(extent.rows);
  const auto columns = static_cast<int>(extent.columns);
  if (dtype == DType::f64) return body.template operator()<double>(rows, columns);
  body.template operator()<float>(rows, columns);
}

simt::Launch warps_of(const char* op, const Stream& stream, int rows, int rows_of_warp) {
  return {op, {simt::blocks_for(rows, std::int64_t{kWarps} * rows_of_warp)}, {kThreads}, 0, stream};
}

void draw(const Stream& stream, DType dtype, const PlanExtent& extent, const PartnerDraw& d) {
  with_plan("draw_partners", dtype, extent, [&]<class T>(int rows, int columns) {
    simt::launch(warps_of("draw_partners", stream, rows, 32), draw_kernel<T>, rows, columns, d.state,
                 d.places, static_cast<const T*>(d.plan), d.partner);
  });
}

void largest(const Stream& stream, DType dtype, const PlanExtent& extent, const void* plan,
             std::int32_t* partner) {
  with_plan("largest_partners", dtype, extent, [&]<class T>(int rows, int columns) {
    simt::launch(warps_of("largest_partners", stream, rows, 1), largest_kernel<T>, rows, columns,
                 static_cast<const T*>(plan), partner);
  });
}

void rows_of_plan(const Stream& stream, DType dtype, const PlanExtent& extent, const void* plan, double* sums,
                  double* entropies) {
  with_plan("plan_rows", dtype, extent, [&]<class T>(int rows, int columns) {
    simt::launch(warps_of("plan_rows", stream, rows, 1), rows_kernel<T>, rows, columns,
                 static_cast<const T*>(plan), sums, entropies);
  });
}

void costs_of_pairs(const Stream& stream, DType dtype, const PlanExtent& extent, const void* cost,
                    const std::int32_t* partner, double* costs) {
  with_plan("pair_costs", dtype, extent, [&]<class T>(int rows, int columns) {
    const unsigned threads = threads_for(rows, kThreads);
    simt::launch({"pair_costs", {simt::blocks_for(rows, threads)}, {threads}, 0, stream}, costs_kernel<T>,
                 rows, columns, static_cast<const T*>(cost), partner, costs);
  });
}

const Implement draw_partners_cuda{draw_partners, Device::cuda, draw};
const Implement largest_partners_cuda{largest_partners, Device::cuda, largest};
const Implement plan_rows_cuda{plan_rows, Device::cuda, rows_of_plan};
const Implement pair_costs_cuda{pair_costs, Device::cuda, costs_of_pairs};

}  // namespace
}  // namespace voxot::kernels
