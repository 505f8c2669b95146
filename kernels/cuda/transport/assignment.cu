// kernels/assignment.h for up to 256 points: what cpu/transport/assignment.cpp does, one problem a warp. Lane
// l keeps the columns l, l + 32, …: their distances in registers, potentials and the matching in shared
// memory; costs come from global memory, where the caches hold the rows that are read again. Every minimum is
// a butterfly over the warp, so nothing waits for a block and nothing returns to the host; ties fall to the
// first column.
//
// Launch: one block of 32 threads a problem.
#include "kernels/assignment.h"

#include <cmath>

#include "kernels/cuda/scalar.h"
#include "kernels/simt/simt.h"

namespace voxot::kernels {
namespace {

using namespace cuda;

constexpr auto kMostPoints = static_cast<int>(kMostAssignedOnCuda);
constexpr int kLanes = static_cast<int>(simt::kWarp);
// As on the CPU: what each pass of augmenting row reduction may scan, times n, and the passes.
constexpr int kRowReductionScans = 1;
constexpr int kRowReductionPasses = 2;

struct Matching {
  double potential[kMostPoints];  // of the columns
  int row_of[kMostPoints];        // −1 where a column is free
  int column_of[kMostPoints];
  int previous[kMostPoints];  // row before each column on the shortest path
  int least_count[kMostPoints];
};

struct Least {
  double value, second;
  int column;
};

VOXOT_DEVICE double warp_min(double value) {
  for (int offset = kLanes / 2; offset > 0; offset /= 2) {
    const double other = simt::shuffle_xor(value, offset);
    value = other < value ? other : value;
  }
  return value;
}

VOXOT_DEVICE int warp_min(int value) {
  for (int offset = kLanes / 2; offset > 0; offset /= 2) {
    const int other = simt::shuffle_xor(value, offset);
    value = other < value ? other : value;
  }
  return value;
}

/// One problem in the hands of a warp; every function takes all its lanes.
template <class T, int Columns>
struct Paths {
  int n;
  const T* cost;
  Matching& m;

  VOXOT_DEVICE int lane() const { return static_cast<int>(simt::lane()); }
  VOXOT_DEVICE double reduced(int i, int j) const {
    return static_cast<double>(cost[i * n + j]) - m.potential[j];
  }

  VOXOT_DEVICE Least two_least(int i) const {
    Least found{INFINITY, INFINITY, n};
    for (int j = lane(); j < n; j += kLanes) {
      const double value = reduced(i, j);
      if (value < found.value) {
        found = {value, found.value, j};
      } else if (value < found.second) {
        found.second = value;
      }
    }
    for (int offset = kLanes / 2; offset > 0; offset /= 2) {
      const double value = simt::shuffle_xor(found.value, offset);
      const double second = simt::shuffle_xor(found.second, offset);
      const int column = simt::shuffle_xor(found.column, offset);
      if (value < found.value || (value == found.value && column < found.column)) {
        found = {value, found.value < second ? found.value : second, column};
      } else if (value < found.second) {
        found.second = value;
      }
    }
    return found;
  }

  /// Whether every cost is a number that the paths can add up: of others the walk would not end.
  VOXOT_DEVICE bool finite() const {
    bool good = true;
    for (int k = lane(); k < n * n; k += kLanes)
      good = good && fabs(static_cast<double>(cost[k])) <= kLargestAssignedCost;
    return simt::all(good);
  }

  VOXOT_DEVICE void clear() const {
    for (int k = lane(); k < n; k += kLanes) {
      m.potential[k] = 0;
      m.row_of[k] = m.column_of[k] = -1;
      m.least_count[k] = 0;
    }
    simt::sync_warp();
  }

  /// Every column's potential is its least cost; a row that is the least of several takes the last of them.
  VOXOT_DEVICE void reduce_columns() const {
    for (int j = lane(); j < n; j += kLanes) {
      T least = cost[j];
      int row = 0;
      for (int i = 1; i < n; ++i) {
        const T c = cost[i * n + j];
        if (c < least) {
          least = c;
          row = i;
        }
      }
      m.potential[j] = static_cast<double>(least);
      simt::atomic_max(&m.column_of[row], j);
      simt::atomic_add(&m.least_count[row], 1);
    }
    simt::sync_block();
    for (int i = lane(); i < n; i += kLanes) {
      if (m.column_of[i] >= 0) m.row_of[m.column_of[i]] = i;
    }
    simt::sync_warp();
  }

  /// The slack of a row that has its only least column goes to that column, which becomes dearer to others.
  VOXOT_DEVICE void transfer_reductions() const {
    for (int i = 0; i < n; ++i) {
      if (m.least_count[i] != 1) continue;
      const Least least = two_least(i);
      simt::sync_warp();
      if (lane() == 0 && least.column == m.column_of[i] && least.second < static_cast<double>(INFINITY)) {
        m.potential[least.column] -= least.second - least.value;
      }
      simt::sync_warp();
    }
  }

  /// Every free row takes its cheapest column, whose potential falls until the runner-up is as cheap; the row
  /// that had the column is free instead and goes on at once.
  VOXOT_DEVICE void reduce_rows() const {
    int scans = kRowReductionScans * n;
    for (int start = 0; start < n; ++start) {
      int i = start;
      bool goes_on = m.column_of[start] < 0;
      while (goes_on) {
        const Least least = two_least(i);
        int j = least.column;
        const double lowered = m.potential[j] - (least.second - least.value);
        const bool lowers = lowered < m.potential[j];
        if (!lowers && m.row_of[j] >= 0) j = other_least(i, least);
        const int displaced = m.row_of[j];
        simt::sync_warp();
        if (lane() == 0) {
          if (lowers) m.potential[j] = lowered;
          if (displaced >= 0) m.column_of[displaced] = -1;
          m.column_of[i] = j;
          m.row_of[j] = i;
        }
        simt::sync_warp();
        goes_on = displaced >= 0 && lowers && --scans >= 0;
        i = displaced;
      }
      simt::sync_warp();
    }
  }

  /// Of the columns that tie for the least one other than the first; the first where rounding made the tie.
  VOXOT_DEVICE int other_least(int i, const Least& least) const {
    int found = n;
    for (int j = lane(); j < n && found == n; j += kLanes) {
      if (j > least.column && reduced(i, j) == least.second) found = j;
    }
    found = warp_min(found);
    return found < n ? found : least.column;
  }

  /// Dijkstra from a free row over reduced costs to the nearest free column; then the potentials of what was
  /// reached, and the swap along the path. Distances are counted from the row's own least reduced cost.
  VOXOT_DEVICE void augment(int start) const {
    double distance[Columns];
    VOXOT_UNROLL
    for (int k = 0; k < Columns; ++k) distance[k] = INFINITY;
    unsigned finished = 0;  // a bit for each column of the lane
    int i = start;
    double height = -two_least(start).value;
    double reached = 0;
    int last = n;
    for (;;) {
      double nearest = INFINITY;
      VOXOT_UNROLL
      for (int k = 0; k < Columns; ++k) {
        const int j = lane() + k * kLanes;
        if (j >= n || (finished >> k & 1U) != 0) continue;
        const double through = reduced(i, j) + height;
        if (through < distance[k]) {
          distance[k] = through;
          m.previous[j] = i;
        }
        nearest = distance[k] < nearest ? distance[k] : nearest;
      }
      reached = warp_min(nearest);
      // The first free column at that distance, else the first: ties would else be walked through one by one.
      int next = 2 * kMostPoints;
      VOXOT_UNROLL
      for (int k = Columns - 1; k >= 0; --k) {
        const int j = lane() + k * kLanes;
        if (j >= n || (finished >> k & 1U) != 0 || distance[k] != reached) continue;
        const int rank = m.row_of[j] < 0 ? j : kMostPoints + j;
        next = rank < next ? rank : next;
      }
      next = warp_min(next);
      last = next;
      if (next < kMostPoints) break;
      const int j = next - kMostPoints;
      if (j % kLanes == lane()) finished |= 1U << (j / kLanes);
      i = m.row_of[j];
      height = reached - reduced(i, j);
    }
    simt::sync_warp();
    VOXOT_UNROLL
    for (int k = 0; k < Columns; ++k) {
      if ((finished >> k & 1U) != 0) m.potential[lane() + k * kLanes] -= reached - distance[k];
    }
    if (lane() == 0) {
      for (int j = last;;) {
        const int from = m.previous[j];
        const int before = m.column_of[from];
        m.column_of[from] = j;
        m.row_of[j] = from;
        if (from == start) break;
        j = before;
      }
    }
    simt::sync_warp();
  }
};

template <class T, int Columns>
VOXOT_KERNEL void VOXOT_LAUNCH_BOUNDS(kLanes, 16)
    shortest_paths(int n, bool initialise, const T* cost, std::int32_t* column_of_row, double* row_potential,
                   double* column_potential) {
  VOXOT_SHARED(matching, Matching);
  const std::int64_t problem = simt::block_index().x;
  const Paths<T, Columns> paths{n, cost + problem * n * n, matching};
  const std::int64_t first = problem * n;
  if (!paths.finite()) {
    for (int k = paths.lane(); k < n; k += kLanes) {
      column_of_row[first + k] = k;
      row_potential[first + k] = column_potential[first + k] = static_cast<double>(NAN);
    }
    return;
  }
  paths.clear();
  if (initialise) {
    paths.reduce_columns();
    paths.transfer_reductions();
    for (int pass = 0; pass < kRowReductionPasses && n > 1; ++pass) paths.reduce_rows();
  }
  for (int i = 0; i < n; ++i) {
    if (matching.column_of[i] < 0) paths.augment(i);
  }
  for (int i = 0; i < n; ++i) {
    double least = INFINITY;
    for (int j = paths.lane(); j < n; j += kLanes) {
      const double value = paths.reduced(i, j);
      least = value < least ? value : least;
    }
    least = warp_min(least);
    if (paths.lane() == 0) row_potential[first + i] = least;
  }
  for (int k = paths.lane(); k < n; k += kLanes) {
    column_of_row[first + k] = matching.column_of[k];
    column_potential[first + k] = matching.potential[k];
  }
}

void solve_all(const Stream& stream, DType dtype, const AssignmentParams& p, const AssignmentArrays& a) {
  VOXOT_CHECK(dtype != DType::bf16, "assignment: costs are fp32 or fp64, got bf16");
  VOXOT_CHECK(p.n <= kMostAssignedOnCuda, "assignment: {} points; cuda takes up to {}", p.n,
              kMostAssignedOnCuda);
  if (p.count == 0) return;
  const auto run = [&]<class T, int Columns>() {
    simt::launch({"assignment", {simt::blocks_for(p.count, 1)}, {simt::kWarp}, 0, stream},
                 shortest_paths<T, Columns>, static_cast<int>(p.n), p.initialise,
                 static_cast<const T*>(a.cost), a.column_of_row, a.row_potential, a.column_potential);
  };
  const auto columns = [&]<class T>() {
    if (p.n <= 1 * kLanes) return run.template operator()<T, 1>();
    if (p.n <= 2 * kLanes) return run.template operator()<T, 2>();
    if (p.n <= 4 * kLanes) return run.template operator()<T, 4>();
    run.template operator()<T, 8>();
  };
  dtype == DType::f32 ? columns.template operator()<float>() : columns.template operator()<double>();
}

const Implement assignment_cuda{assignment, Device::cuda, solve_all};

}  // namespace
}  // namespace voxot::kernels
